"""Signed manifests: who signs, what is trusted, and what a home that requires signatures refuses."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.adapters.audit import Action, Step
from serving.adapters.live import LiveAdapter
from serving.adapters.loader import fetch
from serving.adapters.manifest import MANIFEST_FILE, SIGNATURE_FILE, verify
from serving.adapters.promotion import promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.signature import (
    Found,
    Signatures,
    Standing,
    key_id,
    new_private_key,
    public_key,
    require_signed_dialogue,
)
from serving.adapters.signing import sign_version
from serving.errors import IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings

NAME = "banking-lora"
PRIVATE = bytes(range(32))
SIGNER = Signatures(private=PRIVATE)
SERVER = Signatures(trusted=(public_key(PRIVATE),), required=True)
BundleMaker = Callable[..., Path]


def altered(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def signed(make_bundle: BundleMaker) -> Path:
    bundle = make_bundle()
    SIGNER.sign(bundle)
    return bundle


def test_the_public_key_is_that_of_rfc_8032() -> None:
    private = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert public_key(private).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_server_checks_with_the_public_half_what_it_cannot_sign(signed: Path) -> None:
    key = key_id(public_key(PRIVATE))[:12]
    assert SERVER.examine(signed) == Found(Standing.VALID, key)
    assert verify(signed)  # the signature is the one file that the manifest does not list
    with pytest.raises(InvalidInputError, match="no key to sign with"):
        SERVER.sign(signed)


def test_a_manifest_that_was_rewritten_after_signing_is_refused(signed: Path) -> None:
    manifest = signed / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"seed": 7', '"seed": 8'))
    assert verify(signed)  # every checksum in it is right
    with pytest.raises(IntegrityError, match="not for its manifest"):
        SERVER.require(signed, "banking-lora/1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_bytes(b"\xff" * 10),
        lambda path: path.write_text("[" * 100_000),
        lambda path: altered(path, signature="0" * 128),
        lambda path: altered(path, signature="xyz"),
        lambda path: altered(path, algorithm="none"),
        lambda path: altered(path, key=None),
    ],
)
def test_a_damaged_signature_is_wrong_and_never_absent(
    signed: Path, damage: Callable[[Path], object]
) -> None:
    damage(signed / SIGNATURE_FILE)
    assert SERVER.examine(signed).standing == Standing.WRONG


def test_a_link_or_a_pipe_is_no_signature(signed: Path, tmp_path: Path) -> None:
    path = signed / SIGNATURE_FILE
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert SERVER.examine(signed).standing == Standing.WRONG
    path.unlink()
    os.mkfifo(path)
    assert SERVER.examine(signed).standing == Standing.WRONG


def test_a_key_that_is_not_trusted_is_named(make_bundle: BundleMaker) -> None:
    bundle, foreign = make_bundle(), new_private_key()
    Signatures(private=foreign).sign(bundle)
    with pytest.raises(IntegrityError, match=key_id(public_key(foreign))[:12]):
        SERVER.require(bundle, "banking-lora/1")


def test_where_signatures_are_not_required_nothing_is_refused(make_bundle: BundleMaker) -> None:
    Signatures(trusted=SERVER.trusted).require(make_bundle(), "banking-lora/1")


def test_keys_come_from_settings_and_the_private_one_is_in_no_text(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        adapter_signing_key=PRIVATE.hex(),  # type: ignore[arg-type]
        adapter_public_keys=f"{'ab' * 32}, {'CD' * 32}",
        require_signed_adapters=True,
    )
    found = Signatures.from_settings(settings)
    assert found.keys == (b"\xab" * 32, b"\xcd" * 32, public_key(PRIVATE))
    assert PRIVATE.hex() not in repr(settings) + repr(found)
    assert str(PRIVATE) not in repr(found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"adapter_signing_key": "secret"}, "adapter_signing_key"),
        ({"adapter_public_keys": "ab" * 31}, "adapter_public_keys"),
        ({"require_signed_adapters": True}, "no key to check them with"),
    ],
)
def test_a_setting_that_is_no_key_is_refused_without_being_shown(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        Signatures.from_settings(Settings(home=tmp_path, **changes))
    assert "secret" not in str(caught.value)


def test_a_registration_is_signed_where_a_key_is_configured(
    registry: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    registry.signatures = SIGNER
    version = registry.register(NAME, make_bundle(), by="ci")
    assert SERVER.examine(version.bundle).standing == Standing.VALID
    assert version.verify()


def test_a_bundle_that_was_signed_elsewhere_keeps_its_signature(
    registry: AdapterRegistry, signed: Path
) -> None:
    assert SERVER.examine(registry.register(NAME, signed, by="ci").bundle).standing == Standing.VALID


def test_an_unsigned_version_is_neither_promoted_nor_rolled_back_to_until_it_is_signed(
    challenged: AdapterRegistry, open_registry: Callable[[], AdapterRegistry]
) -> None:
    challenged.signatures = SERVER
    for attempt in (
        lambda: promote(challenged, NAME, 3, by="ann", reason="better"),
        lambda: rollback(challenged, NAME, by="ann", reason="worse"),
    ):
        with pytest.raises(IntegrityError, match="carries no signature") as caught:
            attempt()
        assert "adapter-control sign" in caught.value.advice
    workshop = open_registry()
    workshop.signatures = SIGNER
    assert sign_version(workshop, NAME, 3, by="bob", reason="keys are in use now").standing == Standing.VALID
    row = workshop.history()[-1]
    assert (row.act.action, row.step, row.act.version, row.act.by) == (Action.SIGN, Step.DONE, 3, "bob")
    assert promote(challenged, NAME, 3, by="ann", reason="better").champion_after == 3


def test_an_altered_bundle_is_not_signed(challenged: AdapterRegistry) -> None:
    challenged.signatures = SIGNER
    (challenged.get(NAME, 3).bundle / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        sign_version(challenged, NAME, 3, by="bob", reason="why")
    assert not (challenged.get(NAME, 3).bundle / SIGNATURE_FILE).exists()
    assert Action.SIGN not in {row.act.action for row in challenged.history()}


def test_a_signing_that_cannot_be_written_is_abandoned(
    challenged: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    challenged.signatures = SIGNER
    monkeypatch.setattr("serving.adapters.signing.write_atomically", full)
    with pytest.raises(Exception, match="No space left"):
        sign_version(challenged, NAME, 3, by="bob", reason="why")
    assert challenged.history()[-1].step == Step.ABANDONED
    assert SERVER.examine(challenged.get(NAME, 3).bundle).standing == Standing.ABSENT


def test_a_server_serves_what_is_signed_and_refuses_what_is_not(
    challenged: AdapterRegistry,
    open_registry: Callable[[], AdapterRegistry],
    tiny_encoder: SentenceEncoder,
    tmp_path: Path,
) -> None:
    workshop = open_registry()
    workshop.signatures = SIGNER
    challenged.signatures = SERVER
    live = LiveAdapter(challenged, tiny_encoder, tmp_path / "adapters", poll_s=3_600)
    with pytest.raises(IntegrityError, match="carries no signature"):
        live.start()
    sign_version(workshop, NAME, 2, by="bob", reason="keys are in use now")
    with live:  # the copy was made without a signature and takes the registry's
        assert live.current.version == "banking-lora/2"
        promote(workshop, NAME, 3, by="ann", reason="from a machine that requires nothing")
        assert not live.check()
        assert live.current.version == "banking-lora/2"
    (workshop.get(NAME, 2).bundle / SIGNATURE_FILE).unlink()
    assert SERVER.examine(fetch(workshop.get(NAME, 2), tmp_path / "adapters", SERVER).folder).key


def test_exchanged_keys_renew_the_signature_of_a_copy(challenged: AdapterRegistry, tmp_path: Path) -> None:
    challenged.signatures = SIGNER
    sign_version(challenged, NAME, 2, by="bob", reason="first key")
    fetch(challenged.get(NAME, 2), tmp_path / "adapters", SERVER)
    challenged.signatures = Signatures(private=b"\x07" * 32)
    sign_version(challenged, NAME, 2, by="bob", reason="second key")
    trusting = Signatures(trusted=(public_key(b"\x07" * 32),), required=True)
    copied = fetch(challenged.get(NAME, 2), tmp_path / "adapters", trusting)
    assert trusting.examine(copied.folder).standing == Standing.VALID


def test_a_dialogue_adapter_from_a_folder_is_held_to_the_same_rule(signed: Path, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        llm="local",
        local_llm_adapter=signed,
        adapter_public_keys=public_key(PRIVATE).hex(),
        require_signed_adapters=True,
    )
    require_signed_dialogue(settings)
    (signed / "card.md").write_text("altered")
    with pytest.raises(IntegrityError, match=r"card\.md"):
        require_signed_dialogue(settings)
    (signed / SIGNATURE_FILE).unlink()
    require_signed_dialogue(settings.model_copy(update={"require_signed_adapters": False}))
    require_signed_dialogue(settings.model_copy(update={"llm": "embedded"}))

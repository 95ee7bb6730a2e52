"""What `adapter-control verify` asks, and that each kind of tampering shows as what it is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.adapters.inspection import Finding, aliases_by_audit, inspect_registry
from serving.adapters.manifest import MANIFEST_FILE, SIGNATURE_FILE, read_manifest, seal
from serving.adapters.promotion import promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.signature import Signatures, public_key
from serving.adapters.signing import sign_version
from serving.adapters.versions import CHAMPION
from serving.errors import MissingError

NAME = "banking-lora"
PRIVATE = bytes(range(32))
BundleMaker = Callable[..., Path]


def unsound(registry: AdapterRegistry, *which: object) -> list[tuple[str, str]]:
    found = inspect_registry(registry, *which)  # type: ignore[arg-type]
    return [(item.subject, item.question) for item in found if item.sound is False]


def test_a_registry_that_nobody_touched_is_sound(challenged: AdapterRegistry) -> None:
    found = inspect_registry(challenged)
    assert {item.sound for item in found} == {True, None}
    assert [item for item in found if item.sound is None] == [
        Finding(f"{NAME}/{number}", "signature", None, "Absent.") for number in (1, 2, 3)
    ]
    assert {item.question for item in found} == {
        "audit", "aliases", "files", "weights", "signature", "decision"
    }  # fmt: skip


def test_the_aliases_follow_from_the_audit_through_every_kind_of_change(
    challenged: AdapterRegistry, make_bundle: BundleMaker
) -> None:
    promote(challenged, NAME, 3, by="ann", reason="better")
    rollback(challenged, NAME, by="ann", reason="worse")
    challenged.register(NAME, make_bundle(4), by="ci")
    assert aliases_by_audit(challenged.history(NAME)) == challenged.aliases(NAME)
    challenged.delete(NAME, 4, by="ann", reason="tidy")
    assert aliases_by_audit(challenged.history(NAME)) == challenged.aliases(NAME)
    assert unsound(challenged) == []


def test_an_alias_that_was_moved_behind_the_audits_back_is_found(challenged: AdapterRegistry) -> None:
    challenged.set_alias(NAME, CHAMPION, 3)
    found = next(item for item in inspect_registry(challenged) if item.question == "aliases")
    assert found.sound is False
    assert "champion 3" in found.detail
    assert "by the audit they should be" in found.detail
    assert "champion 2" in found.detail


def test_an_interrupted_change_is_no_tampering(
    challenged: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(challenged, "set_tags", die)
        with pytest.raises(KeyboardInterrupt):
            promote(challenged, NAME, 3, by="ann", reason="better")
    found = next(item for item in inspect_registry(challenged) if item.question == "aliases")
    assert (found.sound, "interrupted" in found.detail) == (None, True)


def test_an_altered_file_and_an_exchanged_manifest_are_found(challenged: AdapterRegistry) -> None:
    bundle = challenged.get(NAME, 3).bundle
    (bundle / "card.md").write_text("altered")
    assert unsound(challenged, NAME, 3) == [(f"{NAME}/3", "files"), (f"{NAME}/3", "weights")]
    provenance = read_manifest(bundle).provenance
    (bundle / MANIFEST_FILE).unlink()
    seal(bundle, provenance)  # every checksum is right again
    assert (f"{NAME}/3", "files") in unsound(challenged, NAME, 3)


def test_a_bundle_that_is_gone_is_found(challenged: AdapterRegistry) -> None:
    shutil.rmtree(challenged.get(NAME, 1).bundle)
    assert {question for subject, question in unsound(challenged) if subject == f"{NAME}/1"} == {
        "files", "weights", "signature"
    }  # fmt: skip


def test_an_exchanged_decision_is_found_also_where_its_tag_was_exchanged_too(
    challenged: AdapterRegistry,
) -> None:
    import hashlib

    version = challenged.get(NAME, 3)
    stored = version.decision_file(version.tags["gate.decision"])
    forged = json.dumps(
        json.loads(stored.read_text().replace("0.1 pp", "9.9 pp")), sort_keys=True, ensure_ascii=False
    )
    sha256 = hashlib.sha256(forged.encode()).hexdigest()
    version.decision_file(sha256).write_text(forged)
    challenged.set_tags(NAME, 3, {"gate.decision": sha256})
    assert challenged.decision(NAME, 3)  # it reads like any other
    assert unsound(challenged) == [(f"{NAME}/3", "decision")]


def test_a_changed_or_shortened_audit_is_found(challenged: AdapterRegistry) -> None:
    text = challenged.audit.path.read_text()
    challenged.audit.path.write_text(text.replace('"by": "gate"', '"by": "gale"', 1))
    assert ("registry", "audit") in unsound(challenged)
    challenged.audit.path.write_text("".join(text.splitlines(keepends=True)[:-2]))
    assert ("registry", "audit") in unsound(challenged)


def test_a_signature_is_judged_by_the_keys_that_are_trusted_here(challenged: AdapterRegistry) -> None:
    challenged.signatures = Signatures(private=PRIVATE)
    sign_version(challenged, NAME, 3, by="bob", reason="keys")
    assert unsound(challenged) == []
    challenged.signatures = Signatures(trusted=(public_key(b"\x07" * 32),))
    assert unsound(challenged) == [(f"{NAME}/3", "signature")]  # signed by somebody whom nobody here trusts
    challenged.signatures = Signatures(trusted=(public_key(PRIVATE),), required=True)
    assert unsound(challenged) == [(f"{NAME}/1", "signature"), (f"{NAME}/2", "signature")]
    (challenged.get(NAME, 3).bundle / SIGNATURE_FILE).write_text("{}")
    challenged.signatures = Signatures()
    assert unsound(challenged) == [(f"{NAME}/3", "signature")]


def test_one_version_or_model_that_is_not_there_is_missing(challenged: AdapterRegistry) -> None:
    for which in ((NAME, 99), ("other", None)):
        with pytest.raises(MissingError):
            inspect_registry(challenged, *which)

import stat
from pathlib import Path

import pytest

from serving.adapters.audit import Action
from serving.adapters.pin import Reference, parse_reference, pin_history, read_pin, write_pin
from serving.errors import IntegrityError, InvalidInputError


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("banking-lora", Reference("banking-lora", "champion")),
        ("banking-lora@challenger", Reference("banking-lora", "challenger")),
        ("banking-lora@3", Reference("banking-lora", 3)),
        ("banking-lora/3", Reference("banking-lora", 3)),
    ],
)
def test_an_adapter_is_named_by_alias_or_number(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


WRONG = ("", "@3", "banking-lora@", "a@b@c", "a@-1", "a@0", "a@3.5", "a@99999999999999", "a@٣", "A@3")


@pytest.mark.parametrize("text", [*WRONG, "x" * 10_000])
def test_a_text_that_names_no_adapter_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_reference(text)


@pytest.mark.parametrize("reference", [Reference("banking-lora", 3), Reference("banking-lora", "challenger")])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_pin_is_read_back(tmp_path: Path, reference: Reference, enabled: bool) -> None:
    store = tmp_path / "adapters"
    assert read_pin(store) is None
    written = write_pin(store, reference, enabled=enabled, by="ann", reason="why")
    assert read_pin(store) == written
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    row = pin_history(store)[-1]
    assert row.act.action == (Action.PIN if enabled else Action.DISABLE)
    assert row.act.evidence["reference"] == str(reference)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "../x", "ref": 1, "enabled": true}'])
def test_a_damaged_pin_is_an_error_that_says_how_to_write_it_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "pin.json").write_text(text)
    with pytest.raises(IntegrityError) as caught:
        read_pin(tmp_path)
    assert "adapter-control" in caught.value.advice
    write_pin(tmp_path, Reference("banking-lora"), enabled=True, by="ann", reason="repair")
    assert read_pin(tmp_path) is not None


def test_a_pin_without_name_or_reason_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        write_pin(tmp_path, Reference("banking-lora"), enabled=True, by=" ", reason="why")
    assert read_pin(tmp_path) is None

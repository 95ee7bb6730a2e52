import stat
from pathlib import Path

import pytest

from serving.adapters.audit import Action, Step
from serving.adapters.pin import Reference, parse_reference, pin_history, read_pin, write_pin
from serving.errors import IntegrityError, InvalidInputError, UnavailableError


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


BANKING = Reference("banking-lora")


class KilledError(BaseException):
    """Ends a writer where it stands, as a kill does."""


def steps(store: Path) -> list[tuple[str, str]]:
    return [(row.act.action.value, row.step.value) for row in pin_history(store)]


def test_a_pin_is_planned_before_it_is_written_and_closed_after(tmp_path: Path) -> None:
    write_pin(tmp_path, BANKING, enabled=True, by="ann", reason="why")
    begun, done = pin_history(tmp_path)
    assert (begun.step, done.step, done.closes) == (Step.BEGUN, Step.DONE, begun.sequence)


def test_without_an_audit_nothing_is_enabled(tmp_path: Path) -> None:
    (tmp_path / "pins.jsonl").mkdir()
    with pytest.raises(UnavailableError):
        write_pin(tmp_path, BANKING, enabled=True, by="ann", reason="why")
    assert read_pin(tmp_path) is None


@pytest.mark.parametrize("broken", ["pins.jsonl", "pins.lock"])
def test_without_an_audit_an_adapter_is_switched_off_all_the_same(tmp_path: Path, broken: str) -> None:
    warnings: list[str] = []
    (tmp_path / broken).mkdir()
    written = write_pin(tmp_path, BANKING, enabled=False, by="ann", reason="why", warn=warnings.append)
    assert read_pin(tmp_path) == written
    assert len(warnings) == 1
    assert "switched off, but the audit could not be written" in warnings[0]


@pytest.mark.parametrize("after", [False, True])
def test_a_writer_killed_beside_the_pin_is_settled_by_what_the_pin_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    from serving.adapters import pin as pin_module

    write = pin_module._write

    def die(*arguments: object) -> None:
        if after:
            write(*arguments)
        monkeypatch.setattr(pin_module, "_settle", lambda *_: None)  # a killed process runs no `finally`
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(pin_module, "_write", die)
        with pytest.raises(KilledError):
            write_pin(tmp_path, BANKING, enabled=False, by="ann", reason="why")
    monkeypatch.undo()
    assert steps(tmp_path) == [("disable", "begun")]
    write_pin(tmp_path, BANKING, enabled=True, by="ann", reason="why")
    outcome = "done" if after else "abandoned"
    assert steps(tmp_path)[1:] == [("disable", outcome), ("pin", "begun"), ("pin", "done")]


def test_a_pin_that_cannot_be_written_is_abandoned(tmp_path: Path) -> None:
    (tmp_path / "pin.json").mkdir()
    for enabled in (True, False):
        with pytest.raises(UnavailableError):
            write_pin(tmp_path, BANKING, enabled=enabled, by="ann", reason="why")
    assert [step for _, step in steps(tmp_path)] == ["begun", "abandoned"] * 2


@pytest.mark.parametrize(
    ("reference", "follows"),
    [
        (BANKING, True),
        (Reference("banking-lora", 3), True),
        (Reference("banking-lora", 2), False),
        (Reference("banking-lora", "previous"), False),
        (Reference("other"), False),
    ],
)
def test_a_reference_follows_the_champion_by_alias_or_by_its_number(
    reference: Reference, follows: bool
) -> None:
    assert reference.follows("banking-lora", 3) is follows

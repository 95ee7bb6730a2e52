import json
import multiprocessing
import os
import pwd
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.adapters.audit import Act, Action, AuditLog, Step, operator_name, os_user
from serving.errors import IntegrityError, InvalidInputError, UnavailableError

PLAN = Act(Action.PROMOTE, "banking-lora", 3, "ann", "passed the gate", 2, 3, {"decision": "e" * 64})


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl", lock_timeout_s=0.1)


def written(log: AuditLog, rows: int) -> AuditLog:
    for _ in range(rows):
        log.append(Step.DONE, PLAN)
    return log


def test_rows_are_read_back_in_order_and_chained(log: AuditLog) -> None:
    made = [log.append(Step.BEGUN, PLAN), log.append(Step.DONE, PLAN, closes=1)]
    assert list(log.entries()) == made
    assert [entry.sequence for entry in made] == [1, 2]
    assert made[1].previous_hash == made[0].hash
    assert made[0].at.tzinfo is not None


def test_an_audit_that_does_not_exist_is_empty(log: AuditLog) -> None:
    assert log.entries() == ()
    assert log.unfinished() == ()


def test_a_changed_word_in_any_row_is_found(log: AuditLog) -> None:
    lines = written(log, 4).path.read_text().splitlines()
    for number in range(4):
        changed = [line.replace("ann", "bob") if i == number else line for i, line in enumerate(lines)]
        log.path.write_text("\n".join(changed) + "\n")
        with pytest.raises(IntegrityError, match=f"Row {number + 1} "):
            log.entries()


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_a_removed_row_is_found(log: AuditLog, removed: int) -> None:
    lines = written(log, 4).path.read_text().splitlines()
    del lines[removed]
    log.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IntegrityError, match="does not follow"):
        log.entries()


def test_a_row_with_a_forged_hash_breaks_the_row_after_it(log: AuditLog) -> None:
    from serving.adapters.audit import _hash

    lines = written(log, 2).path.read_text().splitlines()
    first = json.loads(lines[0].replace("ann", "bob"))
    first.pop("hash")
    log.path.write_text(json.dumps(first | {"hash": _hash(first)}) + "\n" + lines[1] + "\n")
    with pytest.raises(IntegrityError, match="Row 2"):
        log.entries()


def test_a_torn_last_line_was_never_written_and_does_not_stop_the_next(log: AuditLog) -> None:
    written(log, 2)
    with log.path.open("ab") as handle:
        handle.write(b'{"sequence": 3, "at": "2026-11-2\xc3')
    assert len(log.entries()) == 2
    log.append(Step.DONE, PLAN)
    assert [entry.sequence for entry in log.entries()] == [1, 2, 3]


def test_a_damaged_history_does_not_keep_anyone_from_writing(log: AuditLog) -> None:
    written(log, 2)
    log.path.write_text(log.path.read_text().replace("ann", "bob"))
    assert log.append(Step.BEGUN, PLAN).sequence == 3
    assert [entry.sequence for entry in log.unfinished()] == [3]


def test_only_a_closing_row_finishes_what_was_begun(log: AuditLog) -> None:
    first, second = log.append(Step.BEGUN, PLAN), log.append(Step.BEGUN, PLAN)
    log.append(Step.ABANDONED, PLAN, closes=first.sequence)
    assert log.unfinished() == (second,)


def test_a_second_writer_is_told_who_waits_and_how_long(log: AuditLog) -> None:
    with log.lock(), pytest.raises(UnavailableError, match=r"Another operator .* 0\.1 s"), log.lock():
        pass
    with log.lock():
        pass


def test_writers_in_threads_never_lose_or_mix_a_row(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    def write(_: int) -> None:
        log = AuditLog(path)
        with log.lock():
            log.append(Step.DONE, PLAN)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert [entry.sequence for entry in AuditLog(path).entries()] == list(range(1, 41))


def _hold_lock(path: str, held: "multiprocessing.synchronize.Event") -> None:
    with AuditLog(Path(path)).lock():
        held.set()
        threading.Event().wait()


def test_the_lock_of_a_killed_process_is_free(log: AuditLog) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold_lock, args=(str(log.path), held))
    process.start()
    assert held.wait(30)
    with pytest.raises(UnavailableError), log.lock():
        pass
    process.kill()
    process.join()
    with log.lock():
        pass


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * 2_001, "\x1b[2J"])
def test_who_and_why_are_one_readable_line(text: str) -> None:
    with pytest.raises(InvalidInputError, match="who"):
        Act(Action.PROMOTE, "banking-lora", 3, text, "why")
    with pytest.raises(InvalidInputError, match="why"):
        Act(Action.PROMOTE, "banking-lora", 3, "ann", text)


def test_the_operator_is_the_configured_name_or_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator_name("ann") == "ann"
    monkeypatch.setenv("LOGNAME", "night-shift")
    assert operator_name(None) == "night-shift"


def test_every_row_names_the_login_beside_the_name_that_was_given(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "somebody-else")
    row = log.append(Step.DONE, PLAN)
    assert row.act.by == "ann"
    assert row.act.evidence == {"decision": "e" * 64, "os_user": pwd.getpwuid(os.getuid()).pw_name}
    assert log.entries() == (row,)


def test_a_row_that_closes_another_keeps_the_login_of_who_began(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = log.append(Step.BEGUN, PLAN)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: pytest.fail("not asked again"))
    monkeypatch.setattr("serving.adapters.audit.os_user", lambda: "night-shift")
    closed = log.append(Step.DONE, begun.act, closes=begun.sequence)
    assert closed.act.evidence["os_user"] == begun.act.evidence["os_user"] != "night-shift"


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os_user() == f"uid {os.getuid()}"


def test_rows_that_can_be_read_are_read_in_a_damaged_audit(log: AuditLog) -> None:
    lines = written(log, 3).path.read_text().splitlines()
    log.path.write_text("\n".join([lines[0], "[" * 100_000, "null", "{}", lines[2]]) + "\n")
    assert [entry.sequence for entry in log.readable()] == [1, 3]
    with pytest.raises(IntegrityError, match="Row 2"):
        log.entries()


def test_an_audit_that_cannot_be_read_or_written_is_unavailable(log: AuditLog) -> None:
    log.path.mkdir()
    for attempt in (lambda: log.append(Step.DONE, PLAN), log.readable, log.unfinished):
        with pytest.raises(UnavailableError, match="cannot be written"):
            attempt()

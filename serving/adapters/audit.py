"""The append-only record of what operators did to adapters, and the lock that orders writers.

One JSON object a line, flushed to disk before the call returns; each row carries the sha256 of the row
before it, so that a changed or removed row shows. MLflow's alias table keeps no history, and a table of
ours inside its database would be in the way of its migrations; so this is a file beside it.
A row with step `begun` is a plan; `done` or `abandoned` closes it, which is how a writer that was
killed half-way is noticed and finished by the next one.
"""

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.errors import IntegrityError, InvalidInputError, UnavailableError
from serving.files import writing_to

OS_USER = "os_user"
"""Evidence of every row: the login of the process, beside the name that `by` gives."""
_FIRST = "0" * 64
_LOCK_RETRY_S = 0.02
_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError, InvalidInputError)
"""What reading a damaged row raises."""


class Action(StrEnum):
    """What can happen to an adapter."""

    REGISTER = "register"
    DECIDE = "decide"
    """A gate decision was stored with a version."""
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    DELETE = "delete"
    SIGN = "sign"
    """A version that was registered without a signature, or with an old key, got one."""
    PIN = "pin"
    """A home's servers were told which adapter to load."""
    DISABLE = "disable"
    """A home's servers were told to use the frozen baseline head."""
    SPLIT = "split"
    """A challenger got a share of the callers, or another share."""
    STOP = "stop"
    """An operator ended a split."""
    HALT = "halt"
    """The guardrail ended a split."""


class Step(StrEnum):
    """How far an action got."""

    BEGUN = "begun"
    DONE = "done"
    ABANDONED = "abandoned"
    """Nothing changed: the writer failed or was killed before the deciding step."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that an operator or a flow does.

    Attributes:
        action: what.
        model: registered model's name.
        version: the version it is about; None where only an alias is named.
        by: who; an operator's or a flow's name.
        reason: why, in the operator's words.
        champion_before: champion when the action began.
        champion_after: champion when it is done.
        evidence: what else must be known to judge or to repeat it, such as a decision's sha256.
    """

    action: Action
    model: str
    version: int | None
    by: str
    reason: str
    champion_before: int | None = None
    champion_after: int | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, text in (("who (by)", self.by), ("why (reason)", self.reason)):
            if not text.strip() or len(text) > 2_000 or not text.isprintable():
                raise InvalidInputError(
                    f"The audit needs to know {what}: one line of 1 to 2,000 characters.",
                    advice="Give --by and --reason." if self.action != Action.REGISTER else "",
                )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit.

    Attributes:
        sequence: number of the row, from 1.
        at: UTC.
        step: how far the act got.
        act: what, who, why.
        closes: for `done` and `abandoned` the row that began it; 0 where the act is a single row.
        previous_hash: `hash` of the row before, zeros for the first.
        hash: sha256 of this row's canonical JSON without this field.
    """

    sequence: int
    at: datetime
    step: Step
    act: Act
    closes: int
    previous_hash: str
    hash: str


class AuditLog:
    """A hash-chained file of `AuditEntry`; hold `lock` around every append."""

    def __init__(self, path: Path, *, lock_timeout_s: float = 10.0) -> None:
        self.path = path
        self._lock_path = path.with_suffix(".lock")
        self._lock_timeout_s = lock_timeout_s

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only writer, in this process and on this machine; released by the kernel on a kill.

        Raises:
            UnavailableError: another writer holds it for longer than the time limit.
        """
        with writing_to(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = self._lock_path.open("a", encoding="utf-8")
        with handle:
            _acquire(handle.fileno(), self._lock_timeout_s)
            yield  # closing the file releases the lock

    def append(self, step: Step, act: Act, *, closes: int = 0) -> AuditEntry:
        """Write one row and wait until it is on disk.

        The chain is continued, not checked: a damaged history must not keep anyone from rolling back.
        The login goes into the evidence; a row that closes another keeps the login of that one.

        Raises:
            UnavailableError: the file cannot be read or written.
        """
        act = replace(act, evidence={OS_USER: os_user(), **act.evidence})
        with writing_to(self.path.parent):
            self._cut_torn_line()
            last = _last_row(self._lines())
        entry = AuditEntry(
            sequence=int(last["sequence"]) + 1 if last else 1,
            at=datetime.now(UTC),
            step=step,
            act=act,
            closes=closes,
            previous_hash=str(last["hash"]) if last else _FIRST,
            hash="",
        )
        entry = replace(entry, hash=_hash(_document(entry)))
        line = json.dumps(_document(entry) | {"hash": entry.hash}, ensure_ascii=False) + "\n"
        with writing_to(self.path.parent), self.path.open("a", encoding="utf-8") as handle:
            handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
        return entry

    def entries(self) -> tuple[AuditEntry, ...]:
        """All rows, oldest first, after checking the chain.

        Raises:
            IntegrityError: a row was changed, removed or cannot be read; the message names it.
        """
        previous, entries = _FIRST, []
        for number, line in enumerate(self._lines(), start=1):
            try:
                document = json.loads(line)
                entry = _parse(document)
            except _UNREADABLE as error:
                raise _broken(self.path, number, "cannot be read") from error
            stated = document.pop("hash")
            if entry.sequence != number or entry.previous_hash != previous or _hash(document) != stated:
                raise _broken(self.path, number, "does not follow from the row before it")
            entries.append(entry)
            previous = entry.hash
        return tuple(entries)

    def readable(self) -> tuple[AuditEntry, ...]:
        """Rows that can be read, oldest first, unchecked: for work that a damaged history must not stop."""
        found = []
        with writing_to(self.path.parent):
            lines = self._lines()
        for line in lines:
            with contextlib.suppress(*_UNREADABLE):
                found.append(_parse(json.loads(line)))
        return tuple(found)

    def unfinished(self) -> tuple[AuditEntry, ...]:
        """Rows that began something which no later row closes, oldest first; unreadable rows are skipped."""
        begun: dict[int, AuditEntry] = {}
        for entry in self.readable():
            if entry.step == Step.BEGUN:
                begun[entry.sequence] = entry
            begun.pop(entry.closes, None)
        return tuple(begun.values())

    def _lines(self) -> list[str]:
        """Complete lines; a torn last line was never acknowledged to anyone."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return data[: data.rfind(b"\n") + 1].decode("utf-8", "replace").split("\n")[:-1]

    def _cut_torn_line(self) -> None:
        """Remove what a writer left that died while writing its row."""
        with contextlib.suppress(FileNotFoundError):
            data = self.path.read_bytes()
            complete = data.rfind(b"\n") + 1
            if complete < len(data):
                os.truncate(self.path, complete)


def operator_name(configured: str | None) -> str:
    """Who acts: the configured name (`settings.operator`), or the login name."""
    with contextlib.suppress(OSError, KeyError):  # a container may have no name for its user
        return configured or getpass.getuser()
    return os_user()


def os_user() -> str:
    """Login of this process as the operating system knows it, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may have no name for its user
        return f"uid {os.getuid()}"


def _acquire(descriptor: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Another operator or flow has been changing the registry for {timeout_s:g} s.",
                    advice="Try again in a moment; `adapter-control history` shows what was done.",
                ) from None
            time.sleep(_LOCK_RETRY_S)
        else:
            return


def _last_row(lines: list[str]) -> Mapping[str, Any] | None:
    for line in reversed(lines):
        with contextlib.suppress(*_UNREADABLE):
            row = json.loads(line)
            return {"sequence": int(row["sequence"]), "hash": row["hash"]}
    return None


def _document(entry: AuditEntry) -> dict[str, Any]:
    document = asdict(entry) | {"at": entry.at.isoformat()}
    del document["hash"]
    return document


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _parse(document: Mapping[str, Any]) -> AuditEntry:
    fields = dict(document)
    act = dict(fields["act"])
    act["action"] = Action(act["action"])
    act["evidence"] = dict(act["evidence"])
    return AuditEntry(
        **fields
        | {"act": Act(**act), "step": Step(fields["step"]), "at": datetime.fromisoformat(fields["at"])}
    )


def _broken(path: Path, number: int, what: str) -> IntegrityError:
    return IntegrityError(
        f"Row {number} of the audit {path.name} {what}: the history was altered or damaged.",
        advice=f"Compare {path} with its backup; registry and serving go on without it.",
    )

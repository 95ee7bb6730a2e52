"""Which adapters the servers of one home load: a small file that operators write and servers watch.

Without it a server follows the champion. It works without the registry, because `--disable` must
work on the day when everything else is down.
"""

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from serving.adapters.audit import Act, Action, AuditEntry, AuditLog, Step
from serving.adapters.kinds import INTENT_NAME
from serving.adapters.manifest import check_name
from serving.adapters.versions import CHAMPION
from serving.errors import IntegrityError, InvalidInputError, UnavailableError, VoicebotError
from serving.files import PRIVATE_FOLDER, write_atomically, writing_to

if TYPE_CHECKING:
    from serving.settings import Settings

DEFAULT_NAME = INTENT_NAME
"""The intent adapter that a server follows where nobody pinned another."""
_PIN_FILE = "pin.json"
_AUDIT_FILE = "pins.jsonl"
_AT = "pinned.at"
"""Evidence of a row: the time that the pin itself states."""
_MAX_VERSION = 2**31 - 1
_REFERENCE = re.compile(r"(?P<name>[^@/]+)(?:[@/](?P<ref>[^@/]+))?")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Reference:
    """An adapter by name and alias or number; `str` gives `banking-lora@champion`.

    Attributes:
        name: registered model's name.
        ref: an alias, followed as it moves, or one version's number.
    """

    name: str
    ref: str | int = CHAMPION

    def __str__(self) -> str:
        return f"{self.name}@{self.ref}"

    def follows(self, name: str, version: int) -> bool:
        """Whether the champion of a model, which this version is, is what is meant."""
        return self.name == name and self.ref in (CHAMPION, version)


@dataclass(frozen=True, slots=True)
class Pin:
    """What the servers of a home shall load.

    Attributes:
        reference: which adapter.
        enabled: False for the frozen baseline head of that adapter instead of the adapter.
        by: who said so.
        at: when, UTC.
    """

    reference: Reference
    enabled: bool
    by: str
    at: datetime


def parse_reference(text: str, default: str | int = CHAMPION) -> Reference:
    """Read `NAME`, `NAME@ALIAS`, `NAME@VERSION` or `NAME/VERSION`.

    Raises:
        InvalidInputError: it is none of these.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise InvalidInputError(
            f"{text[:80]!r} names no adapter.", advice="Write NAME, NAME@ALIAS or NAME@VERSION."
        )
    name, ref = check_name(match["name"]), match["ref"]
    if ref is None:
        return Reference(name, default)
    if ref.isascii() and ref.isdigit() and 0 < int(ref[:12]) <= _MAX_VERSION:
        return Reference(name, int(ref))
    if not _ALIAS.fullmatch(ref):
        raise InvalidInputError(
            f"{ref[:80]!r} is no alias or version number.",
            advice="Versions are 1, 2, …; aliases are champion, challenger, previous.",
        )
    return Reference(name, ref)


def dialogue_reference(settings: "Settings") -> Reference | None:
    """What the setting `dialogue_adapter` names; None where the language model speaks as it is.

    Raises:
        InvalidInputError: it names no adapter.
    """
    return parse_reference(settings.dialogue_adapter) if settings.dialogue_adapter else None


def read_pin(store: Path) -> Pin | None:
    """The pin of a home; None where nobody pinned anything.

    Args:
        store: the home's adapter folder (`settings.home / "adapters"`).

    Raises:
        IntegrityError: the file is not what `write_pin` writes.
    """
    try:
        document = json.loads((store / _PIN_FILE).read_text(encoding="utf-8"))
        return Pin(
            parse_reference(f"{document['name']}@{document['ref']}"),
            document["enabled"] is True,
            str(document["by"]),
            datetime.fromisoformat(document["at"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, VoicebotError) as error:
        raise IntegrityError(
            f"The pin {store / _PIN_FILE} cannot be read: {error}.",
            advice="Write it again: `adapter-control --load NAME --enable`.",
        ) from error


def write_pin(
    store: Path,
    reference: Reference,
    *,
    enabled: bool,
    by: str,
    reason: str,
    warn: Callable[[str], object] = logger.warning,
) -> Pin:
    """Tell the servers of a home what to load; they notice within their polling time.

    An adapter is switched off even where the audit cannot be written; that is only warned about.

    Args:
        store: the home's adapter folder.
        reference: which adapter; checking that it exists is the caller's business.
        enabled: False for the frozen baseline head.
        by: who, for the audit.
        reason: why, for the audit.
        warn: takes the warning.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    pin = Pin(reference, enabled, by, datetime.now(UTC))
    act = pin_act(reference, enabled=enabled, by=by, reason=reason)
    act = replace(act, evidence={**act.evidence, _AT: pin.at.isoformat()})
    with writing_to(store):
        store.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    try:
        _write_audited(store, pin, act)
    except UnavailableError as error:
        if enabled:
            raise
        _write(store, pin)
        warn(f"{reference} is switched off, but the audit could not be written: {error}")
    return pin


def pin_act(reference: Reference, *, enabled: bool, by: str, reason: str) -> Act:
    """What `write_pin` would do; changes nothing.

    Raises:
        InvalidInputError: who or why is missing.
    """
    version = reference.ref if isinstance(reference.ref, int) else None
    action = Action.PIN if enabled else Action.DISABLE
    return Act(action, reference.name, version, by, reason, evidence={"reference": str(reference)})


def pin_history(store: Path) -> tuple[AuditEntry, ...]:
    """Who pinned what in this home, oldest first.

    Raises:
        IntegrityError: the record was altered.
    """
    return _log(store).entries()


def _write_audited(store: Path, pin: Pin, act: Act) -> None:
    """Plan, pin, settlement; what a killed writer left open is settled first."""
    log = _log(store)
    with log.lock():
        for entry in log.unfinished():
            _settle(log, store, entry)
        begun = log.append(Step.BEGUN, act)
        try:
            _write(store, pin)
        finally:
            _settle(log, store, begun)


def _write(store: Path, pin: Pin) -> None:
    document = {
        "name": pin.reference.name,
        "ref": pin.reference.ref,
        "enabled": pin.enabled,
        "by": pin.by,
        "at": pin.at.isoformat(),
    }
    with writing_to(store):
        write_atomically(store / _PIN_FILE, json.dumps(document, indent=2) + "\n")


def _settle(log: AuditLog, store: Path, begun: AuditEntry) -> None:
    """Close a row by what the pin says: each pin is known by its time."""
    pin = None
    with contextlib.suppress(IntegrityError):
        pin = read_pin(store)
    written = pin is not None and pin.at.isoformat() == begun.act.evidence.get(_AT)
    log.append(Step.DONE if written else Step.ABANDONED, begun.act, closes=begun.sequence)


def _log(store: Path) -> AuditLog:
    return AuditLog(store / _AUDIT_FILE)

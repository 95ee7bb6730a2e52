"""Which adapter the servers of one home load: a small file that operators write and servers watch.

Without it a server follows the champion. It works without the registry, because `--disable` must
work on the day when everything else is down.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from serving.adapters.audit import Act, Action, AuditEntry, AuditLog, Step
from serving.adapters.files import PRIVATE_FOLDER, write_atomically, writing_to
from serving.adapters.manifest import check_name
from serving.adapters.versions import CHAMPION
from serving.errors import IntegrityError, InvalidInputError, VoicebotError

DEFAULT_NAME = "banking-lora"
"""The intent adapter that a server follows where nobody pinned another."""
_PIN_FILE = "pin.json"
_AUDIT_FILE = "pins.jsonl"
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


def write_pin(store: Path, reference: Reference, *, enabled: bool, by: str, reason: str) -> Pin:
    """Tell the servers of a home what to load; they notice within their polling time.

    Args:
        store: the home's adapter folder.
        reference: which adapter; checking that it exists is the caller's business.
        enabled: False for the frozen baseline head.
        by: who, for the audit.
        reason: why, for the audit.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    version = reference.ref if isinstance(reference.ref, int) else None
    action = Action.PIN if enabled else Action.DISABLE
    act = Act(action, reference.name, version, by, reason, evidence={"reference": str(reference)})
    pin = Pin(reference, enabled, by, datetime.now(UTC))
    document = {
        "name": reference.name,
        "ref": reference.ref,
        "enabled": enabled,
        "by": by,
        "at": pin.at.isoformat(),
    }
    with writing_to(store):
        store.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    log = _log(store)
    with log.lock(), writing_to(store):
        write_atomically(store / _PIN_FILE, json.dumps(document, indent=2) + "\n")
        log.append(Step.DONE, act)
    return pin


def pin_history(store: Path) -> tuple[AuditEntry, ...]:
    """Who pinned what in this home, oldest first.

    Raises:
        IntegrityError: the record was altered.
    """
    return _log(store).entries()


def _log(store: Path) -> AuditLog:
    return AuditLog(store / _AUDIT_FILE)

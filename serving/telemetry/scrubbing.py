"""Personal values out of log records, before any sink sees them; what servers need to be found stays.

A second lock: transcripts are never logged on purpose. Nothing here logs.
"""

import ipaddress
import re
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from serving.spoken.parser import parse
from serving.spoken.runs import is_card
from serving.spoken.values import Kind, TypedValue
from serving.telemetry.redaction import Placeholders, contains_personal, redact

if TYPE_CHECKING:
    import loguru

_NOBODYS = re.compile(
    r"(?=[0-9-]*[a-f])[0-9a-f]{16,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.]{5,16}(?:Z|[+-][0-9:]{4,6})?)?"
)
"""Trace ids, UUIDs and time stamps in a log record's fields."""
_DEEPEST = 6


_PLACE = re.compile(
    r"(?<![\w.:-])(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}(?!\w|[.:-]\w)"
)
"""What may be an IP address with a port."""
_MASK = "~"
"""Stands in for each character of such an address; no value is made of it."""


def scrub(record: "loguru.Record") -> None:
    """Loguru patcher: no personal value in a record's message, fields or exception.

    IP addresses with a port stay, which would read as numbers of accounts. Install with
    `logger.configure(patcher=scrub)`, and sinks with `diagnose=False`: variables that loguru shows beside a
    traceback are read after this.
    """
    record["message"] = _line(record["message"])
    for name, value in record["extra"].items():
        record["extra"][name] = _scrubbed(value, 0)
    exception = record["exception"]
    if exception is not None and exception.value is not None and _tells(exception.value):
        safe = type(type(exception.value).__name__, (Exception,), {})(_line(str(exception.value)))
        record["exception"] = exception._replace(type=type(safe), value=safe)


def _line(text: str) -> str:
    """A text of a log without personal values, and with the places that servers listen on."""
    return redact(text, parse(_masked(text))).text


def _masked(text: str) -> str:
    """A text of the same length in which no place with a port is to be seen."""
    return _PLACE.sub(lambda found: _MASK * len(found[0]) if _is_place(found[0]) else found[0], text)


def _is_place(text: str) -> bool:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    # An address of eight groups could hold a card's digits, one of four numbers is too short for them.
    return int(port) < 1 << 16 and not is_card("".join(filter(str.isdigit, host)))


def _tells(error: BaseException | None) -> bool:
    """Whether an exception or one that led to it carries a personal value."""
    for _ in range(_DEEPEST):
        if error is None:
            return False
        if contains_personal(_masked(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return True


def _scrubbed(value: Any, depth: int) -> Any:
    """A field of a log record without personal values; containers are copied."""
    if isinstance(value, str):
        return value if _NOBODYS.fullmatch(value) else _line(value)
    if isinstance(value, TypedValue):
        return f"<{value.kind}>" if value.personal else value.canonical()
    if value is None or isinstance(value, bool | float | Decimal | date | time | UUID | Enum | PurePath):
        return value
    if isinstance(value, int):
        return f"<{Kind.CARD}>" if is_card(str(value)) else value
    if depth < _DEEPEST and isinstance(value, Mapping) and not isinstance(value, Placeholders):
        return {_scrubbed(key, depth + 1): _scrubbed(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_scrubbed(item, depth + 1) for item in value]
    return _line(str(value))

"""Structured logs: one JSON object a line, in UTC, without personal data.

Every record passes `scrub` before any sink sees it. Transcripts are never logged on purpose; scrubbing is
the second lock on that door. A line of a call (`logger.bind(call=…)` or `logger.contextualize(call=…)`)
carries the id of its trace.
"""

import json
import sys
import traceback
from datetime import UTC
from typing import TYPE_CHECKING, Any

from loguru import logger

from serving.errors import UnavailableError
from serving.telemetry.attributes import trace_id_of
from serving.telemetry.scrubbing import scrub

if TYPE_CHECKING:
    import loguru

    from serving.settings import Settings

LOG_FILE = "logs/voicebot.jsonl"
_ROTATE_BYTES = 10_000_000
_KEPT_FILES = 5


def configure_logs(settings: "Settings", *, console: bool = True, file: bool = True) -> None:
    """Send logs to `home/logs/voicebot.jsonl`, and warnings to the terminal; replaces earlier sinks.

    Args:
        settings: home and least level.
        console: also print warnings and errors on stderr.
        file: False for a command that only looks, and leaves the home as it is.

    Raises:
        UnavailableError: the log file cannot be written.
    """
    logger.remove()
    logger.configure(patcher=_patch)
    if file:
        _add_file(settings)
    if console:
        logger.add(
            sys.stderr, level="WARNING", format="{level.name}: {message}", diagnose=False, backtrace=False
        )


def _add_file(settings: "Settings") -> None:
    path = settings.home / LOG_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logger.add(
            path,
            level=settings.log_level,
            format=_json_line,
            encoding="utf-8",
            errors="backslashreplace",
            rotation=_ROTATE_BYTES,
            retention=_KEPT_FILES,
            diagnose=False,
            backtrace=False,
        )
    except OSError as error:
        raise UnavailableError(
            f"The log file {path} cannot be written: {error.strerror}.",
            advice="Set VOICEBOT_HOME to a folder of yours.",
        ) from error


def _patch(record: "loguru.Record") -> None:
    """Scrub a record; then, where it belongs to a call, say to which trace."""
    call = record["extra"].get("call")
    scrub(record)
    if call is not None:
        record["extra"]["trace"] = trace_id_of(str(call))


def _json_line(record: "loguru.Record") -> str:
    """A loguru format: the finished line goes through `extra`, so that braces in messages stay text."""
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(),
        "level": record["level"].name,
        "where": f"{record['name']}:{record['line']}",
        "message": record["message"],
    }
    exception = record["exception"]
    if exception is not None and exception.type is not None:
        line["exception"] = f"{exception.type.__name__}: {exception.value}"
        line["frames"] = [
            f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(exception.traceback)
        ]
    line |= {key: value for key, value in record["extra"].items() if key not in {"json", *line}}
    record["extra"]["json"] = _dumped(line)
    return "{extra[json]}\n"


def _dumped(line: dict[str, Any]) -> str:
    """One line of strict JSON, whatever somebody bound to a record."""
    try:
        return json.dumps(line, ensure_ascii=False, default=str, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps({key: str(value) for key, value in line.items()}, ensure_ascii=False)

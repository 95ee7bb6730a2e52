"""The second lock on the door of the logs: no personal value, and still the place where a server listens."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from loguru import logger

from serving.spoken import parse
from serving.telemetry.redaction import (
    redact,
)
from serving.telemetry.scrubbing import scrub

CARD = "4111111111111111"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """JSON lines of a logger that scrubs."""
    lines: list[str] = []
    logger.configure(patcher=scrub)
    sink = logger.add(lines.append, serialize=True, backtrace=False, diagnose=False, level=0)
    yield lines
    logger.remove(sink)
    logger.configure(patcher=unpatched)


def unpatched(record: object) -> None:
    """The patcher of a logger that has none."""


def test_log_records_carry_no_personal_value(logged: list[str]) -> None:
    logger.bind(
        heard="my name is john smith",
        card=int(CARD),
        deep={"a": ["card four triple one 1111 1111 1111", {"b": ("call me on 555 123 4567",)}]},
        value=parse(f"card {CARD}")[0],
        held=redact("my name is john smith").placeholders,
    ).info("caller said {}", "my card is 4111 1111 1111 1111")
    (line,) = logged
    for secret in ("4111", "1111", "john", "John", "555", "triple"):
        assert secret not in line
    assert "caller said my card is <card>" in line


def test_log_fields_that_are_nobodys_stay_as_they_are(logged: list[str]) -> None:
    fields = {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "call_id": str(uuid4()),
        "when": datetime(2027, 5, 3, 10, 30, tzinfo=UTC).isoformat(),
        "seconds": 0.123456789,
        "tokens": 1234567,
        "amount": Decimal("20000.00"),
        "ok": True,
        "none": None,
    }
    logger.bind(**fields).info("answered in 12 ms at 10:30:05 with $1,234.56")
    record = json.loads(logged[0])["record"]
    assert record["message"] == "answered in 12 ms at 10:30:05 with $1,234.56"
    assert {name: record["extra"][name] for name in ("trace_id", "call_id", "when", "tokens")} == {
        name: fields[name] for name in ("trace_id", "call_id", "when", "tokens")
    }


@pytest.mark.parametrize(
    "text",
    [
        "listens on 127.0.0.1:8080",
        "Redis at 127.0.0.1:6379 does not answer (ConnectionError).",
        "Redis at 10.12.13.14:6379: gone",
        "calls are taken at http://192.168.100.200:8080/static/",
        "listens on [::1]:8080.",
        "http://[2001:db8::ff00:42:8329]:443/ answers",
    ],
)
def test_where_a_server_listens_is_readable_in_the_log(logged: list[str], text: str) -> None:
    logger.bind(error=text).info(text)
    try:
        raise ConnectionError(f"{text} {CARD}")
    except ConnectionError:
        logger.exception("failed")
    assert [json.loads(line)["record"]["message"] for line in logged] == [text, "failed"]
    assert json.loads(logged[0])["record"]["extra"]["error"] == text
    assert json.loads(logged[1])["record"]["exception"]["value"] == f"{text} <card>"


@pytest.mark.parametrize(
    "text",
    [
        f"127.0.0.1:8080 {CARD}",
        f"account 12345678 at 127.0.0.1:8080, card {CARD}",
        "the account is 999.888.777.666:1111",
        "the account is 127.0.0.1:99999",
        "the account is 127.0.0.1.8:8080",
        "[4111:1111:1111:1111::]:80",
    ],
)
def test_a_place_in_a_log_hides_no_personal_value_beside_or_in_it(logged: list[str], text: str) -> None:
    logger.info(text)
    message = json.loads(logged[0])["record"]["message"]
    assert "<" in message
    assert not any(part in message for part in ("4111", "12345678", "888", "99999", "1.8"))


def test_only_logs_let_places_through() -> None:
    assert redact("it is 127.0.0.1:8080").text == "it is <account>"


def test_an_exception_in_the_log_tells_no_personal_value(logged: list[str]) -> None:
    try:
        try:
            raise KeyError(CARD)
        except KeyError as error:
            raise ValueError("no such card") from error
    except ValueError:
        logger.exception("lookup failed")
    assert CARD not in logged[0]
    assert "ValueError" in logged[0]

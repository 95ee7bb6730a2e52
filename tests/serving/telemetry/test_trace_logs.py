"""Every log line of a call says to which trace it belongs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from serving.settings import Settings
from serving.telemetry.attributes import trace_id_of
from serving.telemetry.logs import LOG_FILE, configure_logs
from tests.serving.call.phone import Bank
from tests.serving.telemetry.records import CALL_ID


@pytest.fixture
def log_file(settings: Settings) -> Iterator[Path]:
    configure_logs(settings, console=False)
    yield settings.home / LOG_FILE
    logger.remove()


def lines(log_file: Path) -> list[dict[str, Any]]:
    logger.complete()
    return [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]


def test_a_line_bound_to_a_call_carries_its_trace(log_file: Path) -> None:
    logger.bind(call=CALL_ID).info("bound")
    with logger.contextualize(call=CALL_ID):
        logger.info("inside")
    logger.info("outside")
    bound, inside, outside = lines(log_file)
    assert bound["trace"] == inside["trace"] == trace_id_of(CALL_ID)
    assert bound["call"] == CALL_ID
    assert "trace" not in outside


@pytest.mark.parametrize("call", ["1" * 32, "4111111111111111", 7, "\udc80"])
def test_the_trace_is_that_of_the_id_itself_whatever_the_scrubbing_makes_of_it(
    log_file: Path, call: object
) -> None:
    logger.bind(call=call).info("hello")
    (line,) = lines(log_file)
    assert line["trace"] == trace_id_of(str(call))


def test_an_exception_of_a_call_keeps_both_its_trace_and_its_frames(log_file: Path) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logger.bind(call=CALL_ID).exception("broke")
    (line,) = lines(log_file)
    assert line["trace"] == trace_id_of(CALL_ID)
    assert line["exception"] == "ValueError: no"
    assert "test_trace_logs.py" in line["frames"][0]


def test_the_lines_of_a_real_call_lead_to_its_trace(bank: Bank, log_file: Path) -> None:
    (turn,) = bank.typed("hello")
    of_call = [line for line in lines(log_file) if line.get("call") == turn.call_id]
    assert len(of_call) >= 3
    assert {line["trace"] for line in of_call} == {trace_id_of(turn.call_id)}

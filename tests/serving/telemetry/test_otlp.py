"""Spans reach a collector as one tree per call, and no collector, good or bad, is felt by a call."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from loguru import logger
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from serving.call.record import CallRecord, TurnRecord
from serving.telemetry.attributes import STAGE_SPANS, Attribute, span_id_of, trace_id_of
from serving.telemetry.otlp import OtlpSpans
from serving.telemetry.traces import TraceObserver, open_traces
from tests.serving.call.phone import Bank, HummingTts, ToldStt, spoken, typed
from tests.serving.telemetry.collector import Collector, attributes_of
from tests.serving.telemetry.records import a_call, a_turn

CARD, NAME, PHONE = "4111 1111 1111 1111", "Zanthia Quillfeather", "415 555 0199"
SECRETS = ("4111", "zanthia", "quillfeather", "415 555", "4155550199", "0199", "<card>", "<name>")
LINES = (
    f"hello my name is {NAME}",
    f"my card number is {CARD} and my phone is {PHONE}",
    "what would be the monthly payment to borrow ten thousand dollars over four years",
    "what does the law want to know",
    f"agent for {NAME}",
)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="INFO")
    yield said
    logger.remove(sink)


def sent_call(bank: Bank, collector: Collector, lines: tuple[str, ...] = LINES) -> CallRecord:
    """A spoken call, as the database has it, whose spans have arrived."""
    observer = open_traces(collector.address, {})
    counter = bank.counter
    stt = ToldStt(lines, counter, finish_s=0.12)
    call = bank.call(
        [spoken(0.5) for _ in lines], stt=stt, tts=HummingTts(counter, work_s=0.03), observers=[observer]
    )
    observer.close()
    return call


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def inside(spans: list[Span], around: Span) -> list[Span]:
    return [span for span in spans if span.parent_span_id == around.span_id]


def seconds(span: Span) -> float:
    return float(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def test_a_call_arrives_as_one_tree_with_the_times_of_its_records(bank: Bank, collector: Collector) -> None:
    call = sent_call(bank, collector)
    spans = collector.spans
    assert {span.trace_id.hex() for span in spans} == {trace_id_of(call.call_id)}
    assert len({span.span_id for span in spans}) == len(spans)
    (root,) = [span for span in spans if not span.parent_span_id]
    assert (root.name, root.span_id.hex()) == ("call", span_id_of(call.call_id, "call"))
    turns = named(inside(spans, root), "turn")
    assert len(turns) == len(call.turns) == len(LINES)
    for turn, span in zip(call.turns, sorted(turns, key=index_of), strict=True):
        check_turn(turn, span, spans)
    assert collector.paths == {"/v1/traces"}
    assert {resource["service.name"] for resource in collector.resources} == {"voicebot"}


def index_of(span: Span) -> int:
    return int(attributes_of(span)[Attribute.TURN_INDEX])


def check_turn(turn: TurnRecord, span: Span, spans: list[Span]) -> None:
    """A turn's span and those inside it say what its record says."""
    assert span.start_time_unix_nano == round(turn.started_at.timestamp() * 1e6) * 1_000
    assert attributes_of(span)[Attribute.TURN_DECISION] == turn.decision
    children = inside(spans, span)
    stages = {STAGE_SPANS.get(stage, stage): duration for stage, duration in turn.stages.items()}
    found = [child for child in children if child.name in stages]
    assert {child.name: seconds(child) for child in found} == pytest.approx(stages, abs=1e-8)
    assert [child.name for child in found if seconds(child)] == [name for name, s in stages.items() if s]
    laid = sorted(found, key=lambda child: (child.start_time_unix_nano, child.end_time_unix_nano))
    assert all(a.end_time_unix_nano == b.start_time_unix_nano for a, b in pairwise(laid))
    assert sum(map(seconds, found)) == pytest.approx(turn.voice_to_voice_s, abs=0.005)
    (playout,) = named(children, "playout")
    assert seconds(playout) == pytest.approx(turn.reply_s, abs=1e-8)
    assert len(named(spans, "tool_call")) >= len(turn.tools)


def test_a_call_full_of_personal_data_sends_none_of_it(bank: Bank, collector: Collector) -> None:
    call = sent_call(bank, collector)
    assert any("<card>" in turn.text for turn in call.turns)
    known = set(Attribute)
    for span in collector.spans:
        attributes = attributes_of(span)
        assert set(attributes) <= known
        assert attributes.pop(Attribute.CALL_ID, call.call_id) == call.call_id
        texts = [value for value in attributes.values() if isinstance(value, str)]
        for text in (*texts, span.name, span.status.message):
            assert not [secret for secret in SECRETS if secret in text.lower()]
    sent = b"".join(collector.bodies)
    assert call.call_id.encode() in sent
    sent = sent.replace(call.call_id.encode(), b"").lower()
    assert not [secret for secret in SECRETS if secret.encode() in sent]


def test_failures_are_errors_of_their_spans(collector: Collector) -> None:
    observer = open_traces(collector.address, {})
    observer.turn_committed(a_turn(error="stt: EngineError"))
    observer.close()
    failed = {span.name for span in collector.spans if span.status.code == Status.STATUS_CODE_ERROR}
    assert failed == {"turn", "stt"}


def test_two_calls_at_a_time_keep_their_own_trees(collector: Collector) -> None:
    from concurrent.futures import ThreadPoolExecutor

    observer = open_traces(collector.address, {})

    def call(number: int) -> None:
        turns = [a_turn(call_id=f"{number:032x}", index=index) for index in (1, 2, 3)]
        for turn in turns:
            observer.turn_committed(turn)
        observer.call_ended(a_call(*turns, call_id=f"{number:032x}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(12)))
    observer.close()
    spans = collector.spans
    assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
    for number in range(12):
        of_call = [span for span in spans if span.trace_id.hex() == trace_id_of(f"{number:032x}")]
        ids = {span.span_id for span in of_call} | {b""}
        assert len(of_call) == 3 * len(inside_names()) + 1
        assert all(span.parent_span_id in ids for span in of_call)


def inside_names() -> list[str]:
    from serving.telemetry.traces import turn_spans

    return [span.name for span in turn_spans(a_turn(), arm="champion")]


def test_the_environment_may_name_the_service_and_the_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "harbour-phone")
    observer = open_traces(None)
    observer.turn_committed(a_turn())
    observer.close()
    assert [resource["service.name"] for resource in collector.resources] == ["harbour-phone"]


# A collector that is slow, wrong or gone


def in_seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_a_collector_that_hangs_neither_blocks_a_turn_nor_the_end(
    collector: Collector, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    collector.answering.clear()
    observer = TraceObserver(OtlpSpans(f"{collector.address}/v1/traces", close_s=0.3))
    observer.turn_committed(a_turn())
    observer.turn_committed(a_turn(index=2))
    collector.wait_for(lambda: bool(collector.bodies))
    slowest = max(in_seconds(lambda: observer.turn_committed(a_turn(index=3))) for _ in range(100))
    assert slowest < 1.0
    assert in_seconds(observer.close) < 3.0
    assert in_seconds(observer.close) < 0.1
    made = 102 * len(inside_names())
    assert warnings == [f"{made} of {made} spans never reached the collector"]
    observer.turn_committed(a_turn(index=4))


def test_a_collector_that_is_gone_is_no_matter_for_a_call(bank: Bank, warnings: list[str]) -> None:
    observer = TraceObserver(OtlpSpans("http://127.0.0.1:9/v1/traces", close_s=0.3))
    call = bank.call(typed("hello", "bye"), observers=[observer])
    assert len(call.turns) == 2
    assert not any(turn.error for turn in call.turns)
    assert in_seconds(observer.close) < 3.0


def test_a_collector_that_refuses_is_told_of_once_and_once_more_when_it_is_back(
    collector: Collector,
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    collector.status = 400
    observer = open_traces(collector.address, {})
    for index in range(1, 5):
        requests = len(collector.bodies)
        observer.turn_committed(a_turn(index=index))
        collector.wait_for(lambda before=requests: len(collector.bodies) > before)  # type: ignore[misc]
    collector.status = 200
    while not collector.spans:
        requests = len(collector.bodies)
        observer.turn_committed(a_turn(index=9))
        collector.wait_for(lambda before=requests: len(collector.bodies) > before)  # type: ignore[misc]
    observer.close()
    refused, again, lost = warnings
    assert refused.startswith("the span collector takes no spans")
    assert again.startswith("the span collector takes spans again")
    assert lost.endswith("spans never reached the collector")
    assert not caplog.records


def test_a_collector_that_answers_with_nonsense_is_no_matter(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.status = 301
    observer: Any = TraceObserver(OtlpSpans(f"{collector.address}/v1/traces", close_s=0.5))
    observer.turn_committed(a_turn())
    assert in_seconds(observer.close) < 3.0

"""Spans say what the record says: its times, the same ids for the same call, and no words of a caller."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given

from serving.call.record import CallRecord, ToolRecord, TurnRecord
from serving.errors import InvalidInputError
from serving.telemetry.attributes import STAGE_SPANS, Attribute, span_id_of, trace_id_of
from serving.telemetry.traces import (
    SpanFacts,
    TraceObserver,
    call_span,
    open_traces,
    traces_address,
    turn_spans,
)
from tests.properties import examples
from tests.serving.telemetry.records import BEGAN, CALL_ID, a_call, a_turn, generated_calls, generated_turns

ROOT = Path(__file__).resolve().parents[3]


def named(spans: Sequence[SpanFacts], name: str) -> SpanFacts:
    (found,) = [span for span in spans if span.name == name]
    return found


def seconds(span: SpanFacts) -> float:
    return (span.end_ns - span.start_ns) / 1e9


def test_a_turn_becomes_its_stages_end_to_end_and_then_the_sound() -> None:
    turn = a_turn()
    whole, *inside = turn_spans(turn, arm="champion")
    stages = [span for span in inside if span.parent == whole.place]
    assert [span.name for span in stages] == ["eou", "stt", "cache", "llm", "tool", "tts", "playout"]
    assert all(before.end_ns == after.start_ns for before, after in pairwise(stages))
    assert whole.start_ns == stages[0].start_ns == round(turn.started_at.timestamp() * 1e6) * 1_000
    assert whole.end_ns == stages[-1].end_ns
    assert seconds(whole) == pytest.approx(1.122 + 3.0)


@examples(100)
@given(generated_turns())
def test_the_stage_spans_have_the_times_of_the_record_and_add_up(turn: TurnRecord) -> None:
    whole, *inside = turn_spans(turn, arm="champion")
    stages = {span.name: span for span in inside if span.place in {f"turn/1/{name}" for name in turn.stages}}
    assert len(stages) == len(turn.stages)
    for stage, duration in turn.stages.items():
        assert seconds(stages[STAGE_SPANS.get(stage, stage)]) == pytest.approx(duration, abs=1e-8)
    if turn.voice_to_voice_s is not None and stages:
        last = max(span.end_ns for span in stages.values())
        assert (last - whole.start_ns) / 1e9 == pytest.approx(turn.voice_to_voice_s, abs=1e-8)


@examples(100)
@given(generated_calls())
def test_spans_form_one_tree_whose_places_are_unique_and_whose_ends_follow_their_starts(
    call: CallRecord,
) -> None:
    spans = [call_span(call, arm="champion")]
    spans += [span for turn in call.turns for span in turn_spans(turn, arm="champion")]
    places = {span.place: span for span in spans}
    assert len(places) == len(spans)
    assert [span.place for span in spans if not span.parent] == ["call"]
    for span in spans:
        assert span.parent in {"", *places}
        assert span.start_ns <= span.end_ns
        if span.parent.startswith("turn"):
            assert places[span.parent].start_ns <= span.start_ns
        assert all(isinstance(name, Attribute) for name in span.attributes)


def test_a_turn_that_was_never_heard_has_no_playout() -> None:
    spans = turn_spans(
        a_turn(voice_to_voice_s=None, reply_s=0.0, stages={"end_of_turn": 0.7}), arm="champion"
    )
    assert [span.name for span in spans] == ["turn", "eou", "tool_call"]


def test_tool_calls_lie_in_their_stage_and_behind_the_stages_where_they_have_none() -> None:
    tools = (
        ToolRecord("get_balance", {}, True, seconds=0.02),
        ToolRecord("block_card", {}, False, seconds=0.01),
    )
    spans = turn_spans(a_turn(tools=tools), arm="champion")
    first, second = [span for span in spans if span.name == "tool_call"]
    assert first.parent == second.parent == named(spans, "tool").place
    assert first.start_ns == named(spans, "tool").start_ns
    assert second.start_ns == first.end_ns
    assert (first.failed, second.failed) == ("", "block_card")
    spans = turn_spans(a_turn(tools=tools, stages={"llm": 0.5, "tts": 0.622}), arm="champion")
    first, _ = [span for span in spans if span.name == "tool_call"]
    assert first.parent == "turn/1"
    assert first.start_ns == named(spans, "playout").start_ns


def test_a_failure_is_on_the_turn_and_on_the_stage_without_its_words() -> None:
    spans = turn_spans(a_turn(error="stt: EngineError; mistral: ValueError in api line 3"), arm="champion")
    assert named(spans, "turn").failed == "stt,mistral"
    assert named(spans, "turn").attributes[Attribute.TURN_FAILED] == "stt,mistral"
    assert named(spans, "stt").failed == "stt"
    assert named(spans, "tts").failed == ""


def test_stages_name_their_engine_and_the_cache_its_decision() -> None:
    spans = turn_spans(a_turn(), arm="challenger")
    assert named(spans, "stt").attributes == {Attribute.ENGINE: "told"}
    assert named(spans, "llm").attributes == {Attribute.ENGINE: "embedded"}
    assert named(spans, "cache").attributes[Attribute.CACHE_OUTCOME] == "miss"
    assert named(spans, "turn").attributes[Attribute.ARM] == "challenger"
    assert named(spans, "turn").attributes[Attribute.ADAPTER] == "banking-lora/3"


def test_a_calls_span_holds_all_its_turns_also_where_its_clock_ran_ahead() -> None:
    span = call_span(a_call(duration_s=90.0), arm="champion")
    assert seconds(span) == pytest.approx(90.0)
    assert span.start_ns == round(BEGAN.timestamp() * 1e6) * 1_000
    assert seconds(call_span(a_call(ended_at=None, ending=None, duration_s=0.0), arm="champion")) == 0.0


def test_a_moment_without_a_zone_is_utc() -> None:
    naive = a_turn(started_at=BEGAN.replace(tzinfo=None))
    assert turn_spans(naive, arm="champion") == turn_spans(a_turn(started_at=BEGAN), arm="champion")


def test_ids_follow_from_the_call_and_differ_between_calls_and_places() -> None:
    assert trace_id_of(CALL_ID) == trace_id_of(CALL_ID)
    assert len(trace_id_of(CALL_ID)) == 32
    assert len(span_id_of(CALL_ID, "call")) == 16
    ids = {span_id_of(call, place) for call in (CALL_ID, "other") for place in ("call", "turn/1", "turn/11")}
    assert len(ids) == 6
    assert trace_id_of("\udc80") != trace_id_of(CALL_ID)


def test_every_attribute_of_a_full_record_is_a_known_one_and_holds_none_of_its_texts() -> None:
    """Each field that could hold a caller's words holds a word of its own, and none of them is found."""
    hidden = {
        field.name: f"secret{field.name.replace('_', '')}"
        for field in fields(TurnRecord)
        if field.name in {"text", "answer", "spoken"}
    }
    tool = ToolRecord(
        "get_balance", {"iban": "secretargument"}, True, {"b": "secretvalue"}, "secreterror", 0.1
    )
    turn = a_turn(**hidden, values=("secretvalues",), disclosures=("secretdisclosure",), tools=(tool,))
    call = a_call(
        turn,
        caller="secretcaller",
        transfer_summary="secretsummary",
        recording="secretpath",
        script="secretscript",
    )
    spans = [call_span(call, arm="champion"), *turn_spans(turn, arm="champion")]
    attributes = {name for span in spans for name in span.attributes}
    assert attributes <= set(Attribute)
    assert "secret" not in repr(spans)


# Where spans go


def test_without_a_collector_no_part_of_opentelemetry_is_loaded() -> None:
    code = (
        "import sys; from serving.telemetry.traces import open_traces; observer = open_traces(None);"
        "observer.close(); assert not observer.on;"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)


def test_an_observer_without_a_sink_does_nothing() -> None:
    observer = TraceObserver(None)
    observer.turn_committed(a_turn())
    observer.call_ended(a_call())
    observer.close()
    assert not observer.on


@pytest.mark.parametrize(
    ("endpoint", "environment", "address"),
    [
        (None, {}, None),
        ("", {}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("https://c/otlp/", {}, "https://c/otlp/v1/traces"),
        ("http://c:4318/v1/traces", {}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318/"}, "http://e:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/in"}, "http://t/in"),
        ("http://c", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/in"}, "http://c/v1/traces"),
        ("http://c", {"OTEL_SDK_DISABLED": "TRUE"}, None),
        ("http://c", {"OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_the_setting_comes_before_the_standard_variables(
    endpoint: str | None, environment: dict[str, str], address: str | None
) -> None:
    assert traces_address(endpoint, environment) == address


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4318", "grpc://c:4317", "http://", "http://c:port", "http://[::1", "c", "http://c:0"],
)
def test_an_address_that_is_none_is_refused_at_the_start(endpoint: str) -> None:
    with pytest.raises(InvalidInputError, match="span collector") as refused:
        open_traces(endpoint, {})
    assert endpoint not in str(refused.value).removesuffix("http://collector:4318.") or endpoint in {
        "c",
        "http://",
    }

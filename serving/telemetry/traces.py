"""Spans of a call, `call > turn > stages`, made from the finalised records and from nothing else.

A turn's spans are made when its record is, with the record's own times, so that metrics and traces cannot
disagree: the stages lie end to end from the record's `started_at` and add up to its voice-to-voice time.
Ids follow from the call's id; no state is kept between turns. What is sent, and whether, is another room's
(`serving.telemetry.otlp`), which is only entered where a collector is configured.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from serving.errors import InvalidInputError
from serving.telemetry.attributes import (
    CALL_SPAN,
    CHAMPION,
    PLAYOUT_SPAN,
    STAGE_SPANS,
    TOOL_CALL_SPAN,
    TURN_SPAN,
    Attribute,
    engine_of,
    failed_parts,
    word,
)

if TYPE_CHECKING:
    from serving.call.record import CallRecord, ToolRecord, TurnRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACES_PATH = "/v1/traces"

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """A span before it is anybody's.

    Attributes:
        place: where in the call it lies, unique there: `call`, `turn/3`, `turn/3/stt`.
        parent: the place of the span around it; empty for the call itself.
        start_ns: nanoseconds since 1970, UTC.
        end_ns: the same; not before the start.
        failed: what failed in it, joined by commas; empty when nothing did.
    """

    name: str
    place: str
    parent: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    failed: str = ""


class SpanSink(Protocol):
    """Where spans go; it neither blocks nor raises."""

    def emit(self, call_id: str, spans: Sequence[SpanFacts]) -> None:
        """Take spans of a call."""
        ...

    def close(self) -> None:
        """Send what is left, within a bounded time."""
        ...


class TraceObserver:
    """Makes spans of turns and calls; an observer of calls.

    Args:
        sink: where they go; None makes none.
    """

    def __init__(self, sink: SpanSink | None) -> None:
        self._sink = sink

    @property
    def on(self) -> bool:
        """Whether spans are made at all."""
        return self._sink is not None

    def turn_committed(self, turn: "TurnRecord", *, arm: str = CHAMPION) -> None:
        """Make the spans of one finalised turn."""
        if self._sink is not None:
            self._sink.emit(turn.call_id, turn_spans(turn, arm=arm))

    def call_ended(self, call: "CallRecord", *, arm: str = CHAMPION) -> None:
        """Make the span around all turns of an ended call."""
        if self._sink is not None:
            self._sink.emit(call.call_id, [call_span(call, arm=arm)])

    def close(self) -> None:
        """Send what is left, within a bounded time; harmless twice."""
        if self._sink is not None:
            self._sink.close()


def open_traces(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> TraceObserver:
    """An observer that sends spans to the configured collector, or one that does nothing.

    Args:
        endpoint: see `traces_address`.
        environment: OpenTelemetry's own variables.

    Raises:
        InvalidInputError: the address is none.
    """
    address = traces_address(endpoint, environment)
    if address is None:
        return TraceObserver(None)
    from serving.telemetry.otlp import OtlpSpans

    return TraceObserver(OtlpSpans(address))


def traces_address(endpoint: str | None, environment: Mapping[str, str]) -> str | None:
    """Where spans are sent by OTLP over HTTP; None for nowhere.

    Args:
        endpoint: the collector's base address, as `http://collector:4318`; None or empty leaves it to
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (a whole address) or OTEL_EXPORTER_OTLP_ENDPOINT (a base).
        environment: also OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none, which switch all of it off.

    Raises:
        InvalidInputError: the address is none.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    whole = "" if endpoint else environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = (endpoint or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")).strip().rstrip("/")
    address = whole or (f"{base.removesuffix(_TRACES_PATH)}{_TRACES_PATH}" if base else "")
    if not address:
        return None
    try:
        parts = urlsplit(address)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not match
        sound = False
    if not sound:
        raise InvalidInputError(
            "The address of the span collector is no http or https address.",
            advice="Expected is a base address such as http://collector:4318.",
        )
    return address


def call_span(call: "CallRecord", *, arm: str) -> SpanFacts:
    """The span around the turns of a call."""
    start = _nanoseconds(call.started_at)
    ended = start if call.ended_at is None else _nanoseconds(call.ended_at)
    engines: dict[str, AttributeValue] = {
        name: word(call.engines[role])
        for role, name in (
            ("stt", Attribute.CALL_STT),
            ("tts", Attribute.CALL_TTS),
            ("llm", Attribute.CALL_LLM),
        )
        if role in call.engines
    }
    attributes: dict[str, AttributeValue] = {
        Attribute.CALL_ID: call.call_id,
        Attribute.ARM: word(arm),
        Attribute.ADAPTER: word(call.adapter),
        Attribute.CALL_TRANSPORT: word(call.transport),
        Attribute.CALL_ENDING: call.ending.value if call.ending else "unknown",
        Attribute.CALL_TURNS: len(call.turns),
        Attribute.CALL_DURATION_S: call.duration_s,
        Attribute.CALL_TALK_S: call.talk_s,
        Attribute.CALL_VERIFIED: call.verified,
        Attribute.CALL_DROPPED_FRAMES: call.dropped_frames,
        Attribute.CALL_FALSE_INTERRUPTIONS: call.false_interruptions,
        **engines,
    }
    # A file's sound passes faster than its clock counts: the later of both ends holds all turns.
    return SpanFacts(CALL_SPAN, CALL_SPAN, "", start, max(ended, _after(start, call.duration_s)), attributes)


def turn_spans(turn: "TurnRecord", *, arm: str) -> list[SpanFacts]:
    """The span of a turn, then those inside it: each stage, the tool calls, the reply's sound."""
    zero, place = _nanoseconds(turn.started_at), f"{TURN_SPAN}/{turn.index}"
    failed = failed_parts(turn.error)
    stages, made = _stage_spans(turn, zero, place, failed)
    inside = [*stages, *_tool_spans(turn.tools, stages, made, place)]
    if turn.voice_to_voice_s is not None and turn.reply_s > 0:
        first_sound = _after(zero, turn.voice_to_voice_s)
        reply: dict[str, AttributeValue] = {Attribute.TURN_INTERRUPTED: turn.interrupted}
        end = _after(first_sound, turn.reply_s)
        inside.append(SpanFacts(PLAYOUT_SPAN, f"{place}/sound", place, first_sound, end, reply))
    end = max([made, *(span.end_ns for span in inside)])
    whole = SpanFacts(
        TURN_SPAN, place, CALL_SPAN, zero, end, _turn_attributes(turn, arm, failed), ",".join(failed)
    )
    return [whole, *inside]


def _stage_spans(
    turn: "TurnRecord", zero: int, place: str, failed: Sequence[str]
) -> tuple[list[SpanFacts], int]:
    """The stages end to end, and where the last one ends.

    Times are summed before they are rounded, so that no rounding error adds up.
    """
    spans: list[SpanFacts] = []
    passed, start = 0.0, zero
    for stage, seconds in turn.stages.items():
        passed += max(0.0, seconds)
        end, name = _after(zero, passed), word(stage)
        attributes = _stage_attributes(turn, stage)
        fault = name if name in failed else ""
        spans.append(
            SpanFacts(STAGE_SPANS.get(name, name), f"{place}/{name}", place, start, end, attributes, fault)
        )
        start = end
    return spans, start


def _stage_attributes(turn: "TurnRecord", stage: str) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    if engine := engine_of(turn, stage):
        attributes[Attribute.ENGINE] = word(engine)
    if stage == "cache" and turn.cache is not None:
        attributes[Attribute.CACHE_OUTCOME] = word(turn.cache.outcome)
        attributes[Attribute.CACHE_REASON] = word(turn.cache.reason)
        if turn.cache.similarity is not None:
            attributes[Attribute.CACHE_SIMILARITY] = turn.cache.similarity
    return attributes


def _tool_spans(
    tools: Sequence["ToolRecord"], stages: Sequence[SpanFacts], made: int, place: str
) -> list[SpanFacts]:
    """Tool calls end to end in their stage; behind the stages where they ran while a filler was heard.

    The record tells how long each took and in which order, not when it began.
    """
    around = next((span for span in stages if span.name == "tool"), None)
    at, parent = (made, place) if around is None else (around.start_ns, around.place)
    spans: list[SpanFacts] = []
    for number, tool in enumerate(tools, 1):
        end = _after(at, tool.seconds)
        attributes: dict[str, AttributeValue] = {
            Attribute.TOOL_NAME: word(tool.name),
            Attribute.TOOL_OK: tool.ok,
            Attribute.TOOL_SECONDS: tool.seconds,
        }
        failed = "" if tool.ok else word(tool.name)
        spans.append(SpanFacts(TOOL_CALL_SPAN, f"{place}/tool/{number}", parent, at, end, attributes, failed))
        at = end
    return spans


def _turn_attributes(turn: "TurnRecord", arm: str, failed: Sequence[str]) -> dict[str, AttributeValue]:
    known: dict[str, AttributeValue | None] = {
        Attribute.ARM: word(arm),
        Attribute.ADAPTER: word(turn.intent_version),
        Attribute.ENGINE: word(turn.stt_engine),
        Attribute.TURN_INDEX: turn.index,
        Attribute.TURN_DECISION: turn.decision.value,
        Attribute.TURN_INTENT: word(turn.intent),
        Attribute.TURN_INTENT_PROBABILITY: turn.intent_probability,
        Attribute.TURN_IN_SCOPE: turn.in_scope,
        Attribute.TURN_CONFIDENCE: turn.confidence,
        Attribute.TURN_AUDIO_S: turn.audio_s,
        Attribute.TURN_REPLY_S: turn.reply_s,
        Attribute.TURN_VOICE_TO_VOICE_S: turn.voice_to_voice_s,
        Attribute.TURN_SPEECH_STARTED_S: turn.started_s,
        Attribute.TURN_INTERRUPTED: turn.interrupted,
        Attribute.TURN_BARGE_IN_S: turn.barge_in_s,
        Attribute.TURN_RESUMED: turn.resumed,
        Attribute.TURN_FAILED: ",".join(failed) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    """Since 1970; a moment without a zone is UTC, as in all records."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000


def _after(start_ns: int, seconds: float) -> int:
    return start_ns + round(max(0.0, seconds) * 1e9)

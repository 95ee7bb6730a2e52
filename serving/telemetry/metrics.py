"""Prometheus metrics, read from the finalised turn record and from nothing else.

Labels are engines, decisions and adapter versions, never a call or a person. Each `TurnMetrics` has a
registry of its own, so that two servers in one process (tests) do not share counters.
"""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from serving.call.record import CallRecord, TurnRecord

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 4.0, 8.0)
"""Histogram bounds in seconds; 0.8 s is the usual aim for voice-to-voice."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class TurnMetrics:
    """Counters and histograms of a server; an observer of calls."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._turns = Counter(
            "voicebot_turns_total",
            "Caller turns by what was decided.",
            ["decision", "adapter", "stt"],
            registry=self.registry,
        )
        self._cache = Counter(
            "voicebot_cache_lookups_total",
            "Cache lookups by outcome and reason.",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self._tools = Counter(
            "voicebot_tool_calls_total", "Tool calls by outcome.", ["tool", "ok"], registry=self.registry
        )
        self._voice = Histogram(
            "voicebot_voice_to_voice_seconds",
            "End of the caller's speech to the first sound of the reply.",
            ["decision"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "voicebot_stage_seconds",
            "Time of each stage of a turn.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._calls = Counter(
            "voicebot_calls_total",
            "Ended calls by how they ended.",
            ["ending", "transport"],
            registry=self.registry,
        )
        self._errors = Counter(
            "voicebot_turn_failures_total",
            "Failures in turns by the stage or engine that failed; a turn may count twice.",
            ["stage"],
            registry=self.registry,
        )
        self.record_failures = Counter(
            "voicebot_record_failures_total",
            "Writes of call records that failed and were kept for later.",
            registry=self.registry,
        )
        self.active_calls = Gauge("voicebot_active_calls", "Calls in progress.", registry=self.registry)

    def turn_committed(self, turn: "TurnRecord") -> None:
        """Count one finalised turn."""
        self._turns.labels(turn.decision.value, turn.intent_version or "none", turn.stt_engine).inc()
        if turn.cache is not None:
            self._cache.labels(turn.cache.outcome, turn.cache.reason).inc()
        for tool in turn.tools:
            self._tools.labels(tool.name, "true" if tool.ok else "false").inc()
        if turn.voice_to_voice_s is not None:
            self._voice.labels(turn.decision.value).observe(turn.voice_to_voice_s)
        for stage, seconds in turn.stages.items():
            self._stages.labels(stage).observe(seconds)
        for failure in filter(None, turn.error.split("; ")):
            self._errors.labels(failure.partition(":")[0]).inc()

    def call_ended(self, call: "CallRecord") -> None:
        """Count one ended call."""
        self._calls.labels(call.ending.value if call.ending else "unknown", call.transport).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

"""Prometheus metrics, read from the finalised turn and call records and from nothing else.

Only what no record tells (calls in progress, calls refused, work that hangs, writes that failed, the event
loop's lag) is told by the server itself. Labels are arms, adapters, engines and our own words for what was
decided, never a call or a person, and each label takes a limited number of values. Each `TurnMetrics` has a
registry of its own, so that two servers in one process (tests) do not share counters.
"""

import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.telemetry.attributes import CHAMPION, NONE, OTHER, engine_of, failed_parts, word
from serving.telemetry.cache_metrics import CacheMetrics

if TYPE_CHECKING:
    from serving.call.record import CallRecord, TurnRecord

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 4.0, 8.0)
"""Histogram bounds in seconds; 0.8 s is the usual aim for voice-to-voice."""
_BARGE_IN_SECONDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 3.0)
"""Around 0.7 s, the aim for the 95th percentile."""
_LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Around 20 ms, one frame of sound."""
MOST_VALUES = 100
"""Different values of one label; further ones are counted as `other`."""
REFUSALS = ("full", "draining", "unavailable")
"""Why a call was not taken: all lines busy, the server stops, or the shared state is out of reach."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class TurnMetrics:
    """Counters and histograms of a server; an observer of calls.

    Attributes:
        registry: all metrics of this server.
        active_calls: calls in progress; set by whoever admits them.
        hung_work: work of live calls, and tools, given up and still in a thread; asked of the threads.
        cache: of the cache's governance; lookups are counted with their turns.
        record_failures: writes of records that failed.
        loop_lag: see `serving.telemetry.loop_lag`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._words = _Words(MOST_VALUES)
        self._turns = self._counter(
            "turns_total", "Caller turns by what was decided.", "arm", "adapter", "stt", "decision"
        )
        self._voice = self._histogram(
            "voice_to_voice_seconds",
            "End of the caller's speech to the first sound of the reply.",
            _SECONDS,
            *("arm", "adapter", "stt", "decision"),
        )
        self._stages = self._histogram(
            "stage_seconds",
            "Time of each stage of a turn; the stages of a turn add up to its voice-to-voice time.",
            _SECONDS,
            *("arm", "adapter", "stage", "engine"),
        )
        self._cache = self._counter(
            "cache_lookups_total",
            "Cache lookups by outcome and reason.",
            "arm",
            "adapter",
            "outcome",
            "reason",
        )
        self._tools = self._counter(
            "tool_calls_total", "Tool calls by outcome.", "arm", "adapter", "tool", "ok"
        )
        self._errors = self._counter(
            "turn_failures_total",
            "Failures in turns by the stage or engine that failed; a turn may count twice.",
            *("arm", "adapter", "stage"),
        )
        self._interruptions = self._counter(
            "interruptions_total",
            "Replies that a caller talked into. true: cut short by it; false: held for a sound that was no "
            "interruption, and resumed; left: cut short by something else, as a caller who hung up.",
            *("arm", "adapter", "kind"),
        )
        self._barge_in = self._histogram(
            "barge_in_seconds",
            "First sound of a caller who interrupts to the silence of the bot.",
            _BARGE_IN_SECONDS,
            *("arm", "adapter"),
        )
        self._calls = self._counter(
            "calls_total", "Ended calls by how they ended.", "arm", "adapter", "transport", "ending"
        )
        self._dropped = self._counter(
            "dropped_frames_total",
            "20 ms pieces of callers' sound that came faster than they could be heard.",
            *("arm", "adapter", "transport"),
        )
        self._refused = self._counter(
            "calls_refused_total", "Calls that were not taken, by the reason.", "reason"
        )
        for reason in REFUSALS:
            self._refused.labels(reason)
        self.record_failures = self._counter(
            "record_failures_total", "Writes of call records that failed and were kept for later."
        )
        self.active_calls = Gauge("voicebot_active_calls", "Calls in progress.", registry=self.registry)
        self.hung_work = Gauge(
            "voicebot_hung_work",
            "Work of live calls that was given up and still occupies a thread.",
            registry=self.registry,
        )
        self.cache = CacheMetrics(self.registry)
        self.loop_lag = self._histogram(
            "event_loop_lag_seconds", "How late the event loop wakes who sleeps on it.", _LAG_SECONDS
        )

    def turn_committed(self, turn: "TurnRecord", *, arm: str = CHAMPION) -> None:
        """Count one finalised turn."""
        who = (self._words("arm", arm), self._words("adapter", turn.intent_version))
        stt, decision = self._words("engine", turn.stt_engine), turn.decision.value
        self._turns.labels(*who, stt, decision).inc()
        if turn.voice_to_voice_s is not None:
            self._voice.labels(*who, stt, decision).observe(turn.voice_to_voice_s)
        for stage, seconds in turn.stages.items():
            engine = self._words("engine", engine_of(turn, stage))
            self._stages.labels(*who, self._words("stage", stage), engine).observe(seconds)
        if turn.cache is not None:
            self._cache.labels(*who, word(turn.cache.outcome), self._words("reason", turn.cache.reason)).inc()
        for tool in turn.tools:
            self._tools.labels(*who, self._words("tool", tool.name), "true" if tool.ok else "false").inc()
        for part in failed_parts(turn.error):
            self._errors.labels(*who, self._words("stage", part)).inc()
        if turn.barge_in_s is not None:
            self._interruptions.labels(*who, "true").inc()
            self._barge_in.labels(*who).observe(turn.barge_in_s)
        elif turn.interrupted:
            self._interruptions.labels(*who, "left").inc()
        if turn.resumed:
            self._interruptions.labels(*who, "false").inc(turn.resumed)

    def call_ended(self, call: "CallRecord", *, arm: str = CHAMPION) -> None:
        """Count one ended call."""
        who = (self._words("arm", arm), self._words("adapter", call.adapter))
        transport = self._words("transport", call.transport)
        ending = call.ending.value if call.ending else "unknown"
        self._calls.labels(*who, transport, ending).inc()
        self._dropped.labels(*who, transport).inc(call.dropped_frames)
        # Those in a reply were counted with its turn; the others were in the greeting and between turns.
        elsewhere = call.false_interruptions - sum(turn.resumed for turn in call.turns)
        self._interruptions.labels(*who, "false").inc(max(0, elsewhere))

    def call_refused(self, reason: str) -> None:
        """Count a caller who was turned away.

        Args:
            reason: one of `REFUSALS`.
        """
        self._refused.labels(reason if reason in REFUSALS else OTHER).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"voicebot_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"voicebot_{name}", meaning, labels, buckets=bounds, registry=self.registry)


class _Words:
    """Values of labels: words of ours, and of each label only so many different ones."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def __call__(self, label: str, value: str) -> str:
        """The value, or `other` where it is no word of ours or one too many."""
        value = word(value)
        if value in {NONE, OTHER}:
            return value
        with self._lock:
            known = self._known.setdefault(label, set())
            if value not in known:
                if len(known) >= self._most:
                    return OTHER
                known.add(value)
        return value

"""Live calls as a server opens them, with stub engines: one place that knows how a `LiveCall` is made."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from serving.call.book import CallBook
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.ears import Ears
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_parts import Parts, turn_policy
from serving.call.pools import WorkPools
from serving.call.ports import CallObserver, Journal, Records, Responding
from serving.call.record import CallRecord, Decision
from serving.call.recording import Recording
from serving.call.scheduler import AsyncScheduler
from serving.call.session import new_call_id
from serving.call.turn_taking import load_turn_taking
from serving.settings import Settings
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings
from tests.benchmarks.live import workload as w
from tests.benchmarks.live.engines import EnergyVad, ToneLine, ToneStt, ToneTts

THREADS = 64
"""Threads in which engines work; a stub waits out its delay in one of them."""


class FixedResponder:
    """The same answer to everything, a fixed time after the question."""

    def __init__(self, delay_s: float = w.LLM_S) -> None:
        self._delay_s = delay_s

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        time.sleep(self._delay_s)
        laps.mark("llm")
        return Reply(turn.text, w.ANSWER, Decision.ANSWER, state, llm_engine="stub")

    def prompt(self, name: str, attempt: int = 0) -> str:
        return "Hello."


@dataclass
class Rig:
    """Opens live calls; use it as a context manager on a running event loop.

    Args:
        settings: of the installation.
        records: where calls are recorded.
        observer: told of turns and calls.
        responder: makes the responder of a call.
        tts: the voice of all calls.
        keep_sound: whether a sentence that was spoken before is spoken from memory.
    """

    settings: Settings
    records: Records
    observer: CallObserver | None = None
    responder: Callable[[], Responding] = FixedResponder
    tts: ToneTts = field(default_factory=ToneTts)
    keep_sound: bool = False
    record_failures: int = 0
    open_calls: int = 0

    def __enter__(self) -> Self:
        self._pool = WorkPools(THREADS)
        self._kept = SpeechCache(self.tts, **({} if self.keep_sound else {"max_bytes": 1}))
        self._turn_taking = load_turn_taking(self.settings.data / "lexicons" / "turn_taking.yaml")
        self._policy = turn_policy(self.settings, self._turn_taking, opening="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def open(self, line: ToneLine) -> LiveCall:
        """A call on a line, started."""
        call = self.make(line)
        line.call = call
        call.start()
        return call

    def make(self, line: Line, *, closed: Callable[[], None] = lambda: None) -> LiveCall:
        """A call on a line of the running event loop, not started.

        Args:
            line: to the caller.
            closed: told when the call is on record.
        """
        settings = self.settings
        stt = ToneStt()
        limits = EndpointSettings(
            threshold=settings.vad_threshold, hang_over_s=settings.end_of_turn_silence_s
        )
        ears = Ears(stt, EnergyVad(), limits, self._turn_taking, settings.max_utterance_s)
        call_id = new_call_id()
        record = CallRecord(
            call_id=call_id,
            started_at=datetime.now(UTC),
            transport=line.transport,
            adapter="stub/1",
            cache_scope="stub",
            engines={"stt": stt.info.name, "tts": self.tts.info.name, "llm": "stub"},
        )
        recording = settings.home / "recordings" / f"{call_id}.wav" if settings.keep_recordings else None
        journal = Journal(
            self.records,
            settings.home / "unsaved",
            (self.observer,) if self.observer else (),
            recording,
            self._failed,
        )

        def over(record: CallRecord) -> None:
            self._closed(record)
            closed()

        parts = Parts(ears, self.tts, self._kept, self._policy, lambda _state: None, over, 3_600.0)
        call = LiveCall(
            self.responder(),
            parts,
            CallBook(record, journal, settings.max_turn_chars),
            Recording(wanted=recording is not None),
            line,
            AsyncScheduler(self._pool, asyncio.get_running_loop()),
        )
        self.open_calls += 1
        return call

    async def all_closed(self, limit_s: float = 10.0) -> int:
        """Wait until every call is over and on record; returns how many are not by then."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while self.open_calls and loop.time() < until:
            await asyncio.sleep(0.02)
        return self.open_calls

    def _closed(self, _call: CallRecord) -> None:
        self.open_calls -= 1

    def _failed(self) -> None:
        self.record_failures += 1

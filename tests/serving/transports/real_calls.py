"""Real live calls behind a real server, with small engines: a loud sound is speech, a recogniser is told."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from serving.call.book import CallBook
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, Reply
from serving.call.ears import Ears
from serving.call.line import Line
from serving.call.live import LiveCall, Parts
from serving.call.live_state import LiveSnapshot
from serving.call.machine import Next
from serving.call.ports import Journal
from serving.call.record import CallRecord, Decision
from serving.call.recording import Recording
from serving.call.runtime import turn_policy
from serving.call.scheduler import AsyncScheduler
from serving.call.store import CallStore
from serving.call.turn_taking import load_turn_taking
from serving.services.live_calls import OpenLive
from serving.settings import Settings
from serving.speech.protocols import TtsEngine
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings
from tests.serving.call.phone import HummingTts, LoudnessVad, ToldStt

GREETING = "This is a greeting that goes on for about three seconds of sound, " * 5
"""The voice needs ten milliseconds for each character."""
ANSWER = "The branch opens at nine."


class Desk:
    """Answers everything with the same sentence; a caller who says so is put through, or said goodbye to."""

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        laps.mark("llm")
        following = {"person": Next.TRANSFER, "bye": Next.END}.get(turn.text, Next.LISTEN)
        return Reply(turn.text, ANSWER, Decision.ANSWER, state, next=following)

    def prompt(self, name: str, attempt: int = 0) -> str:
        return GREETING if name == "greeting" else "Pardon?"


@contextmanager
def real_calls(
    settings: Settings,
    told: tuple[str, ...],
    *,
    answering: Callable[[], Any] = Desk,
    tts: TtsEngine | None = None,
    changed: Callable[[LiveSnapshot], None] = lambda _snapshot: None,
) -> Iterator[tuple[OpenLive, CallStore]]:
    """An opener of live calls whose callers say what `told` holds, and where they are recorded."""
    store = CallStore(settings.records_url)
    tts = tts or HummingTts()
    turn_taking = load_turn_taking(settings.data / "lexicons" / "turn_taking.yaml")
    limits = EndpointSettings(threshold=settings.vad_threshold, hang_over_s=settings.end_of_turn_silence_s)
    with ThreadPoolExecutor(16) as pool:

        def open_call(line: Line, *, call_id: str, caller_id: str, closed: Callable[[], None]) -> LiveCall:
            call = CallRecord(call_id, datetime.now(UTC), line.transport, "k/1", "scope", {"tts": "humming"})
            ears = Ears(ToldStt(told), LoudnessVad(), limits, turn_taking, settings.max_utterance_s)
            parts = Parts(
                ears,
                tts,
                SpeechCache(tts),
                turn_policy(settings, turn_taking, opening=""),
                changed,
                lambda _call: closed(),
                settings.longest_call_s,
            )
            journal = Journal(store, settings.home / "unsaved", (), None, lambda: None)
            book = CallBook(call, journal, settings.max_turn_chars)
            return LiveCall(answering(), parts, book, Recording(wanted=False), line, AsyncScheduler(pool))

        try:
            yield open_call, store
        finally:
            store.close()

"""Calls that are recorded and replayed: today's code, and a caller who knows when they said what."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from serving.call.book import CallBook
from serving.call.ears import Ears
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.live_parts import Parts
from serving.call.ports import Journal, Responding
from serving.call.record import CallRecord, TurnRecord
from serving.call.recording import Recording
from serving.call.replay import NoRecords, Retold, like, replay
from serving.call.scheduler import VirtualScheduler
from serving.call.toolbox import Toolbox
from serving.speech.paced_tts import PacedTts
from serving.speech.speech_cache import SpeechCache
from serving.speech.vad import EndpointSettings
from tests.serving.call.bank_caller import responder_of
from tests.serving.call.phone import HummingTts, LoudnessVad
from tests.serving.live.telephone import (
    HANG_OVER_S,
    POLICY,
    Telephone,
    TellingStt,
    Told,
    turn_taking,
)


class Today:
    """Today's code: a responder, and a recogniser for calls whose sound was kept."""

    def __init__(
        self, replies: Responding, told: list[Told] | None = None, box: Toolbox | None = None
    ) -> None:
        self.replies = replies
        self.told = told or []
        self.box = box

    def open_replay(
        self, call: CallRecord, line: Line, scheduler: VirtualScheduler, retold: Retold
    ) -> LiveCall:
        limits = EndpointSettings(hang_over_s=HANG_OVER_S)
        tts = PacedTts() if call.recording is None else HummingTts()
        heard = retold.ears(lambda: Ears(TellingStt(self.told), LoudnessVad(), limits, turn_taking(), 30.0))
        replies = self.replies
        if self.box is not None and self.box.banking is not None:
            banking = self.box.banking
            tools = retold.tools(banking.executor.schemas)
            replies = responder_of(replace(self.box, banking=replace(banking, executor=tools)))
        parts = Parts(heard, tts, SpeechCache(tts), POLICY, lambda _: None, lambda _: None, 3_600.0)
        book = CallBook(like(call, "keywords/2", "s"), Journal(NoRecords(), Path("/nowhere")), 2_000)
        responder = retold.responding(replies)
        return LiveCall(responder, parts, book, Recording(wanted=False), line, scheduler)


class Caller:
    """Speaks, types and interrupts on a telephone; knows when.

    Args:
        told: what the recogniser will hear.
        replies: the responder's.
        folder: of the recording.
        phone: further options of the telephone.
    """

    def __init__(self, told: list[Told], replies: Any, folder: Path | None, **phone: Any) -> None:
        self.phone = Telephone(told, replies, folder=folder, **phone)
        self._at: dict[int, float] = {}

    def says(self, seconds: float = 1.0, *, over_the_bot: bool = False) -> None:
        if over_the_bot:
            self.phone.wait(1.0)
        else:
            self.phone.wait_for("listening")
            self.phone.wait(0.5)
        self.phone.talk(seconds)
        self.phone.wait_for("speaking")

    def types(self, text: str, *, over_the_bot: bool = False) -> None:
        if over_the_bot:
            self.phone.wait(1.0)
        else:
            self.phone.wait_for("listening")
            self.phone.wait(0.5)
        self._at[len(self.phone.book.turns) + (2 if over_the_bot else 1)] = self.phone.time.now()
        self.phone.call.typed(text)
        self.phone.wait_for("speaking")

    def keys(self, digits: str) -> None:
        self.phone.wait_for("listening")
        self.phone.wait(0.5)
        for digit in digits:
            self.phone.call.digit(digit)
            self.phone.wait(0.1)
        self._at[len(self.phone.book.turns) + 1] = self.phone.time.now()
        self.phone.call.digit("#")
        self.phone.wait_for("speaking")

    def hangs_up(self) -> CallRecord:
        """The call as a real clock would have recorded it."""
        while self.phone.call.state.phase.value not in {"listening", "ended"}:
            self.phone.wait(0.1)
        self.phone.hang_up()
        call = self.phone.call.call

        def stamped(turn: TurnRecord) -> TurnRecord:
            came = self._at[turn.index] if turn.started_s is None else turn.started_s + turn.audio_s
            return replace(turn, started_at=call.started_at + timedelta(seconds=came))

        return replace(call, turns=tuple(stamped(turn) for turn in call.turns))


def same(call: CallRecord, today: Today) -> None:
    """The replay is the call."""
    again = replay(call, today)
    assert again.source == ("text" if call.recording is None else "audio")
    assert (again.differences, again.notes) == ((), ())
    assert [turn.text for turn in again.turns] == [turn.text for turn in call.turns]
    assert [turn.decision for turn in again.turns] == [turn.decision for turn in call.turns]

"""The turns of a live call: opened, joined with their sound, answered, and written down once each.

A turn may be over before its answer is made, because the caller interrupted or hung up. It is then written
down when the answer is there: what a tool did must be on record. The dialogue knows only what was heard.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from serving.call import machine as m
from serving.call import policy
from serving.call.book import CallBook
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, Reply, heard_only, merged, no_longer_asked
from serving.call.ears import Over
from serving.call.faults import fault
from serving.call.open_turn import OpenTurn
from serving.call.outcome import Outcome
from serving.call.ports import SPEECH_LIMIT_S
from serving.call.record import CallRecord, Decision, TurnRecord, Unrecorded
from serving.call.recording import Recording
from serving.call.scheduler import Scheduler, Serial

_MOST_SOUNDS = 8
"""Latest utterances whose times are known: words may wait for the bot while noises follow them."""


class LiveTurns:
    """What a live call knows of its turns.

    Args:
        book: the call's record.
        recording: written at the end.
        scheduler: time, and hands that write to the database.
        committed: told of each finalised turn, before it is stored.
        closed: told once when the call is on record.
    """

    def __init__(
        self,
        book: CallBook,
        recording: Recording,
        scheduler: Scheduler,
        *,
        committed: Callable[[TurnRecord], None],
        closed: Callable[[CallRecord], None],
    ) -> None:
        self.current: OpenTurn | None = None
        """The open turn; None between two."""
        self.dialogue = DialogueState()
        self._book = book
        self._recording = recording
        self._scheduler = scheduler
        self._committed, self._closed = committed, closed
        self._records = Serial(scheduler, "records", SPEECH_LIMIT_S)
        self._sounds: dict[int, Over] = {}
        self._in_flight: list[OpenTurn] = []
        self._unheard: dict[int, str] = {}
        """Turns that were over before their answer was made → what was heard of it."""
        self._talk_s = 0.0
        self._outcome = Outcome()
        self._ending: m.Ending | None = None
        self._dropped = 0
        self.false_interruptions = 0

    def begin(self) -> None:
        """File the call's beginning."""
        self._records.add(self._book.begin, self._filed)

    def open(self, action: m.OpenTurn, engine: str) -> OpenTurn:
        """A new turn begins.

        Args:
            action: the machine's.
            engine: the recogniser's name, for spoken turns.
        """
        if action.early:
            self.dialogue = no_longer_asked(self.dialogue)
        now = self._scheduler.now()
        turn = OpenTurn(
            index=action.turn,
            started_at=self._at(now),
            speech_end=now,
            laps=Laps(self._scheduler, now),
            engine=engine if action.utterance else "typed",
            text=action.text,
            confidence=action.confidence,
            utterance=action.utterance,
        )
        self.current = turn
        over = self._sounds.get(action.utterance)
        if over is not None:
            self._join(turn, over)
            turn.laps.mark("waited" if action.text else "end_of_turn")
        return turn

    def spoken(self, utterance: int, over: Over) -> None:
        """An utterance is over; its turn is open, or comes when the bot has finished."""
        self._sounds[utterance] = over
        self._sounds.pop(utterance - _MOST_SOUNDS, None)
        self._talk_s += over.at - over.began
        turn = self.of(utterance)
        if turn is not None:
            self._join(turn, over)
            turn.laps.mark("end_of_turn")

    def extend(self, utterance: int) -> None:
        """The open turn goes on with a further utterance."""
        turn = self.current
        assert turn is not None
        turn.utterance = utterance
        over = self._sounds.get(utterance)
        if over is not None:
            self._join(turn, over)
            turn.laps.mark("end_of_turn")

    def of(self, utterance: int) -> OpenTurn | None:
        """The open turn, if it consists of this utterance."""
        turn = self.current
        return turn if turn is not None and turn.utterance == utterance else None

    def answering(self, turn: OpenTurn) -> None:
        """The turn's answer is being made from now on."""
        self._in_flight.append(turn)

    def took(self, turn: OpenTurn, reply: Reply | None) -> bool:
        """The turn's answer is made, or cannot be; returns whether anybody still waits for it.

        Raises:
            Exception: a reply that cannot be taken, where somebody waits for it.
        """
        self._in_flight.remove(turn)
        late = turn.index in self._unheard
        try:
            if reply is not None:
                self._take(turn, reply)
        except Exception as error:
            if not late:
                raise
            self.failed(turn, fault("answer", error))
        if late:
            self._finalise_late(turn)
        self._close_if_done()
        return not late

    def _take(self, turn: OpenTurn, reply: Reply) -> None:
        turn.reply, turn.decision = reply, reply.decision
        if reply.error:
            turn.failed(reply.error)
        self.dialogue = merged(reply.state, self.dialogue)
        self._outcome.take(reply)
        if reply.stop_recording:
            self._recording.erase()

    def failed(self, turn: OpenTurn | None, error: str) -> None:
        """Note what broke."""
        self._book.notes.warning("turn {} failed: {}", turn.index if turn else 0, error)
        if turn is not None:
            turn.failed(error)
            turn.decision = Decision.APOLOGY

    def commit(self, *, interrupted: bool, heard: str, seconds: float) -> None:
        """The open turn is over.

        Args:
            interrupted: its reply was not heard to the end.
            heard: what was heard of an interrupted reply.
            seconds: length of the reply's sound.
        """
        turn, self.current = self.current, None
        assert turn is not None
        if interrupted and turn.heard is not None:
            heard = turn.heard
        said = turn.spoken_text
        spoken = (heard if interrupted else said) if said else ""
        turn.reply_s = seconds if said else 0.0
        if turn in self._in_flight:
            self._unheard[turn.index] = spoken
        else:
            self._finalise(turn, spoken, interrupted=interrupted)

    def end(self, ending: m.Ending, dropped: int) -> None:
        """The call is over; it is closed as soon as no answer is being made any more."""
        self._ending, self._dropped = ending, dropped
        self._close_if_done()

    def abandon(self, why: str) -> None:
        """File the turns that are over without the answers that are still being made.

        One of them may ask for no recording, so none is kept.
        """
        for turn in [turn for turn in self._in_flight if turn.index in self._unheard]:
            if not policy.opts_out(turn.text):  # in words that only the answer would have understood
                self._recording.erase(Unrecorded.UNANSWERED)
            turn.failed(f"answer: {why}")
            self._finalise_late(turn)
        self._close_if_done()

    def _at(self, moment: float) -> datetime:
        """UTC of a moment on the call's clock."""
        return datetime.now(UTC) - timedelta(seconds=self._scheduler.now() - moment)

    def _join(self, turn: OpenTurn, over: Over) -> None:
        """The turn's times begin where the caller's voice ended."""
        turn.speech_end = min(over.at, self._scheduler.now())
        turn.started = over.began if turn.started is None else turn.started
        turn.audio_s += over.at - over.began
        turn.started_at = self._at(turn.speech_end)
        turn.laps = Laps(self._scheduler, turn.speech_end)

    def _finalise(self, turn: OpenTurn, heard: str, *, interrupted: bool) -> None:
        if turn.reply is None and policy.opts_out(turn.text):  # whatever became of its answer
            self._recording.erase()
        if interrupted and turn.reply is not None:
            self.dialogue = heard_only(self.dialogue, heard)
        record, self.dialogue = self._book.finalise(turn, self.dialogue, heard=heard, interrupted=interrupted)
        self._talk_s += record.reply_s
        self._committed(record)
        self._records.add(lambda: self._book.file_turn(record), self._filed)

    def _finalise_late(self, turn: OpenTurn) -> None:
        """Finalise a turn that was over before its answer; whatever breaks, the call waits for it no more."""
        heard = self._unheard.pop(turn.index)
        try:
            self._finalise(turn, heard, interrupted=True)
        except Exception as error:
            self._book.notes.error("turn {} is not on record: {}", turn.index, fault("call", error))

    def _close_if_done(self) -> None:
        if self._ending is None or self._unheard:
            return
        ending, self._ending = self._ending, None
        self._book.close(
            ending,
            duration_s=self._scheduler.now(),
            talk_s=self._talk_s,
            dropped_frames=self._dropped,
            false_interruptions=self.false_interruptions,
            **self._outcome.facts(ending, self.dialogue),
        )
        self._records.add(lambda: self._book.file_end(self._recording), self._end_filed)

    def _end_filed(self, _result: None, error: Exception | None) -> None:
        self._filed(None, error)
        self._closed(self._book.call)

    def _filed(self, _result: None, error: Exception | None) -> None:
        if error is not None:  # filing keeps what it cannot write; only a hang comes here
            self._book.notes.error("a record is late: {}", fault("records", error))
            self._book.missed()

"""The answers of a live call: made one after another, spoken as they grow."""

from collections.abc import Callable
from dataclasses import replace

from serving.call import machine as m
from serving.call.dialogue import HeardTurn, Reply
from serving.call.faults import fault
from serving.call.live_turns import LiveTurns
from serving.call.mouth import Mouth
from serving.call.open_turn import OpenTurn
from serving.call.ports import Responding
from serving.call.scheduler import Scheduler, Serial

_ANSWER_LIMIT_S = 120.0
"""An answer has time limits of its own; this one is for what has none."""


class LiveAnswers:
    """Asks the responder and tells the machine.

    Args:
        responder: finds replies.
        turns: of the call.
        mouth: speaks.
        scheduler: time and hands.
        state: of the machine.
        happened: takes an event for the machine, and what to call it.
    """

    def __init__(
        self,
        responder: Responding,
        turns: LiveTurns,
        mouth: Mouth,
        scheduler: Scheduler,
        *,
        state: Callable[[], m.TurnState],
        happened: Callable[[m.Event, str], None],
    ) -> None:
        self._responder = responder
        self._turns = turns
        self._mouth = mouth
        self._scheduler = scheduler
        self._state, self._happened = state, happened
        self._queue = Serial(scheduler, "answer", _ANSWER_LIMIT_S)

    def find(self, action: m.Answer, call_id: str) -> None:
        """Find the reply to the open turn's words, after those that are being found."""
        turn = self._turns.current
        assert turn is not None
        turn.text = action.text
        heard = HeardTurn(call_id, turn.index, action.text, action.confidence)
        self._turns.answering(turn)

        def sentence(text: str) -> None:
            self._scheduler.soon(lambda: self._grow(turn, action.epoch, text))

        def job() -> Reply:
            return self._responder.answer(replace(heard, say=sentence), self._turns.dialogue, turn.laps)

        def done(reply: Reply | None, error: Exception | None) -> None:
            self._found(turn, action.epoch, reply, error)

        self._queue.add(job, done)

    def add(self, text: str, tts: str) -> None:
        """Say a text as part of the open turn's reply, or of no turn's.

        Args:
            text: with placeholders.
            tts: name of the voice.
        """
        turn = self._turns.current
        if turn is not None:
            turn.spoken_text, turn.tts = f"{turn.spoken_text} {text}".strip(), tts
        self._mouth.say(text, self._turns.dialogue.placeholders, turn.laps if turn else None)

    def _found(self, turn: OpenTurn, epoch: int, reply: Reply | None, error: Exception | None) -> None:
        if reply is None:
            self._turns.failed(turn, fault("answer", error) if error else "answer: nothing")
        now = self._scheduler.now()
        try:
            if not self._turns.took(turn, reply):
                return
        except Exception as failure:  # a reply that the call cannot take is no reply
            self._turns.failed(turn, fault("answer", failure))
            self._happened(m.AnsweringFailed(now, epoch), "answering_failed")
            return
        if reply is None:
            self._happened(m.AnsweringFailed(now, epoch), "answering_failed")
            return
        growing = self._state().growing and epoch == self._state().epoch
        answered = m.Answered(now, epoch, reply.next, reply.understood, holds=reply.holds)
        self._happened(answered, "answered")
        if growing:  # say what was not said while it grew; an answer that was replaced is said whole
            self.add(reply.answer.removeprefix(turn.streamed).strip(), turn.tts)
            self._mouth.complete()

    def _grow(self, turn: OpenTurn, epoch: int, text: str) -> None:
        """The answer has one more sentence; it is spoken before the rest is there."""
        if epoch != self._state().epoch or turn is not self._turns.current:
            return
        turn.streamed = f"{turn.streamed} {text}".strip()
        if self._state().growing:
            self.add(text, turn.tts)
        else:
            self._happened(m.FirstSentence(self._scheduler.now(), epoch), "first_sentence")

"""One call: drives the turn machine, carries out its actions, leaves the records.

The session owns all I/O of a call and decides nothing: what to do next comes from the machine, what to
answer from the responder. Whatever breaks outside of it (an engine, an observer, the database) costs a
sentence, never the call. It is written for callers who wait for the bot to finish: files, scripts, text.
"""

import math
import uuid
from collections import deque
from datetime import UTC, datetime

from serving.audio import FRAME_SECONDS, AudioClip
from serving.call import machine as m
from serving.call import policy
from serving.call.book import CallBook, share
from serving.call.caller import Caller, CallerLine, Feedback
from serving.call.clock import Clock, Laps
from serving.call.dialogue import DialogueState, HeardTurn, no_longer_asked
from serving.call.ears import Over
from serving.call.faults import fault
from serving.call.hearing import Line, Recognition, Utterance, listen
from serving.call.muting import Muting
from serving.call.open_turn import OpenTurn
from serving.call.outcome import Outcome
from serving.call.ports import Engines, Journal, Responding
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.recording import Recording
from serving.call.speaking import Voice
from serving.call.turns import step
from serving.errors import InvalidInputError, RefusedError
from serving.settings import Settings
from serving.speech.vad import EndpointSettings, SpeechDetector

CALLER_PAUSE_S = 0.4
"""Silence between the bot's last sound and the next line of a caller who waits for it, seconds."""


class CallSession:
    """A call from greeting to goodbye: `start`, any number of `hear`, `hang_up`; or `run` for all.

    Args:
        responder: finds replies; keeps the adapter that the call began with.
        engines: ears and voice.
        settings: limits of the call.
        clock: time of the call.
        call: the call's record at its start.
        journal: where records and the recording go, and who watches.
    """

    def __init__(
        self,
        responder: Responding,
        engines: Engines,
        settings: Settings,
        clock: Clock,
        call: CallRecord,
        journal: Journal,
    ) -> None:
        self._responder = responder
        self._engines = engines
        self._settings = settings
        self._clock = clock
        self._book = CallBook(call, journal, settings.max_turn_chars)
        self._recording = Recording(wanted=journal.recording is not None)
        self._muting = Muting(self._recording)
        self._voice = Voice(engines.tts, clock, self._recording, engines.patience)
        self._policy = m.TurnPolicy(
            settings.stt_confidence_floor, settings.max_failures, settings.max_turn_chars
        )
        self._endpointing = EndpointSettings(
            threshold=settings.vad_threshold, hang_over_s=settings.end_of_turn_silence_s
        )
        self._state = m.TurnState()
        self._dialogue = DialogueState()
        self._events: deque[m.Event] = deque()
        self._utterance: Utterance | None = None
        self._turn: OpenTurn | None = None
        self._outcome = Outcome()
        self._talk_s = 0.0
        self._caller: Caller | None = None

    def run(self, caller: Caller) -> CallRecord:
        """Carry a whole call through and return its finished record.

        However it ends, also by an exception of the caller's side, the call is recorded.
        """
        self._caller = caller
        try:
            self.start()
            while not self.ended and (line := caller.next_line()) is not None:
                self.hear(line)
        finally:
            self.hang_up()
        return self.call

    @property
    def call(self) -> CallRecord:
        """The call's record; complete once the call has ended."""
        return self._book.call

    @property
    def turns(self) -> tuple[TurnRecord, ...]:
        """Turns finalised so far."""
        return self._book.turns

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self._state.phase is m.Phase.ENDED

    def start(self) -> None:
        """Record the beginning and greet the caller."""
        with self._book.named():
            self._book.begin()
        with self._book.named(), self._engines.held():
            self._dispatch(m.CallStarted(self._clock.now()))

    def hang_up(self) -> None:
        """The caller is gone; harmless after the end."""
        self._events.clear()
        with self._book.named():
            self._dispatch(m.HungUp(self._clock.now()))

    def hear(self, line: CallerLine) -> None:
        """Take the caller's next line through to the end of the bot's reply.

        A sound may hold several turns; each is answered before the next is heard.

        Raises:
            RefusedError: the call has not begun, or is over.
            InvalidInputError: sound, in a call without speech engines.
            UnavailableError: the speech engines were busy with another call for too long.
        """
        if self._state.phase is not m.Phase.LISTENING:
            raise RefusedError(f"This call is not listening: it is {self._state.phase.value}.")
        if line.audio is not None and (self._engines.vad is None or self._engines.stt is None):
            raise InvalidInputError("This call takes typed text only; it was opened without speech engines.")
        with self._book.named(), self._engines.held():
            if line.audio is None:
                self._hear_text(line.text)
            else:
                self._hear_sound(line.audio)

    def _dispatch(self, event: m.Event) -> None:
        self._events.append(event)
        while self._events:
            self._state, actions = step(self._state, self._events.popleft(), self._policy)
            for action in actions:
                self._act(action)

    def _act(self, action: m.Action) -> None:
        """Carry out one action; `OpenTurn` was done when the turn's speech or text arrived."""
        if isinstance(action, m.Recognise):
            self._recognise(action.utterance)
        elif isinstance(action, m.Answer):
            self._answer(action)
        elif isinstance(action, m.SayReply):
            self._say_reply(action.epoch)
        elif isinstance(action, m.SayPrompt):
            self._say_prompt(action)
        elif isinstance(action, m.CommitTurn):
            self._commit(interrupted=action.interrupted)
        elif isinstance(action, m.EndCall):
            self._end(action.ending)

    # Hearing

    def _hear_text(self, text: str) -> None:
        now = self._clock.now()
        turn = self._open(now, "typed")
        turn.text = self._book.cleaned(text)
        self._dispatch(m.TextTyped(now, turn.text))

    def _hear_sound(self, clip: AudioClip) -> None:
        assert self._engines.vad is not None
        assert self._engines.stt is not None
        detector = SpeechDetector(self._engines.vad, self._endpointing)
        sound = Line(clip, self._line_begins(), self._settings.end_of_turn_silence_s)
        first = True
        while not self.ended and (first or sound.remaining):
            if not first:
                sound.shift_to(self._line_begins())
            recognition = Recognition(self._engines.stt, self._engines.patience)
            utterance = listen(
                sound, detector, recognition, self._clock, max_seconds=self._settings.max_utterance_s
            )
            heard = sound.take_heard()
            if heard is not None and not utterance.recognition.failure:  # what was not heard is not kept
                self._recording.caller(*heard)
            if utterance.started is None and not first and not utterance.recognition.failure:
                utterance.recognition.cancel()
                return
            first = False
            self._hear_utterance(utterance, self._engines.stt.info.name)

    def _line_begins(self) -> float:
        """When the next sound begins: with a frame of the call, so that a replay cuts it the same way."""
        return math.ceil((self._clock.now() + CALLER_PAUSE_S) / FRAME_SECONDS) * FRAME_SECONDS

    def _hear_utterance(self, utterance: Utterance, engine: str) -> None:
        self._utterance = utterance
        turn = self._open(utterance.ended, engine)
        turn.audio_s, turn.started = utterance.seconds, utterance.started
        turn.laps.mark("end_of_turn")
        self._talk_s += utterance.seconds
        self._dispatch(m.SpeechStarted(utterance.ended if utterance.started is None else utterance.started))
        self._dispatch(m.SpeechEnded(utterance.decided))

    def _open(self, speech_end: float, engine: str) -> OpenTurn:
        self._turn = OpenTurn(
            index=self._state.turn + 1,
            started_at=datetime.now(UTC),
            speech_end=speech_end,
            laps=Laps(self._clock, speech_end),
            engine=engine,
        )
        return self._turn

    def _recognise(self, utterance: int) -> None:
        assert self._turn is not None
        assert self._utterance is not None
        sound, recognition = self._utterance, self._utterance.recognition
        transcript = recognition.finish()
        now = self._turn.laps.mark("stt")
        if transcript is None:
            self._judge(utterance, sound, None)
            self._fail(self._turn, recognition.failure)
            self._events.append(m.HearingFailed(now, utterance))
            return
        turn = self._turn
        turn.text, turn.confidence = self._book.cleaned(transcript.text), share(transcript.confidence)
        sure = turn.confidence >= self._policy.confidence_floor
        self._judge(utterance, sound, turn.text, sure=sure)
        self._events.append(m.Heard(now, utterance, turn.text, turn.confidence))

    def _judge(self, utterance: int, sound: Utterance, text: str | None, *, sure: bool = True) -> None:
        """Whether the sound of what was said is kept."""
        if sound.started is not None:
            over = Over(utterance, sound.started, sound.ended, sound.cut)
            self._muting.judge(over, text, self._dialogue, sure=sure)

    # Answering

    def _answer(self, action: m.Answer) -> None:
        turn = self._turn
        assert turn is not None
        heard = HeardTurn(self.call.call_id, turn.index, action.text, action.confidence)
        try:
            reply = self._responder.answer(heard, self._dialogue, turn.laps)
        except Exception as error:  # no stage of an answer may end the call
            self._fail(turn, fault("answer", error))
            if policy.opts_out(turn.text):  # whatever becomes of the answer
                self._recording.erase()
            self._events.append(m.AnsweringFailed(self._clock.now(), action.epoch))
            return
        turn.reply, turn.decision = reply, reply.decision
        if reply.error:
            turn.failed(reply.error)
        self._dialogue = reply.state
        self._outcome.take(reply)
        if reply.stop_recording:
            self._recording.erase()
        self._events.append(
            m.Answered(self._clock.now(), action.epoch, reply.next, understood=reply.understood)
        )

    def _fail(self, turn: OpenTurn, error: str) -> None:
        turn.failed(error)
        turn.decision = Decision.APOLOGY
        self._book.notes.warning("turn {} failed: {}", turn.index, error)

    # Speaking

    def _say_reply(self, epoch: int) -> None:
        assert self._turn is not None
        assert self._turn.reply is not None
        self._turn.spoken_text = self._turn.reply.answer
        self._speak(self._turn.reply.answer, epoch)

    def _say_prompt(self, action: m.SayPrompt) -> None:
        text = self._responder.prompt(action.prompt.value, action.attempt)
        self._dialogue = no_longer_asked(self._dialogue)
        if self._turn is not None:
            self._turn.spoken_text = text
            if action.prompt is m.Prompt.TRANSFER:
                self._turn.decision = Decision.TRANSFER
            elif action.prompt is not m.Prompt.APOLOGY:
                self._turn.decision = Decision.REPROMPT
        self._speak(text, action.epoch)

    def _speak(self, text: str, epoch: int) -> None:
        turn = self._turn
        spoken = self._voice.say(text, self._dialogue.placeholders, turn.laps if turn else None)
        self._talk_s += spoken.seconds
        if turn is not None:
            turn.first_sound, turn.reply_s = spoken.first_sound, spoken.seconds
            turn.tts = self._engines.tts.info.name if self._engines.tts else ""
            if spoken.error:
                turn.failed(spoken.error)
        now = self._clock.now()
        self._events.append(m.SpeakingFailed(now, epoch) if spoken.error else m.PlayoutEnded(now, epoch))

    # Records

    def _commit(self, *, interrupted: bool) -> None:
        turn = self._turn
        assert turn is not None
        self._turn = None
        heard = self._voice.heard() if interrupted and turn.spoken_text else turn.spoken_text
        record, self._dialogue = self._book.finalise(
            turn, self._dialogue, heard=heard, interrupted=interrupted
        )
        self._book.file_turn(record)

    def _end(self, ending: m.Ending) -> None:
        if self._caller is not None and self._outcome.feedback == Feedback():
            self._outcome.feedback = self._caller.feedback  # a script's, which nobody asked for it
        facts = self._outcome.facts(ending, self._dialogue)
        self._book.close(ending, duration_s=self._clock.now(), talk_s=self._talk_s, **facts)
        self._book.file_end(self._recording)


def new_call_id() -> str:
    """A new call's id: 32 hexadecimal digits."""
    return uuid.uuid4().hex

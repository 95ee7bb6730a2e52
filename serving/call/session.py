"""One call: drives the turn machine, carries out its actions, leaves the records.

The session owns all I/O of a call and decides nothing: what to do next comes from the machine, what to
answer from the responder. It is written for callers who wait for the bot to finish (files, scripts,
typed text).
"""

import uuid
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime

from loguru import logger

from serving.audio import AudioClip
from serving.call import machine as m
from serving.call.caller import Caller, CallerLine, Feedback
from serving.call.clock import Clock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.hearing import Line, Utterance, listen
from serving.call.open_turn import OpenTurn
from serving.call.playout import PlayoutLedger, Recording
from serving.call.ports import Engines, Journal, Responding
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.errors import InvalidInputError, VoicebotError
from serving.settings import Settings
from serving.speech.protocols import TtsEngine
from serving.speech.sentences import speakable_sentences
from serving.speech.vad import EndpointSettings, SpeechDetector
from serving.spoken import verbalise
from serving.telemetry.redaction import redact

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
        self._call = call
        self._journal = journal
        self._recording = Recording(wanted=journal.recording is not None)
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
        self._turns: list[TurnRecord] = []
        self._ledger = PlayoutLedger()
        self._talk_s = 0.0
        self._caller: Caller | None = None

    def run(self, caller: Caller) -> CallRecord:
        """Carry a whole call through and return its finished record."""
        self._caller = caller
        self.start()
        while not self.ended:
            line = caller.next_line()
            if line is None:
                self.hang_up()
            else:
                self.hear(line)
        return self._call

    @property
    def call(self) -> CallRecord:
        """The call's record; complete once the call has ended."""
        return self._call

    @property
    def turns(self) -> tuple[TurnRecord, ...]:
        """Turns finalised so far."""
        return tuple(self._turns)

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self._state.phase is m.Phase.ENDED

    def start(self) -> None:
        """Record the beginning and greet the caller."""
        self._journal.records.begin(self._call)
        self._dispatch(m.CallStarted(self._clock.now()))

    def hang_up(self) -> None:
        """The caller is gone; harmless after the end."""
        self._dispatch(m.HungUp(self._clock.now()))

    def hear(self, line: CallerLine) -> None:
        """Take the caller's next line through to the end of the bot's reply.

        A sound may hold several turns; each is answered before the next is heard.
        """
        if line.audio is None:
            self._hear_text(line.text)
            return
        if self._engines.vad is None or self._engines.stt is None:
            raise InvalidInputError("This call takes typed text only; it was opened without speech engines.")
        start = self._clock.now() + CALLER_PAUSE_S
        self._recording.caller(start, line.audio)
        sound = Line(line.audio, start, self._settings.end_of_turn_silence_s)
        detector = SpeechDetector(self._engines.vad, self._endpointing)
        heard_before = False
        while not self.ended and (sound.remaining or not heard_before):
            if heard_before:
                sound.shift_to(self._clock.now() + CALLER_PAUSE_S)
            utterance = listen(
                sound, detector, self._engines.stt, self._clock, max_seconds=self._settings.max_utterance_s
            )
            if utterance.started is None and heard_before:
                utterance.stream.cancel()
                return
            heard_before = True
            self._hear_utterance(utterance)

    def _dispatch(self, event: m.Event) -> None:
        self._events.append(event)
        while self._events:
            self._state, actions = m.step(self._state, self._events.popleft(), self._policy)
            for action in actions:
                self._act(action)

    def _act(self, action: m.Action) -> None:
        """Carry out one action; `OpenTurn` was done when the turn's speech or text arrived."""
        if isinstance(action, m.Recognise):
            self._recognise(action.epoch)
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
        self._open(now, "typed").text = text
        self._dispatch(m.TextTyped(now, text))

    def _hear_utterance(self, utterance: Utterance) -> None:
        assert self._engines.stt is not None
        self._utterance = utterance
        turn = self._open(utterance.ended, self._engines.stt.info.name)
        turn.audio_s = utterance.seconds
        turn.laps.mark("end_of_turn")
        self._talk_s += utterance.seconds
        self._dispatch(m.SpeechStarted(utterance.started or utterance.ended))
        self._dispatch(m.SpeechEnded(utterance.decided))

    def _open(self, speech_end: float, engine: str) -> OpenTurn:
        self._ledger = PlayoutLedger()
        self._turn = OpenTurn(
            index=self._state.turn + 1,
            started_at=datetime.now(UTC),
            speech_end=speech_end,
            laps=Laps(self._clock, speech_end),
            engine=engine,
        )
        return self._turn

    def _recognise(self, epoch: int) -> None:
        assert self._turn is not None
        assert self._utterance is not None
        event: m.Event
        try:
            transcript = self._utterance.finish()
        except VoicebotError as error:
            self._failed(self._turn, f"stt: {type(error).__name__}")
            event = m.HearingFailed(self._turn.laps.mark("stt"), epoch)
        else:
            self._turn.text, self._turn.confidence = transcript.text, transcript.confidence
            event = m.Heard(self._turn.laps.mark("stt"), epoch, transcript.text, transcript.confidence)
        self._events.append(event)

    # Answering

    def _answer(self, action: m.Answer) -> None:
        turn = self._turn
        assert turn is not None
        heard = HeardTurn(self._call.call_id, turn.index, action.text, action.confidence)
        try:
            reply = self._responder.answer(heard, self._dialogue, turn.laps)
        except VoicebotError as error:
            self._failed(turn, f"answer: {type(error).__name__}")
            self._events.append(m.AnsweringFailed(self._clock.now(), action.epoch))
            return
        turn.reply, turn.decision, turn.error = reply, reply.decision, reply.error
        self._dialogue = reply.state
        if reply.stop_recording:
            self._recording.erase()
        self._events.append(
            m.Answered(self._clock.now(), action.epoch, reply.next, understood=reply.understood)
        )

    @staticmethod
    def _failed(turn: OpenTurn, error: str) -> None:
        """Note a failure for the record; the exception's text stays out, it may quote the caller."""
        turn.error, turn.decision = error, Decision.APOLOGY
        logger.warning("turn failed: {}", error)

    # Speaking

    def _say_reply(self, epoch: int) -> None:
        assert self._turn is not None
        assert self._turn.reply is not None
        reply = self._turn.reply
        self._turn.spoken_text = reply.answer
        self._speak(_filled(reply.answer, reply.state), epoch)

    def _say_prompt(self, action: m.SayPrompt) -> None:
        text = self._responder.prompt(action.prompt.value, action.attempt)
        if self._turn is not None:
            self._turn.spoken_text = text
            if action.prompt is m.Prompt.TRANSFER:
                self._turn.decision = Decision.TRANSFER
            elif action.prompt is not m.Prompt.APOLOGY:
                self._turn.decision = Decision.REPROMPT
        self._speak(text, action.epoch)

    def _speak(self, text: str, epoch: int) -> None:
        """Say a text; without a voice it counts as said at once."""
        if self._engines.tts is not None:
            self._play(self._engines.tts, text)
        elif self._turn is not None:
            self._turn.first_sound = self._turn.laps.mark("reply")
        self._events.append(m.PlayoutEnded(self._clock.now(), epoch))

    def _play(self, tts: TtsEngine, text: str) -> None:
        """Sentence by sentence; later ones are made while earlier ones play."""
        try:
            for sentence in speakable_sentences(verbalise(text)):
                for clip in tts.synthesise(sentence):
                    self._play_clip(sentence, clip)
        except VoicebotError as error:
            logger.warning("speaking failed: {}", type(error).__name__)
            if self._turn is not None:
                self._turn.error = f"tts: {type(error).__name__}"
        if self._ledger.end is not None:
            self._clock.wait_until(self._ledger.end)

    def _play_clip(self, sentence: str, clip: AudioClip) -> None:
        turn = self._turn
        first = turn is not None and turn.first_sound is None
        ready = turn.laps.mark("tts") if turn is not None and first else self._clock.now()
        span = self._ledger.add(sentence, clip, ready)
        self._recording.bot(span.start, clip)
        if turn is not None:
            turn.first_sound = span.start if first else turn.first_sound
            turn.reply_s += clip.seconds

    # Records

    def _commit(self, *, interrupted: bool) -> None:
        turn = self._turn
        assert turn is not None
        text = turn.reply.text if turn.reply else redact(turn.text[: self._settings.max_turn_chars]).text
        heard = redact(self._ledger.heard(self._clock.now())).text if interrupted else turn.spoken_text
        record = turn.finalised(self._call.call_id, text=text, heard=heard, interrupted=interrupted)
        self._turn = None
        self._turns.append(record)
        self._talk_s += record.reply_s
        self._journal.records.add_turn(record)
        for observer in self._journal.observers:
            observer.turn_committed(record)

    def _end(self, ending: m.Ending) -> None:
        feedback = self._caller.feedback if self._caller else Feedback()
        self._call = replace(
            self._call,
            ended_at=datetime.now(UTC),
            ending=ending,
            duration_s=self._clock.now(),
            talk_s=self._talk_s,
            confirmed=feedback.confirmed,
            survey=feedback.survey,
            recording=self._write_recording(),
            turns=self.turns,
        )
        self._journal.records.end(self._call)
        for observer in self._journal.observers:
            observer.call_ended(self._call)

    def _write_recording(self) -> str | None:
        """The recording's path; a full disk costs the recording, not the call."""
        if self._journal.recording is None:
            return None
        try:
            path = self._recording.write(self._journal.recording)
        except OSError as error:
            logger.error("the recording could not be written: {}", error.strerror)
            return None
        return str(path) if path else None


def new_call_id() -> str:
    """A new call's id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def _filled(answer: str, state: DialogueState) -> str:
    """The answer with the caller's own values in place of placeholders, for the voice only."""
    for placeholder, value in state.placeholders.items():
        answer = answer.replace(placeholder, value)
    return answer

"""A live call: the caller talks, types, interrupts and is heard, while the bot thinks and speaks.

Drives the turn machine and carries out its actions. It decides nothing and blocks on nothing: sound comes in
through `LineEvents`, goes out through the `Line`, work is done elsewhere by the `Scheduler`. All of it runs
on one thread, so it also runs on a virtual clock. Whatever breaks costs a sentence or a turn, never the call.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from serving.audio import Samples
from serving.call import machine as m
from serving.call.book import CallBook, share
from serving.call.dialogue import no_longer_asked
from serving.call.ears import Began, GoesOn, Noticed, Over
from serving.call.faults import fault
from serving.call.line import KEYED, KEYS, Line
from serving.call.live_answers import LiveAnswers
from serving.call.live_hearing import LIVE_LIMIT_S, Hearing, Keys
from serving.call.live_news import LiveNews
from serving.call.live_parts import Parts
from serving.call.live_playout import LivePlayout
from serving.call.live_turns import LiveTurns
from serving.call.mouth import Mouth
from serving.call.muting import Muting
from serving.call.ports import Responding
from serving.call.record import CallRecord, Decision
from serving.call.recording import Recording
from serving.call.scheduler import Scheduler, Timer
from serving.call.speaking import MAX_REPLY_S
from serving.call.turns import deadline, step
from serving.errors import EngineError
from serving.speech.protocols import Transcript

_SPEECH_LIMIT_S = MAX_REPLY_S + 30.0
"""Longest reply, and a while for what it takes to make and play it."""


class LiveCall:
    """One call on one line; implements `LineEvents`.

    Args:
        responder: finds replies; keeps the adapter that the call began with.
        parts: ears, voice and limits.
        book: the call's record.
        recording: of both sides.
        line: where the caller is.
        scheduler: time and hands.
    """

    def __init__(
        self,
        responder: Responding,
        parts: Parts,
        book: CallBook,
        recording: Recording,
        line: Line,
        scheduler: Scheduler,
    ) -> None:
        self._responder = responder
        self._parts = parts
        self._book = book
        self._recording = recording
        self._line = line
        self._scheduler = scheduler
        self._playout = LivePlayout(
            line, scheduler, ended=self._played, began=self._first_sound, sent=recording.bot
        )
        self._mouth = Mouth(
            parts.tts, parts.kept, self._playout, scheduler, LIVE_LIMIT_S,
            silent=self._played, said=self._said,
        )  # fmt: skip
        self._state = m.TurnState()
        self._events: deque[m.Event] = deque()
        self._stepping = False
        self._tick: Timer | None = None
        self._tick_at: float | None = None
        self._news = LiveNews(book, line, parts.changed)
        self._turns = LiveTurns(
            book, recording, scheduler, committed=self._news.committed, closed=parts.closed
        )
        self._answers = LiveAnswers(
            responder, self._turns, self._mouth, scheduler, state=lambda: self._state, happened=self._dispatch
        )
        self._muting = Muting(recording)
        self._hearing = Hearing(
            parts.ears, line.rate, recording, scheduler, notice=self._notice, lost=self._deaf
        )
        self._keys = Keys(scheduler, self._keyed)
        self._over: Over | None = None
        self._speech_watch: Timer | None = None
        self._call_watch: Timer | None = None

    @property
    def call(self) -> CallRecord:
        """The call's record; complete once the call is closed."""
        return self._book.call

    @property
    def ended(self) -> bool:
        """Whether the call is over; its records may still be on their way."""
        return self._state.phase is m.Phase.ENDED

    @property
    def state(self) -> m.TurnState:
        """Where the call stands."""
        return self._state

    def start(self) -> None:
        """Record the beginning and greet the caller."""
        self._turns.begin()
        self._news.began()
        self._call_watch = self._scheduler.later(self._parts.longest_s, lambda: self._deaf("call: too long"))
        self._dispatch(m.CallStarted(self._scheduler.now()), "began")

    # What the line tells

    def sound(self, samples: Samples) -> None:
        """See `LineEvents.sound`."""
        self._hearing.sound(samples)

    def typed(self, text: str) -> None:
        """See `LineEvents.typed`; a blank line says nothing."""
        words = self._book.cleaned(text)
        if words:
            self._dispatch(m.TextTyped(self._scheduler.now(), words), "typed")

    def digit(self, digit: str) -> None:
        """Keys are collected until `#` or a pause and are then a typed turn."""
        if not self.ended and digit in KEYS:
            self._dispatch(m.KeyPressed(self._scheduler.now()), "key")
            self._keys.press(digit)

    def marked(self, name: str) -> None:
        """See `LineEvents.marked`."""
        self._playout.marked(name)

    def gone(self, why: str = "") -> None:
        """See `LineEvents.gone`."""
        if self.ended:
            return
        if why:
            self._book.notes.warning("the call is over, not by the caller: {}", why)
        if self._turns.dialogue.pending is not None:  # keys are the answer to what was asked
            self._keys.complete()
        self._dispatch(m.HungUp(self._scheduler.now(), broken=bool(why)), "broken" if why else "hung_up")

    def _keyed(self, keys: str) -> None:
        self._dispatch(m.TextTyped(self._scheduler.now(), keys + KEYED), "keyed")

    # The machine

    def _dispatch(self, event: m.Event, happened: str) -> None:
        """Let the machine take an event, and all that carrying out its actions brings about."""
        self._events.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                before = self._state
                self._state, actions = step(before, self._events.popleft(), self._parts.policy)
                for action in actions:
                    self._act(action)
                if (before.phase, before.turn) != (self._state.phase, self._state.turn) or actions:
                    self._news.state(self._state, happened)
        finally:
            self._stepping = False
        pending = self._turns.dialogue.pending
        self._parts.ears.be_patient(pending is not None and pending.reads_back)
        self._wake()

    def _wake(self) -> None:
        """Ask to be woken when the machine wants to be."""
        due = None if self.ended else deadline(self._state, self._parts.policy)
        if due == self._tick_at:
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick_at = due
        self._tick = None if due is None else self._scheduler.later(due, self._time_passed)

    def _time_passed(self) -> None:
        due, self._tick, self._tick_at = self._tick_at, None, None
        now = self._scheduler.now()
        self._dispatch(m.Tick(now if due is None else max(now, due)), "waited")

    def _act(self, action: m.Action) -> None:
        try:
            self._ACTIONS[type(action)](self, action)
        except Exception as error:  # a bug costs this call its bot, and no other call anything
            failure = fault("call", error)
            self._turns.failed(self._turns.current, failure)
            if isinstance(action, m.SayPrompt):  # what would be said instead would break as well
                self._events.append(m.SpeakingFailed(self._scheduler.now(), action.epoch))
            elif not isinstance(action, m.CommitTurn | m.EndCall):
                self._events.append(m.HearingLost(self._scheduler.now()))

    # Hearing

    def _deaf(self, error: str) -> None:
        turn, answered = self._turns.current, self._state.phase is m.Phase.SPEAKING
        if turn is not None and answered:  # its reply was right, and is heard as far as it may be
            turn.failed(error)
        self._turns.failed(None if answered else turn, error)
        self._dispatch(m.HearingLost(self._scheduler.now()), "hearing_lost")

    def _notice(self, item: Noticed) -> None:
        now = self._scheduler.now()
        if isinstance(item, Began):
            self._muting.began(item.at)
            self._dispatch(m.SpeechStarted(item.at), "speech_started")
        elif isinstance(item, GoesOn):
            self._dispatch(m.SpeechGoesOn(now, item.seconds, item.text), "barge_in")
            self._news.partial(self._state.turn, item.text, self._turns.dialogue)
        elif isinstance(item, Over):
            self._over = item
            self._muting.over(item)
            self._dispatch(m.SpeechEnded(now), "speech_ended")

    def _extend(self, action: m.ExtendTurn) -> None:
        self._turns.extend(action.utterance)

    def _open(self, action: m.OpenTurn) -> None:
        self._turns.open(action, self._parts.ears.engine)

    def _recognise(self, action: m.Recognise) -> None:
        over = self._over
        assert over is not None
        self._turns.spoken(action.utterance, over)

        def done(heard: Transcript | None, error: Exception | None) -> None:
            self._recognised(action.utterance, over, heard, error)

        self._hearing.finish(over, done)

    def _recognised(
        self, utterance: int, over: Over, heard: Transcript | None, error: Exception | None
    ) -> None:
        now = self._scheduler.now()
        turn = self._turns.of(utterance)
        if turn is not None:
            turn.laps.mark("stt")
        try:
            if error is not None or heard is None:
                raise error or EngineError("nothing")
            text, confidence = self._book.cleaned(heard.text), share(heard.confidence)
        except Exception as failure:  # also what an engine gives that is no transcript
            self._muting.judge(over, None, self._turns.dialogue)
            self._turns.failed(turn, fault("stt", failure))
            self._dispatch(m.HearingFailed(now, utterance), "hearing_failed")
            return
        sure = confidence >= self._parts.policy.confidence_floor
        self._muting.judge(over, text, self._turns.dialogue, sure=sure)
        if turn is not None:
            turn.text, turn.confidence = text, confidence
        self._dispatch(m.Heard(now, utterance, text, confidence), "heard")

    # Answering

    def _answer(self, action: m.Answer) -> None:
        self._answers.find(action, self.call.call_id)

    # Speaking

    def _say_reply(self, action: m.SayReply) -> None:
        turn = self._turns.current
        assert turn is not None
        turn.laps.mark("waited")
        self._mouth.begin(action.epoch)
        if turn.reply is None:  # it is still growing
            self._watch_speech(action.epoch)
            self._answers.add(turn.streamed, self._parts.tts.info.name)
            return
        self._speak(turn.reply.answer, action.epoch)

    def _say_prompt(self, action: m.SayPrompt) -> None:
        if self._turns.current is not None:
            if action.prompt is m.Prompt.TRANSFER:
                self._turns.current.decision = Decision.TRANSFER
            elif action.prompt is not m.Prompt.APOLOGY:
                self._turns.current.decision = Decision.REPROMPT
        self._turns.dialogue = no_longer_asked(self._turns.dialogue)
        self._speak(self._responder.prompt(action.prompt.value, action.attempt), action.epoch)

    def _speak(self, text: str, epoch: int) -> None:
        self._watch_speech(epoch)
        self._mouth.begin(epoch)
        self._answers.add(text, self._parts.tts.info.name)
        self._mouth.complete()

    def _watch_speech(self, epoch: int) -> None:
        """Speech that does not come to its end, for whatever reason, must not keep the call."""
        if self._speech_watch is not None:
            self._speech_watch.cancel()

        def stuck() -> None:
            if epoch == self._state.epoch:
                self._silence()
            self._dispatch(m.SpeakingFailed(self._scheduler.now(), epoch), "speech_stuck")

        self._speech_watch = self._scheduler.later(self._scheduler.now() + _SPEECH_LIMIT_S, stuck)

    def _said(self, sentence: str) -> None:
        self._news.said(self._state.turn, sentence)

    def _first_sound(self, epoch: int, at: float) -> None:
        turn = self._turns.current
        if turn is not None and turn.first_sound is None and epoch == self._state.epoch and turn.spoken_text:
            turn.first_sound = turn.laps.mark("playout", at)
            turn.laps.close()

    def _played(self, epoch: int) -> None:
        now = self._scheduler.now()
        if not self._mouth.broken:
            self._dispatch(m.PlayoutEnded(now, epoch), "played")
            return
        self._book.notes.warning("speaking failed: {}", self._mouth.broken)
        if self._turns.current is not None:
            self._turns.current.failed(self._mouth.broken)
        self._dispatch(m.SpeakingFailed(now, epoch), "speaking_failed")

    def _say_filler(self, action: m.SayFiller) -> None:
        self._mouth.begin(action.epoch)
        self._mouth.say(self._responder.prompt("filler"), {}, spoken=False)

    def _drop_filler(self, _action: m.DropFiller) -> None:
        self._playout.stop()
        self._mouth.drop()
        self._recording.cut_bot(self._scheduler.now())

    def _resume(self, _action: m.ResumeSpeech) -> None:
        self._turns.false_interruptions += 1
        if self._turns.current is not None:
            self._turns.current.resumed += 1
        self._playout.resume()

    def _stop(self, _action: m.StopSpeech) -> None:
        silent = min(self._scheduler.now(), self._playout.drained_at)
        self._silence()
        turn = self._turns.current
        if turn is not None and self._state.voice is not m.CallerVoice.SILENT:
            turn.barge_in_s = max(0.0, silent - self._state.voice_since)

    def _silence(self) -> None:
        """In this order: what was heard, then silence on the line, then nothing more is made."""
        heard = self._playout.stop()
        self._mouth.drop()
        self._recording.cut_bot(self._scheduler.now())
        if self._turns.current is not None:
            self._turns.current.heard = heard

    # Records

    def _commit(self, action: m.CommitTurn) -> None:
        self._turns.commit(
            interrupted=action.interrupted, heard=self._playout.heard(), seconds=self._mouth.seconds
        )

    def _end(self, action: m.EndCall) -> None:
        try:
            self._let_go(action.ending)
        finally:  # whatever breaks, the call is on record, and nobody waits for it
            self._turns.end(action.ending, self._hearing.dropped)

    def _let_go(self, ending: m.Ending) -> None:
        for timer in (self._speech_watch, self._call_watch):
            if timer is not None:
                timer.cancel()
        self._muting.close(self._scheduler.now())  # before anything can break
        self._hearing.close()
        self._mouth.drop()
        if ending in {m.Ending.CALLER_LEFT, m.Ending.BROKEN}:
            self._playout.stop()
            self._recording.cut_bot(self._scheduler.now())
        transfer = ending is m.Ending.TRANSFERRED
        self._news.ended(ending, transfer=transfer)
        self._line.end(transfer=transfer)

    def abandon(self, why: str) -> None:
        """The process ends: file what is known of a call that is over."""
        self._turns.abandon(why)

    _ACTIONS: ClassVar[dict[type[m.Action], Callable[["LiveCall", Any], None]]] = {
        m.OpenTurn: _open,
        m.ExtendTurn: _extend,
        m.Recognise: _recognise,
        m.Answer: _answer,
        m.SayReply: _say_reply,
        m.SayPrompt: _say_prompt,
        m.SayFiller: _say_filler,
        m.DropFiller: _drop_filler,
        m.HoldSpeech: lambda self, _: self._playout.hold(),
        m.ResumeSpeech: _resume,
        m.StopSpeech: _stop,
        m.CommitTurn: _commit,
        m.EndCall: _end,
    }

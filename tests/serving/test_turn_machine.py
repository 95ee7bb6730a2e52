"""The turn machine: examples of each path, and what no sequence of events may break."""

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.call.machine import (
    Action,
    Answer,
    Answered,
    AnsweringFailed,
    CallerVoice,
    CallStarted,
    CommitTurn,
    EndCall,
    Ending,
    Event,
    FirstSentence,
    Heard,
    HearingFailed,
    HearingLost,
    HoldSpeech,
    HungUp,
    KeyPressed,
    Next,
    OpenTurn,
    Phase,
    PlayoutEnded,
    Prompt,
    Recognise,
    ResumeSpeech,
    SayFiller,
    SayPrompt,
    SayReply,
    SpeakingFailed,
    SpeechEnded,
    SpeechGoesOn,
    SpeechStarted,
    StopSpeech,
    TextTyped,
    Tick,
    TurnPolicy,
    TurnState,
)
from serving.call.turns import deadline, step

POLICY = TurnPolicy(confidence_floor=0.4, max_failures=3, max_chars=100)


def run(events: list[Event], state: TurnState | None = None) -> tuple[TurnState, list[Action]]:
    state, actions = state or TurnState(), []
    for event in events:
        state, new = step(state, event, POLICY)
        actions.extend(new)
    return state, actions


def listening() -> TurnState:
    return run([CallStarted(0.0), PlayoutEnded(1.0, 1)])[0]


def answering() -> TurnState:
    return run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 1, "hello", 0.9)], listening())[0]


def test_a_call_begins_with_the_greeting_and_then_listens() -> None:
    state, actions = run([CallStarted(0.0), PlayoutEnded(1.0, 1)])
    assert actions == [SayPrompt(1, Prompt.GREETING, 0)]
    assert state.phase is Phase.LISTENING


def test_a_spoken_turn_is_recognised_answered_spoken_and_committed() -> None:
    events = [
        SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 1, "what is the fee", 0.9),
        Answered(3.3, 2, Next.LISTEN, understood=True), PlayoutEnded(5.0, 2),
    ]  # fmt: skip
    state, actions = run(events, listening())
    assert actions == [
        OpenTurn(1, 1), Recognise(1), Answer(2, "what is the fee", 0.9), SayReply(2),
        CommitTurn(1, interrupted=False),
    ]  # fmt: skip
    assert state.phase is Phase.LISTENING
    assert not state.open_turn


def test_a_typed_turn_skips_recognition() -> None:
    state, actions = run([TextTyped(2.0, "hello")], listening())
    assert actions == [OpenTurn(1, 0, "hello"), Answer(2, "hello", 1.0)]
    assert state.phase is Phase.ANSWERING


def test_an_unsure_recognition_is_asked_again_and_never_answered() -> None:
    _, actions = run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 1, "mumble", 0.39)], listening())
    assert actions[-1] == SayPrompt(2, Prompt.LOW_CONFIDENCE, 1)


def test_nothing_heard_counts_as_unsure() -> None:
    _, actions = run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 1, " ", 1.0)], listening())
    assert actions[-1] == SayPrompt(2, Prompt.LOW_CONFIDENCE, 1)


def test_a_text_over_the_limit_is_refused_with_a_phrase_of_its_own() -> None:
    _, actions = run([TextTyped(2.0, "x" * 101)], listening())
    assert actions[-1] == SayPrompt(2, Prompt.TOO_LONG, 1)


def test_the_third_failure_in_a_row_transfers_the_caller() -> None:
    state = listening()
    for attempt in range(1, 4):
        state, actions = run([TextTyped(0.0, "")], state)
        expected = Prompt.TRANSFER if attempt == 3 else Prompt.LOW_CONFIDENCE
        assert actions[-1] == SayPrompt(state.epoch, expected, attempt)
        state, actions = run([PlayoutEnded(0.0, state.epoch)], state)
    assert actions[-1] == EndCall(Ending.TRANSFERRED)


def test_an_understood_turn_forgives_earlier_failures() -> None:
    state, _ = run([TextTyped(0.0, ""), PlayoutEnded(0.0, 2), TextTyped(0.0, "")], listening())
    assert state.failures == 2
    state, _ = run([PlayoutEnded(0.0, 3), TextTyped(0.0, "ok"), Answered(0.0, 4, Next.LISTEN, True)], state)
    assert state.failures == 0


def test_the_third_reply_that_is_not_understood_becomes_a_transfer() -> None:
    state = listening()
    for _ in range(3):
        state, actions = run(
            [TextTyped(0.0, "weather"), Answered(0.0, state.epoch + 1, Next.LISTEN, False)], state
        )
        last = actions[-1]
        state, _ = run([PlayoutEnded(0.0, state.epoch)], state)
    assert last == SayPrompt(last.epoch, Prompt.TRANSFER, 3)
    assert state.phase is Phase.ENDED


def test_a_failed_engine_is_an_apology_and_the_call_goes_on() -> None:
    for failure in (AnsweringFailed(3.3, 2),):
        state, actions = run([failure], answering())
        assert actions == [SayPrompt(2, Prompt.APOLOGY, 1)]
        assert run([PlayoutEnded(4.0, 2)], state)[0].phase is Phase.LISTENING


def test_a_stale_result_changes_nothing() -> None:
    state = answering()
    assert step(state, Answered(9.0, 1, Next.END, True), POLICY) == (state, ())


def test_a_reply_may_end_or_transfer_the_call_only_after_it_was_played() -> None:
    for follow_up, ending in ((Next.END, Ending.COMPLETED), (Next.TRANSFER, Ending.TRANSFERRED)):
        state, actions = run([Answered(3.3, 2, follow_up, True)], answering())
        assert not any(isinstance(action, EndCall) for action in actions)
        _, actions = run([PlayoutEnded(5.0, 2)], state)
        assert actions == [CommitTurn(1, interrupted=False), EndCall(ending)]


def test_hanging_up_in_the_middle_of_a_reply_commits_it_as_interrupted() -> None:
    state, _ = run([Answered(3.3, 2, Next.LISTEN, True)], answering())
    _, actions = run([HungUp(3.5)], state)
    assert actions == [CommitTurn(1, interrupted=True), EndCall(Ending.CALLER_LEFT)]


LIVE = TurnPolicy(
    0.4, 3, 100, idle_s=8.0, filler_s=1.5, backchannels=frozenset({"okay", "mm hm", "uh huh"}),
)  # fmt: skip


def live(events: list[Event], state: TurnState) -> tuple[TurnState, list[Action]]:
    actions: list[Action] = []
    for event in events:
        state, new = step(state, event, LIVE)
        actions.extend(new)
    return state, actions


def speaking(*, holds: bool = False) -> TurnState:
    return step(answering(), Answered(3.3, 2, Next.LISTEN, True, holds=holds), LIVE)[0]


def test_a_voice_over_the_bot_holds_its_speech_and_nothing_more() -> None:
    state, actions = live([SpeechStarted(4.0)], speaking())
    assert actions == [HoldSpeech()]
    assert state.open_turn
    assert state.paused


def test_a_voice_that_lasts_takes_the_floor_in_the_right_order() -> None:
    state, actions = live([SpeechStarted(4.0), SpeechGoesOn(4.7, 0.6)], speaking())
    assert actions == [HoldSpeech(), StopSpeech(), CommitTurn(1, interrupted=True), OpenTurn(2, 2)]
    assert (state.phase, state.epoch) == (Phase.HEARING, 3)


def test_attention_lets_the_bot_go_on() -> None:
    for words in ("okay", "Mm-hm.", "okay okay", "uh"):
        heard = [SpeechGoesOn(4.5, 0.7, words), SpeechEnded(4.9), Heard(5.0, 2, words, 0.9)]
        state, actions = live([SpeechStarted(4.0), *heard], speaking())
        assert actions == [HoldSpeech(), Recognise(2), ResumeSpeech()]
        assert (state.phase, state.voice) == (Phase.SPEAKING, CallerVoice.SILENT)


def test_words_that_are_recognised_late_still_take_the_floor() -> None:
    state, actions = live([SpeechStarted(4.0), SpeechEnded(4.6), Heard(5.0, 2, "no stop", 0.9)], speaking())
    assert actions[2:] == [
        StopSpeech(), CommitTurn(1, interrupted=True), OpenTurn(2, 2, "no stop", 0.9),
        Answer(3, "no stop", 0.9),
    ]  # fmt: skip
    assert state.phase is Phase.ANSWERING


def test_a_voice_that_comes_to_nothing_is_waited_for_two_seconds() -> None:
    state, _ = live([SpeechStarted(4.0)], speaking())
    assert deadline(state, LIVE) == 6.0
    assert step(state, Tick(5.9), LIVE) == (state, ())
    resumed, actions = step(state, Tick(6.0), LIVE)
    assert actions == (ResumeSpeech(),)
    assert not resumed.paused


def test_what_must_be_heard_is_not_even_held_and_the_words_wait() -> None:
    over = [SpeechStarted(4.0), SpeechGoesOn(5.0, 1.0), SpeechEnded(5.2), Heard(5.3, 2, "the fee", 0.9)]
    state, actions = live(over, speaking(holds=True))
    assert actions == [Recognise(2)]
    _, actions = live([PlayoutEnded(9.0, 2)], state)
    assert actions == [
        CommitTurn(1, interrupted=False), OpenTurn(2, 2, "the fee", 0.9, early=True),
        Answer(3, "the fee", 0.9),
    ]  # fmt: skip


def test_words_that_are_recognised_after_the_caller_has_gone_on_belong_to_the_turn() -> None:
    talk = [SpeechStarted(4.0), SpeechEnded(4.3), SpeechStarted(4.5), PlayoutEnded(4.6, 2)]
    state, _ = live(talk, speaking())
    assert state.phase is Phase.HEARING
    heard = [Heard(4.7, 2, "a loan", 0.9), SpeechEnded(5.5), Heard(5.6, 3, "over five years", 0.8)]
    _, actions = live(heard, state)
    assert actions[-1] == Answer(3, "a loan over five years", 0.8)


def test_a_silent_caller_is_asked_twice_before_the_call_is_ended() -> None:
    state, prompts = listening(), []
    while state.phase is not Phase.ENDED:
        due = deadline(state, LIVE)
        assert due is not None
        state, actions = step(state, Tick(due), LIVE)
        prompts += [action.prompt for action in actions if isinstance(action, SayPrompt)]
        state, actions = step(state, PlayoutEnded(due + 1.0, state.epoch), LIVE)
    assert prompts == [Prompt.STILL_THERE, Prompt.STILL_THERE, Prompt.SILENT_GOODBYE]
    assert actions == (EndCall(Ending.CALLER_LEFT),)


def test_a_running_answer_disarms_the_question_whether_anybody_is_there() -> None:
    state, actions = step(answering(), Tick(1_000.0), LIVE)
    assert actions == (SayFiller(2),)
    assert deadline(state, LIVE) is None


def test_an_answer_waits_for_a_caller_who_talks_but_not_for_ever() -> None:
    state, actions = live([SpeechStarted(3.25), Answered(3.3, 2, Next.LISTEN, True)], answering())
    assert actions == []
    assert deadline(state, LIVE) == 3.3 + LIVE.held_s
    state, actions = live([Tick(20.0)], state)
    assert actions == [SayReply(2)]


def test_a_caller_who_cannot_be_heard_is_put_through_from_anywhere() -> None:
    for state in (
        listening(),
        answering(),
        speaking(),
        TurnState(phase=Phase.HEARING, turn=1, open_turn=True),
    ):
        new, actions = live([HearingLost(5.0)], state)
        assert actions[-1] == SayPrompt(new.epoch, Prompt.TRANSFER, 0)
        _, actions = live([PlayoutEnded(9.0, new.epoch)], new)
        assert actions[-1] == EndCall(Ending.TRANSFERRED)


def test_half_duplex_calls_have_no_timers() -> None:
    for state in (listening(), answering(), speaking()):
        assert deadline(state, POLICY) is None


OFFSETS = st.sampled_from([0, 0, 0, -1, 1])
TIMES = st.floats(0, 30)
TEXTS = st.sampled_from(["", "hello", "okay", "mm-hm", "x" * 101])
CONFIDENCES = st.sampled_from([0.0, 0.39, 0.4, 1.0, float("nan")])
events = st.one_of(
    st.builds(CallStarted, at=st.just(0.0)),
    st.builds(SpeechStarted, at=TIMES),
    st.builds(SpeechGoesOn, at=TIMES, seconds=st.floats(0, 3), text=TEXTS),
    st.builds(SpeechEnded, at=TIMES),
    st.builds(TextTyped, at=TIMES, text=TEXTS),
    st.builds(KeyPressed, at=TIMES),
    st.builds(Heard, at=TIMES, utterance=OFFSETS, text=TEXTS, confidence=CONFIDENCES),
    st.builds(HearingFailed, at=TIMES, utterance=OFFSETS),
    st.builds(FirstSentence, at=TIMES, epoch=OFFSETS),
    st.builds(Answered, at=TIMES, epoch=OFFSETS, next=st.sampled_from(Next), understood=st.booleans(),
              holds=st.booleans()),
    st.builds(AnsweringFailed, at=TIMES, epoch=OFFSETS),
    st.builds(PlayoutEnded, at=TIMES, epoch=OFFSETS),
    st.builds(SpeakingFailed, at=TIMES, epoch=OFFSETS),
    st.builds(Tick, at=TIMES),
    st.builds(HearingLost, at=TIMES),
    st.builds(HungUp, at=TIMES),
)  # fmt: skip


def relative_to(state: TurnState, event: Event) -> Event:
    """Generated epochs and utterances are offsets from the present ones: results are often current."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    for name in ("epoch", "utterance"):
        if name in values:
            values[name] += getattr(state, name)
    return type(event)(**values)


@given(st.lists(events, max_size=60), st.sampled_from([POLICY, LIVE]))
def test_no_sequence_of_events_commits_a_turn_twice_or_loses_one(
    sequence: list[Event], policy: TurnPolicy
) -> None:
    state, actions = TurnState(), []
    for event in [*sequence, HungUp(1.0)]:
        before = state
        state, new = step(state, relative_to(state, event), policy)
        actions.extend(new)
        assert state.epoch >= before.epoch
        assert state.failures <= policy.max_failures
    opened = [action.turn for action in actions if isinstance(action, OpenTurn)]
    committed = [action.turn for action in actions if isinstance(action, CommitTurn)]
    assert opened == committed == list(range(1, len(opened) + 1))
    assert sum(isinstance(action, EndCall) for action in actions) == 1
    assert state.phase is Phase.ENDED


ROOMY = replace(LIVE, max_chars=10_000)
"""As live, but no words are cut."""


class Calls(RuleBasedStateMachine):
    """Any caller, any engines, any order: the bot's side of the world keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.state = TurnState()
        self.now = 0.0
        self.open: list[int] = []
        self.committed: list[int] = []
        self.recognising: list[int] = []
        self.said: list[str] = []
        self.taken: list[str] = []
        self.speaks = self.holds = False
        self.ended = 0

    def happens(self, event: Event) -> None:
        self.state, actions = step(self.state, event, ROOMY)
        for action in actions:
            assert not self.ended, "nothing is done after the end"
            self.check(action)

    def check(self, action: Action) -> None:
        if isinstance(action, OpenTurn):
            assert not self.open, "one turn at a time"
            self.open.append(action.turn)
            self.taken += [action.text] if action.text else []
        elif isinstance(action, CommitTurn):
            assert self.open == [action.turn]
            self.committed.append(self.open.pop())
        elif isinstance(action, Recognise):
            self.recognising.append(action.utterance)
        elif isinstance(action, Answer):
            assert self.open, "answers belong to open turns"
            if not self.taken or self.taken[-1] != action.text:
                self.taken.append(action.text)
        elif isinstance(action, EndCall):
            self.ended += 1
        else:
            self.check_speech(action)

    def check_speech(self, action: Action) -> None:
        if isinstance(action, SayReply | SayPrompt):
            self.speaks, self.holds = True, False
        elif isinstance(action, HoldSpeech):
            assert self.speaks
            assert not self.state.holds, "what must be heard is never held"
            self.holds = True
        elif isinstance(action, ResumeSpeech):
            assert self.holds, "only what was held goes on"
            self.holds = False
        elif isinstance(action, StopSpeech):
            assert self.speaks
            self.speaks = self.holds = False

    @initialize()
    def call_begins(self) -> None:
        self.happens(CallStarted(0.0))

    @rule(seconds=st.floats(0.02, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = deadline(self.state, ROOMY)
        if due is not None and due <= self.now:
            self.happens(Tick(self.now))

    @precondition(lambda self: self.state.voice is not CallerVoice.TALKING)
    @rule()
    def caller_begins(self) -> None:
        self.happens(SpeechStarted(self.now))

    @precondition(lambda self: self.state.voice is CallerVoice.TALKING)
    @rule(seconds=st.floats(0, 2), words=TEXTS)
    def caller_goes_on(self, seconds: float, words: str) -> None:
        self.happens(SpeechGoesOn(self.now, seconds, words))

    @precondition(lambda self: self.state.voice is CallerVoice.TALKING)
    @rule()
    def caller_stops(self) -> None:
        self.happens(SpeechEnded(self.now))

    @precondition(lambda self: self.recognising)
    @rule(words=st.sampled_from(["", "okay", "a loan", "stop"]), sure=st.booleans())
    def words_are_recognised(self, words: str, sure: bool) -> None:
        utterance = self.recognising.pop(0)
        if sure and words not in {"", "okay"} and not self.ended:
            words = f"{words} {len(self.said)}"
            self.said.append(words)
        self.happens(Heard(self.now, utterance, words, 0.9 if sure else 0.1))

    @precondition(lambda self: self.recognising)
    @rule()
    def recognition_breaks(self) -> None:
        self.happens(HearingFailed(self.now, self.recognising.pop(0)))

    @rule(words=st.sampled_from(["typed", "1234"]))
    def caller_types(self, words: str) -> None:
        if self.state.phase not in {Phase.IDLE, Phase.ENDED}:
            words = f"{words} {len(self.said)}"
            self.said.append(words)
        self.happens(TextTyped(self.now, words))

    @rule()
    def caller_presses_a_key(self) -> None:
        self.happens(KeyPressed(self.now))

    @precondition(lambda self: self.state.phase is Phase.ANSWERING or self.state.growing)
    @rule(follows=st.sampled_from(Next), understood=st.booleans(), holds=st.booleans())
    def answer_is_there(self, follows: Next, understood: bool, holds: bool) -> None:
        self.happens(Answered(self.now, self.state.epoch, follows, understood, holds))

    @precondition(lambda self: self.state.phase is Phase.ANSWERING)
    @rule()
    def a_first_sentence_is_there(self) -> None:
        self.happens(FirstSentence(self.now, self.state.epoch))

    @rule()
    def answering_breaks(self) -> None:
        self.happens(AnsweringFailed(self.now, self.state.epoch))

    @precondition(lambda self: self.speaks)
    @rule()
    def all_was_played(self) -> None:
        self.speaks = self.state.growing
        self.happens(PlayoutEnded(self.now, self.state.epoch))

    @precondition(lambda self: self.speaks)
    @rule()
    def voice_breaks(self) -> None:
        self.speaks = False
        self.happens(SpeakingFailed(self.now, self.state.epoch))
        self.speaks = self.speaks or self.state.mute  # until the reply is complete

    @rule()
    def stale_results_come(self) -> None:
        for event in (
            Answered(self.now, self.state.epoch - 1, Next.END, True),
            PlayoutEnded(self.now, self.state.epoch - 1),
            Heard(self.now, self.state.utterance + 7, "stale", 0.9),
        ):
            if self.state.phase is not Phase.SPEAKING or not isinstance(event, Heard):
                before = self.state
                if not isinstance(event, Heard):
                    self.happens(event)
                    assert self.state == before

    @invariant()
    def turns_are_in_order(self) -> None:
        assert self.committed == list(range(1, len(self.committed) + 1))

    def teardown(self) -> None:
        self.happens(HungUp(self.now))
        assert not self.open
        assert self.ended == 1
        words = " ".join(self.taken)
        assert all(said in words for said in self.said), "no words are lost"


Calls.TestCase.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
TestCalls = Calls.TestCase


@given(st.lists(events, max_size=40))
def test_every_state_has_a_way_forward(sequence: list[Event]) -> None:
    state, _ = TurnState(), None
    for event in sequence:
        state, _ = step(state, relative_to(state, event), POLICY)
    if state.growing:  # first the reply is completed, then it is played
        state, _ = step(state, Answered(0.0, state.epoch, Next.LISTEN, True), POLICY)
    exits: dict[Phase, Event] = {
        Phase.IDLE: CallStarted(0.0),
        Phase.LISTENING: SpeechStarted(0.0),
        Phase.HEARING: SpeechEnded(0.0),
        Phase.RECOGNISING: HearingFailed(0.0, state.turn_utterance),
        Phase.ANSWERING: AnsweringFailed(0.0, state.epoch),
        Phase.SPEAKING: PlayoutEnded(0.0, state.epoch),
    }
    if state.phase is not Phase.ENDED:
        assert step(state, exits[state.phase], POLICY)[0].phase is not state.phase

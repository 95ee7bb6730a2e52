"""What no sequence of events may break: turns, words, the order of things, a way forward."""

from dataclasses import fields, replace

from hypothesis import given
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
    Recognise,
    ResumeSpeech,
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
from tests.properties import examples
from tests.serving.turn_policies import LIVE, POLICY

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


Calls.TestCase.settings = examples(300, stateful_step_count=50)
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

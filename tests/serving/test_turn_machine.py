"""The turn machine: examples of each path, and what no sequence of events may break."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from serving.call.machine import (
    Action,
    Answer,
    Answered,
    AnsweringFailed,
    CallStarted,
    CommitTurn,
    EndCall,
    Ending,
    Event,
    Heard,
    HearingFailed,
    HungUp,
    Next,
    OpenTurn,
    Phase,
    PlayoutEnded,
    Prompt,
    Recognise,
    SayPrompt,
    SayReply,
    SpeechEnded,
    SpeechStarted,
    TextTyped,
    TurnPolicy,
    TurnState,
    step,
)

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
    return run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 2, "hello", 0.9)], listening())[0]


def test_a_call_begins_with_the_greeting_and_then_listens() -> None:
    state, actions = run([CallStarted(0.0), PlayoutEnded(1.0, 1)])
    assert actions == [SayPrompt(1, Prompt.GREETING, 0)]
    assert state.phase is Phase.LISTENING


def test_a_spoken_turn_is_recognised_answered_spoken_and_committed() -> None:
    events = [
        SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 2, "what is the fee", 0.9),
        Answered(3.3, 2, Next.LISTEN, understood=True), PlayoutEnded(5.0, 2),
    ]  # fmt: skip
    state, actions = run(events, listening())
    assert actions == [
        OpenTurn(1), Recognise(2), Answer(2, "what is the fee", 0.9), SayReply(2),
        CommitTurn(1, interrupted=False),
    ]  # fmt: skip
    assert state.phase is Phase.LISTENING
    assert not state.open_turn


def test_a_typed_turn_skips_recognition() -> None:
    state, actions = run([TextTyped(2.0, "hello")], listening())
    assert actions == [OpenTurn(1), Answer(2, "hello", 1.0)]
    assert state.phase is Phase.ANSWERING


def test_an_unsure_recognition_is_asked_again_and_never_answered() -> None:
    _, actions = run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 2, "mumble", 0.39)], listening())
    assert actions[-1] == SayPrompt(2, Prompt.LOW_CONFIDENCE, 1)


def test_nothing_heard_counts_as_unsure() -> None:
    _, actions = run([SpeechStarted(2.0), SpeechEnded(3.0), Heard(3.2, 2, " ", 1.0)], listening())
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


events = st.one_of(
    st.builds(CallStarted, at=st.just(0.0)),
    st.builds(SpeechStarted, at=st.just(0.0)),
    st.builds(SpeechEnded, at=st.just(0.0)),
    st.builds(TextTyped, at=st.just(0.0), text=st.sampled_from(["", "hello", "x" * 101])),
    st.builds(Heard, at=st.just(0.0), epoch=st.integers(-1, 1), text=st.sampled_from(["", "hi"]),
              confidence=st.sampled_from([0.0, 0.39, 0.4, 1.0])),
    st.builds(HearingFailed, at=st.just(0.0), epoch=st.integers(-1, 1)),
    st.builds(Answered, at=st.just(0.0), epoch=st.integers(-1, 1), next=st.sampled_from(Next),
              understood=st.booleans()),
    st.builds(AnsweringFailed, at=st.just(0.0), epoch=st.integers(-1, 1)),
    st.builds(PlayoutEnded, at=st.just(0.0), epoch=st.integers(-1, 1)),
    st.builds(HungUp, at=st.just(0.0)),
)  # fmt: skip


def relative_to(state: TurnState, event: Event) -> Event:
    """Generated epochs are offsets from the present one, so that results are often current."""
    if not any(field.name == "epoch" for field in fields(event)):
        return event
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return type(event)(**{**values, "epoch": state.epoch + values["epoch"]})


@given(st.lists(events, max_size=60))
def test_no_sequence_of_events_commits_a_turn_twice_or_loses_one(sequence: list[Event]) -> None:
    state, actions = TurnState(), []
    for event in [*sequence, HungUp(1.0)]:
        before = state
        state, new = step(state, relative_to(state, event), POLICY)
        actions.extend(new)
        assert state.epoch >= before.epoch
        assert state.failures <= POLICY.max_failures
    opened = [action.turn for action in actions if isinstance(action, OpenTurn)]
    committed = [action.turn for action in actions if isinstance(action, CommitTurn)]
    assert opened == committed == list(range(1, len(opened) + 1))
    assert sum(isinstance(action, EndCall) for action in actions) == 1
    assert state.phase is Phase.ENDED


@given(st.lists(events, max_size=40))
def test_every_state_has_a_way_forward(sequence: list[Event]) -> None:
    state, _ = TurnState(), None
    for event in sequence:
        state, _ = step(state, relative_to(state, event), POLICY)
    exits: dict[Phase, Event] = {
        Phase.IDLE: CallStarted(0.0),
        Phase.LISTENING: SpeechStarted(0.0),
        Phase.HEARING: SpeechEnded(0.0),
        Phase.RECOGNISING: HearingFailed(0.0, state.epoch),
        Phase.ANSWERING: AnsweringFailed(0.0, state.epoch),
        Phase.SPEAKING: PlayoutEnded(0.0, state.epoch),
    }
    if state.phase is not Phase.ENDED:
        assert step(state, exits[state.phase], POLICY)[0].phase is not state.phase

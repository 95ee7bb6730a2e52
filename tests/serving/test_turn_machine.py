"""The turn machine: examples of each path."""

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
    Heard,
    HearingLost,
    HoldSpeech,
    HungUp,
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
    SpeechEnded,
    SpeechGoesOn,
    SpeechStarted,
    StopSpeech,
    TextTyped,
    Tick,
    TurnState,
)
from serving.call.turns import deadline, step
from tests.serving.turn_policies import LIVE, POLICY


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

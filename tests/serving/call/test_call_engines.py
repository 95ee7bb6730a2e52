"""Answering engines and voices that fail: the caller gets an answer, the record says what happened."""

import threading
from collections.abc import Iterator

import pytest

from serving.audio import AudioClip
from serving.call.generation import MAX_ANSWER_CHARS, MAX_TOOL_CALLS, MAX_TOOL_ROUNDS
from serving.call.machine import Ending
from serving.call.patience import Patience
from serving.call.record import Decision, TurnRecord
from serving.errors import EngineError, EngineTimeoutError, UnavailableError
from serving.language.protocols import LlmEvent, LlmRequest, TextDelta, ToolCall
from serving.speech.protocols import EngineInfo
from tests.serving.call.phone import Bank, HummingTts, TellingLlm, ToldStt, spoken, toolbox, typed

QUOTE = "borrow twenty thousand dollars over five years"
FEE = "what are the branch hours"
RATE = ToolCall("abc123def", "get_rate", {"principal": 20_000, "months": 60})
PAYMENT = ToolCall(
    "def456abc", "calculate_payment", {"principal": 20_000, "annual_rate": "0.0699", "months": 60}
)


def quote(bank: Bank, *turns: list[LlmEvent] | Exception) -> TurnRecord:
    """The turn of a loan question, answered by an engine that follows a script."""
    (turn,) = bank.typed(QUOTE, llm=TellingLlm(*turns))
    return turn


def rescued(turn: TurnRecord, why: str) -> bool:
    """Whether the embedded responder answered, rightly, and the record says why."""
    return (
        turn.llm_engine == "embedded"
        and "$395.93" in turn.answer
        and turn.decision is Decision.TOOL
        and turn.error == f"telling: {why}"
    )


def test_a_language_model_that_calls_tools_and_answers_is_heard(bank: Bank) -> None:
    turn = quote(bank, [RATE], [PAYMENT], [TextDelta("You would pay "), TextDelta("$395.93 a month.")])
    assert turn.answer == "You would pay $395.93 a month."
    assert (turn.llm_engine, turn.error, turn.decision) == ("telling", "", Decision.TOOL)
    assert [tool.name for tool in turn.tools] == ["get_rate", "calculate_payment"]


def test_it_sees_the_tools_and_their_results_and_no_personal_value(bank: Bank) -> None:
    llm = TellingLlm([RATE], [PAYMENT], [TextDelta("You pay $395.93.")])
    bank.typed("I borrow twenty thousand dollars over five years, my card is 4111 1111 1111 1111", llm=llm)
    first, second, _ = llm.requests
    assert "4111" not in repr(llm.requests)
    assert "<card>" in first.messages[-1].content
    assert {tool.name for tool in first.tools} >= {"get_rate", "calculate_payment", "generate_plan"}
    assert second.messages[-1].role == "tool"
    assert "0.0699" in second.messages[-1].content


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (EngineError("overloaded"), "EngineError"),
        (UnavailableError("no answer"), "UnavailableError"),
        (EngineTimeoutError("late"), "EngineTimeoutError"),
        ([], "EngineError"),
        ([TextDelta("  \n\t ")], "EngineError"),
        ([TextDelta("x" * (MAX_ANSWER_CHARS + 1))], "EngineError"),
        ([TextDelta("You would pay $123.45 a month.")], "EngineError"),
        ([TextDelta("The rate is 4.2 percent.")], "EngineError"),
        ([TextDelta("Over eleven years that is easy.")], "EngineError"),
        ([RATE] * (MAX_TOOL_CALLS + 1), "EngineError"),
        ([ToolCall("abc123def", "get_rate", {"product": "x" * 5_000})], "EngineError"),
    ],
    ids=[
        "fails", "unavailable", "timed out", "says nothing", "says blanks", "never stops talking",
        "invents an amount", "invents a rate", "invents a term", "calls a crowd of tools", "huge arguments",
    ],
)  # fmt: skip
def test_an_engine_that_fails_or_invents_is_replaced_and_the_record_says_why(
    bank: Bank, failure: list[LlmEvent] | Exception, why: str
) -> None:
    assert rescued(quote(bank, failure), why)


def test_a_bug_in_an_engine_is_named_with_its_place_and_without_its_words(bank: Bank) -> None:
    turn = quote(bank, KeyError("twenty thousand dollars"))
    assert turn.llm_engine == "embedded"
    assert turn.error.startswith("telling: KeyError in phone line ")
    assert "twenty" not in turn.error


def test_an_engine_that_calls_tools_without_end_is_stopped_and_its_calls_stay_on_record(bank: Bank) -> None:
    turn = quote(bank, *[[RATE]] * 20)
    assert rescued(turn, "EngineError")
    assert [tool.name for tool in turn.tools] == ["get_rate"] * MAX_TOOL_ROUNDS + [
        "get_rate",
        "calculate_payment",
    ]


def test_arguments_that_nobody_said_are_refused_and_the_refusal_is_on_record(bank: Bank) -> None:
    guess = ToolCall("abc123def", "calculate_payment", {"principal": 1, "annual_rate": 0.01, "months": 7})
    turn = quote(bank, [guess], [TextDelta("That is $0.15 a month.")])
    assert rescued(turn, "EngineError")
    assert not turn.tools[0].ok
    assert "principal" in turn.tools[0].error


def test_a_tool_that_an_engine_made_up_is_kept_without_its_name_and_arguments(bank: Bank) -> None:
    """A name of an engine's making must never become a metric label."""
    invented = ToolCall("abc123def", "transfer_to_4111111111111111", {"iban": "GB33BUKB20201555555555"})
    turn = quote(bank, [invented], [TextDelta("Done.")])
    assert turn.tools[0].name == "unknown"
    assert turn.tools[0].arguments == {}
    assert not turn.tools[0].ok


def test_numbers_of_an_earlier_turn_may_be_repeated(bank: Bank) -> None:
    llm = TellingLlm(
        [RATE], [PAYMENT], [TextDelta("You pay $395.93 a month.")], [TextDelta("As I said: $395.93 a month.")]
    )
    _, again = bank.typed(QUOTE, "what was the monthly payment", llm=llm)
    assert again.llm_engine == "telling"


class HangingLlm:
    """Never answers, until the test is over."""

    info = EngineInfo("hanging", "a closed door")

    def __init__(self) -> None:
        self.door = threading.Event()
        self.asked = 0

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        self.asked += 1
        self.door.wait()
        yield TextDelta("too late")


@pytest.fixture
def hanging() -> Iterator[HangingLlm]:
    llm = HangingLlm()
    yield llm
    llm.door.set()


def test_an_engine_that_hangs_is_given_up_and_the_record_says_so(bank: Bank, hanging: HangingLlm) -> None:
    box = toolbox(bank.cache_folder, hanging, patience_s=0.02)
    first, second = bank.typed(QUOTE, QUOTE, box=box)
    for turn in (first, second):
        assert "$395.93" in turn.answer
        assert (turn.llm_engine, turn.error) == ("embedded", "hanging: EngineTimeoutError")


def test_engines_that_hang_are_not_asked_without_end(hanging: HangingLlm) -> None:
    patience = Patience(0.01, most=2)
    for _ in range(2):
        with pytest.raises(EngineTimeoutError):
            patience.wait_for(hanging.door.wait, patience.deadline())
    with pytest.raises(UnavailableError, match="hang"):
        patience.wait_for(lambda: True, patience.deadline())
    hanging.door.set()
    while True:
        try:
            assert patience.wait_for(lambda: "answers again", patience.deadline() + 5) == "answers again"
        except UnavailableError:  # the two threads are just leaving
            continue
        break


def test_without_an_approved_answer_a_language_model_is_not_asked(bank: Bank) -> None:
    llm = TellingLlm([TextDelta("We waive all fees, always.")])
    (turn,) = bank.typed("Can I pay off my business loan early", llm=llm)
    assert llm.requests == []
    assert turn.llm_engine == "embedded"
    assert "no approved answer" in turn.answer


def test_with_one_it_answers_from_it(bank: Bank) -> None:
    llm = TellingLlm([TextDelta("Yes, at any time, and it costs nothing.")])
    (turn,) = bank.typed("when may I pay the thing back early if I like to do so", llm=llm)
    assert turn.llm_engine == "telling"
    assert turn.decision is Decision.ANSWER
    assert len(llm.requests[0].knowledge) == 1
    assert llm.requests[0].tools == ()


def test_personal_words_of_a_language_model_are_placeholders_on_record_and_spoken_in_full(bank: Bank) -> None:
    llm = TellingLlm([TextDelta("My name is Roberta Vance, call me at 415 555 0199.")])
    tts = HummingTts()
    (turn,) = bank.call(
        [spoken(1.0)], stt=ToldStt(["when may I pay the thing back early"]), tts=tts, llm=llm
    ).turns
    assert turn.answer == "My name is <name>, call me at <phone>."
    assert "Roberta Vance" in " ".join(tts.said)
    assert "four one five five" in " ".join(tts.said)


def test_escape_sequences_of_an_engine_never_reach_a_terminal(bank: Bank) -> None:
    llm = TellingLlm([TextDelta("Fine.\x1b[2J\x1b]0;owned\x07\n\nReally.")])
    (turn,) = bank.typed("when may I pay the thing back early", llm=llm)
    assert turn.answer == "Fine. [2J ]0;owned Really."


def test_a_broken_responder_is_an_apology_and_the_call_goes_on(bank: Bank) -> None:
    box = toolbox(bank.cache_folder)

    class Broken:
        def prompt(self, name: str, attempt: int = 0) -> str:
            return box.phrase(name)

        def answer(self, *_arguments: object) -> None:
            raise IndexError("card 4111111111111111")

    call = bank.call(typed("one", "two", "never heard"), responder=Broken(), max_failures=2)
    assert [turn.decision for turn in call.turns] == [Decision.APOLOGY, Decision.TRANSFER]
    assert all(turn.error.startswith("answer: IndexError in test_call_engines line ") for turn in call.turns)
    assert "4111" not in repr(call)
    assert call.ending is Ending.TRANSFERRED


# The bot's voice


class BreakingTts(HummingTts):
    """Breaks at the given utterances, counted from 1."""

    def __init__(self, *at: int, error: Exception | None = None) -> None:
        super().__init__()
        self._at = at
        self._error = error or EngineError("no voice")

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        self.said.append(text)
        if len(self.said) in self._at:
            raise self._error
        yield from HummingTts().synthesise(text)


def test_a_voice_that_breaks_in_the_middle_leaves_what_was_heard_on_record(bank: Bank) -> None:
    tts = BreakingTts(4)  # greeting has two sentences, the quote two
    turn, after = bank.call([spoken(1.0)] * 2, stt=ToldStt([QUOTE, "hello"]), tts=tts).turns
    assert turn.interrupted
    assert turn.decision is Decision.TOOL
    assert turn.error == "tts: EngineError"
    assert turn.spoken.startswith("For $20,000 over 5 years")
    assert "in total" not in turn.spoken.lower()
    assert turn.voice_to_voice_s is not None
    assert after.spoken == after.answer


@pytest.mark.parametrize("error", [EngineError("no voice"), OSError(28, "No space left on device")])
def test_a_voice_that_says_nothing_is_on_record_as_nothing_heard(bank: Bank, error: Exception) -> None:
    tts = BreakingTts(3, error=error)
    (turn,) = bank.call([spoken(1.0)], stt=ToldStt(["what does the law say"]), tts=tts).turns
    assert turn.spoken == ""
    assert turn.voice_to_voice_s is None
    assert turn.reply_s == 0
    assert turn.disclosures == (), "a wording that was not heard was not given"
    assert turn.error.startswith(f"tts: {type(error).__name__}")


def test_a_bot_that_stays_without_a_voice_hands_over_to_a_person(bank: Bank) -> None:
    call = bank.call([spoken(0.5)] * 9, stt=ToldStt(["hello"] * 9), tts=BreakingTts(*range(99)))
    assert len(call.turns) == 2, "the greeting was the first time"
    assert call.ending is Ending.TRANSFERRED


def test_a_voice_that_comes_back_is_forgiven(bank: Bank) -> None:
    stt = ToldStt(["thank you"] * 6)  # two sentences each, after the greeting's two
    call = bank.call([spoken(0.5)] * 6, stt=stt, tts=BreakingTts(3, 6, 9), max_failures=2)
    assert [turn.interrupted for turn in call.turns] == [True, False] * 3
    assert call.ending is Ending.CALLER_LEFT


def test_a_transfer_takes_place_whether_it_was_heard_or_not(bank: Bank) -> None:
    call = bank.call([spoken(0.5)] * 2, stt=ToldStt(["agent"] * 2), tts=BreakingTts(3))
    assert call.ending is Ending.TRANSFERRED
    assert len(call.turns) == 1


def test_a_voice_without_sound_is_no_voice(bank: Bank) -> None:
    class Mute(HummingTts):
        def synthesise(self, text: str) -> Iterator[AudioClip]:
            yield from ()

    call = bank.call([spoken(0.5)] * 4, stt=ToldStt(["hello"] * 4), tts=Mute())
    assert {turn.error for turn in call.turns} == {"tts: silence"}
    assert call.ending is Ending.TRANSFERRED

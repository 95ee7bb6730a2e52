"""Sentences of a language model that are spoken before the rest of the answer is there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from serving.call.clock import FileClock, Laps
from serving.call.dialogue import DialogueState, HeardTurn
from serving.call.responder import Responder
from serving.language.protocols import LlmEvent, LlmRequest, TextDelta, ToolCall
from serving.speech.protocols import EngineInfo
from tests.serving.call.phone import SCOPE, Bank, KeywordTagger, TellingLlm, toolbox


@dataclass
class Watched:
    """Tells how many pieces of the answer had been made when a sentence was spoken."""

    pieces: Sequence[str]
    made: int = 0
    said: list[tuple[int, str]] = field(default_factory=list)
    info: EngineInfo = field(default_factory=lambda: EngineInfo("watched", "pieces"))

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        for piece in self.pieces:
            self.made += 1
            yield TextDelta(piece)

    def say(self, sentence: str) -> None:
        self.said.append((self.made, sentence))


def answered(bank: Bank, llm: object, say: object, text: str = "where is the nearest branch") -> str:
    responder = Responder(toolbox(bank.cache_folder.parent / "no cache", llm), KeywordTagger(), SCOPE)  # type: ignore[arg-type]
    turn = HeardTurn("c" * 32, 1, text, 1.0, say)  # type: ignore[arg-type]
    return responder.answer(turn, DialogueState(), Laps(FileClock(), 0.0)).answer


def test_a_sentence_is_spoken_as_soon_as_the_next_one_begins(bank: Bank) -> None:
    llm = Watched(
        ["Our branches ", "open at nine. ", "They close ", "in the evening. ", "Come ", "and see us."]
    )
    answer = answered(bank, llm, llm.say)
    assert llm.said == [(3, "Our branches open at nine."), (5, "They close in the evening.")]
    assert answer.startswith("Our branches open at nine. They close in the evening. Come")


def test_the_last_sentence_is_left_to_the_answer_itself(bank: Bank) -> None:
    llm = Watched(["Only one sentence, ", "in two pieces."])
    assert answered(bank, llm, llm.say) == "Only one sentence, in two pieces."
    assert llm.said == []


def test_a_number_that_nobody_gave_is_not_spoken_early_either(bank: Bank) -> None:
    llm = Watched(["We are glad to help. ", "A loan costs 4.99% at most. ", "Shall I go on?"])
    answer = answered(bank, llm, llm.say)
    assert [sentence for _, sentence in llm.said] == ["We are glad to help."]
    assert "4.99" not in answer


def test_without_anybody_to_speak_nothing_is_spoken_early(bank: Bank) -> None:
    llm = Watched(["Our branches open at nine. ", "Come and see us."])
    assert answered(bank, llm, None) == "Our branches open at nine. Come and see us."


@pytest.mark.parametrize("calls", [0, 1])
def test_what_is_said_before_a_tool_is_called_is_said_at_once(bank: Bank, calls: int) -> None:
    said: list[str] = []
    call = [ToolCall("call00001", "get_rate", {"product": "personal_loan"})] * calls
    llm = TellingLlm(
        [TextDelta("Let me see. One moment. "), TextDelta("Still. "), *call], [TextDelta("Done.")]
    )
    answered(bank, llm, said.append)
    assert said[:2] == ["Let me see.", "One moment."]

"""Hits of calls that are asked of the engine as well: with the same request, after the answer, redacted."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from serving.cache.protocol import Feedback, Signal
from serving.cache.same_answer import AnswerJudge
from serving.call.record import Decision
from serving.call.shadow import ShadowChecks, ShadowResult
from serving.call.toolbox import Toolbox
from serving.language.protocols import LlmEvent, LlmRequest, TextDelta
from serving.speech.protocols import EngineInfo
from tests.serving.call.phone import Bank, WordEmbedder, signer, toolbox


class Repeating:
    """Says what it was given; keeps what it was asked."""

    info = EngineInfo("repeating", "model", "")

    def __init__(self) -> None:
        self.requests: list[LlmRequest] = []

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        self.requests.append(request)
        yield TextDelta(request.knowledge[0])


class Watched:
    """Checks of every hit; `results` after `close`."""

    def __init__(self) -> None:
        self.told: list[Feedback] = []
        self.results: list[ShadowResult] = []
        self.done = threading.Event()
        self.checks = ShadowChecks(
            AnswerJudge(signer(), WordEmbedder()),
            share=1.0,
            key=b"sixteen bytes ok",
            tell=self.told.append,
            counted=self._counted,
        )

    def _counted(self, result: ShadowResult) -> None:
        self.results.append(result)
        self.done.set()


@pytest.fixture
def watched() -> Iterator[Watched]:
    found = Watched()
    yield found
    found.checks.close()


def with_checks(bank: Bank, watched: Watched, llm: Repeating | None = None) -> Toolbox:
    return replace(toolbox(bank.cache_folder, llm), shadow=watched.checks)


def known_question(bank: Bank) -> str:
    """A question of the approved answers that the keyword tagger knows."""
    box = toolbox(bank.cache_folder)
    asked = next(it.questions for it in box.knowledge.answers if it.intent == "branch_hours")
    return next(question for question in asked if "branch?" in question.lower())


def test_a_hit_is_asked_of_the_engine_as_if_there_were_no_cache(bank: Bank, watched: Watched) -> None:
    llm = Repeating()
    question = known_question(bank)
    turns = bank.typed("hello", question, box=with_checks(bank, watched, llm))
    assert turns[1].decision is Decision.CACHE_HIT
    assert turns[1].llm_engine == ""
    assert watched.done.wait(5.0)
    (request,) = llm.requests
    assert request.messages[-1].content == turns[1].text
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert request.tools == ()
    assert turns[1].cache is not None
    (told,) = watched.told
    assert (told.entry_id, told.signal) == (turns[1].cache.entry_id, Signal.SHADOW_AGREES)
    assert told.origin == f"call:{turns[1].call_id}:2"


def test_what_the_engine_is_asked_with_holds_nothing_personal(bank: Bank, watched: Watched) -> None:
    llm = Repeating()
    said = ("hello my card number is 4111 1111 1111 1111", known_question(bank))
    bank.typed(*said, box=with_checks(bank, watched, llm))
    assert watched.done.wait(5.0)
    assert "4111" not in repr(llm.requests)


def test_only_hits_are_checked(bank: Bank, watched: Watched) -> None:
    bank.typed("hello", "what is the weather", "bye", box=with_checks(bank, watched, Repeating()))
    watched.checks.close()
    assert watched.results == []
    assert watched.told == []


def test_without_an_engine_the_approved_answer_of_today_is_the_other_opinion(
    bank: Bank, watched: Watched
) -> None:
    bank.typed(known_question(bank), box=with_checks(bank, watched))
    assert watched.done.wait(5.0)
    assert watched.results == [ShadowResult.AGREES]

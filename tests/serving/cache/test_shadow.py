"""Shadow checks: never in a call's way, and what they find counts."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from loguru import logger

from serving.cache.protocol import Feedback, Signal
from serving.cache.same_answer import AnswerJudge
from serving.call.shadow import QUEUE, Hit, ShadowChecks, ShadowResult
from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta, ToolCall
from serving.speech.protocols import EngineInfo
from tests.serving.cache_world import FEE_ANSWER, SIGNER, WordEmbedder, entry

KEY = b"sixteen bytes ok"
WAIT_S = 5.0
REQUEST = LlmRequest((Message("user", "What does a wire transfer cost?"),), ())


@dataclass
class Engine:
    """Says what it is told to; `gate` holds it up, `events` come in between."""

    says: str | Exception = FEE_ANSWER
    name: str = "test"
    gate: threading.Event | None = None
    asked: int = 0
    reached: threading.Event = field(default_factory=threading.Event)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(self.name, "model", "")

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        self.asked += 1
        self.reached.set()
        if self.gate is not None:
            assert self.gate.wait(WAIT_S)
        if isinstance(self.says, Exception):
            raise self.says
        for word in self.says.split(" "):
            yield TextDelta(f"{word} ")


class Seen:
    """What the checks told; `wait` for a number of results."""

    def __init__(self, share: float = 1.0, **options: object) -> None:
        self.told: list[Feedback] = []
        self.results: list[ShadowResult] = []
        self._changed = threading.Condition()
        judge = AnswerJudge(SIGNER, WordEmbedder())
        options = {"tell": self.told.append} | options
        self.checks = ShadowChecks(judge, share=share, key=KEY, counted=self._counted, **options)  # type: ignore[arg-type]  # by name

    def _counted(self, result: ShadowResult) -> None:
        with self._changed:
            self.results.append(result)
            self._changed.notify_all()

    def wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, WAIT_S)

    def hit(self, engine: Engine, call: str = "a", index: int = 1) -> None:
        self.checks.offer(lambda: Hit(call, index, entry(), engine, REQUEST), call, index)


@pytest.fixture
def seen() -> Iterator[Seen]:
    found = Seen()
    yield found
    found.checks.close()


def test_an_answer_that_the_engine_repeats_agrees(seen: Seen) -> None:
    seen.hit(Engine())
    seen.wait(lambda: bool(seen.results))
    assert seen.results == [ShadowResult.AGREES]
    (told,) = seen.told
    assert (told.entry_id, told.signal, told.origin, told.actor) == (
        entry().id, Signal.SHADOW_AGREES, "call:a:1", "shadow",
    )  # fmt: skip


def test_an_answer_with_another_value_disagrees_and_the_note_quotes_nobody(seen: Seen) -> None:
    seen.hit(Engine("A wire transfer costs 30 dollars."))
    seen.wait(lambda: bool(seen.results))
    assert seen.results == [ShadowResult.DISAGREES]
    assert seen.told[0].signal is Signal.SHADOW_DISAGREES
    assert seen.told[0].note == "test: money: the values differ"


@pytest.mark.parametrize("says", [RuntimeError("quoting 4111 1111 1111 1111"), "", "x" * 3_000])
def test_an_engine_that_gives_no_answer_says_nothing_of_the_cache(seen: Seen, says: str | Exception) -> None:
    messages: list[str] = []
    logger.remove()
    logger.add(messages.append)
    seen.hit(Engine(says))
    seen.wait(lambda: bool(seen.results))
    seen.hit(Engine(), index=2)
    seen.wait(lambda: len(seen.results) == 2)
    assert seen.results == [ShadowResult.FAILED, ShadowResult.AGREES]
    assert len(seen.told) == 1
    logger.remove()
    assert len(messages) == 1
    assert "4111" not in messages[0].partition(" - ")[2]


def test_an_engine_that_calls_tools_gives_no_answer(seen: Seen) -> None:
    class Caller(Engine):
        def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
            yield ToolCall("abcdefghi", "get_rate", {})

    seen.hit(Caller())
    seen.wait(lambda: bool(seen.results))
    assert seen.results == [ShadowResult.FAILED]


def test_a_full_queue_drops_at_once_and_is_counted(seen: Seen) -> None:
    engine = Engine(gate=threading.Event())
    seen.hit(engine)
    assert engine.reached.wait(WAIT_S)
    for index in range(QUEUE + 3):
        seen.hit(engine, index=index + 2)  # returns, though nothing moves
    assert seen.results == [ShadowResult.DROPPED] * 3
    assert seen.checks.waiting() == QUEUE
    assert engine.gate is not None
    engine.gate.set()
    seen.wait(lambda: len(seen.results) == QUEUE + 4)
    assert seen.results.count(ShadowResult.AGREES) == QUEUE + 1


def test_making_a_hit_that_fails_costs_no_call(seen: Seen) -> None:
    def broken() -> Hit:
        raise ValueError("bug")

    seen.checks.offer(broken, "a", 1)
    assert seen.results == []


def test_feedback_that_cannot_be_stored_is_counted_all_the_same() -> None:
    def locked(_feedback: Feedback) -> None:
        raise OSError("disk full")

    seen = Seen(tell=locked)
    seen.hit(Engine())
    seen.wait(lambda: bool(seen.results))
    seen.checks.close()


def test_about_the_share_is_sampled_and_a_turn_always_alike() -> None:
    some, none, all_ = (Seen(share).checks for share in (0.02, 0.0, 1.0))
    turns = [(f"call-{call}", turn) for call in range(2_000) for turn in range(1, 6)]
    chosen = [turn for turn in turns if some.sampled(*turn)]
    assert 0.015 < len(chosen) / len(turns) < 0.025
    assert [turn for turn in turns if some.sampled(*turn)] == chosen
    assert not any(none.sampled(*turn) for turn in turns)
    assert all(all_.sampled(*turn) for turn in turns)


def test_closing_drops_what_waits_and_takes_nothing_more() -> None:
    seen = Seen()
    engine = Engine(gate=threading.Event())
    for index in range(4):
        seen.hit(engine, index=index)
    assert engine.reached.wait(WAIT_S)
    assert engine.gate is not None
    threading.Timer(0.05, engine.gate.set).start()
    seen.checks.close()
    assert seen.results == [ShadowResult.DROPPED] * 4
    seen.hit(engine, index=9)
    assert len(seen.results) == 4
    assert "shadow-checks" not in {thread.name for thread in threading.enumerate()}
    assert seen.told == []


def test_an_engine_that_gives_one_answer_at_a_time_is_the_callers_first(seen: Seen) -> None:
    engine = Engine(name="local")
    with seen.checks.answering():
        seen.hit(engine)
        assert not engine.reached.wait(0.1)
    seen.wait(lambda: bool(seen.results))
    assert seen.results == [ShadowResult.AGREES]


def test_a_caller_who_comes_meanwhile_ends_the_check(seen: Seen) -> None:
    engine = Engine(name="local", gate=threading.Event())
    seen.hit(engine)
    assert engine.reached.wait(WAIT_S)
    with seen.checks.answering():
        assert engine.gate is not None
        engine.gate.set()
        seen.wait(lambda: bool(seen.results))
    assert seen.results == [ShadowResult.DROPPED]
    assert seen.told == []

"""Tools that hang: others run, a write that waited in vain never runs, and the process can end."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from serving.errors import UnavailableError
from serving.language.protocols import ToolCall
from serving.tools import executor as module
from serving.tools.executor import DuplicateInFlightError, MemoryIdempotencyStore, ToolExecutor
from serving.tools.protocols import Effect, Tool, ToolContext, ToolResult
from serving.tools.schema import tool_schema

ROOT = Path(__file__).resolve().parents[2]
THREADS = 8
LATE_S = 0.05


class Bank:
    """Reads hang until they are let go; payments are counted, and hang where they are told to."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.reading = threading.Semaphore(0)
        self.paying = threading.Event()
        self.payment_hangs = False
        self.paid: list[int] = []

    def look(self) -> Mapping[str, Any]:
        """Look something up."""
        self.reading.release()
        assert self.let_go.wait(30)
        return {}

    def greet(self) -> Mapping[str, Any]:
        """Answer at once."""
        return {"said": "hello"}

    def pay(self, amount: int) -> Mapping[str, Any]:
        """Pay."""
        self.paying.set()
        if self.payment_hangs:
            assert self.let_go.wait(30)
        self.paid.append(amount)
        return {"paid": amount}

    def tools(self, *, slow_s: float = 20.0, pay_s: float = LATE_S) -> list[Tool]:
        return [
            Tool(tool_schema(self.look), self.look, Effect.READ, timeout_s=slow_s),
            Tool(tool_schema(self.greet), self.greet, Effect.READ, timeout_s=5.0),
            Tool(tool_schema(self.pay), self.pay, Effect.WRITE, timeout_s=pay_s),
        ]


class Watched(MemoryIdempotencyStore):
    """Keys that were claimed and have neither a result nor been given back."""

    @property
    def claimed(self) -> set[str]:
        return self._running


@pytest.fixture
def bank() -> Iterator[Bank]:
    made = Bank()
    yield made
    made.let_go.set()


def run(tools: ToolExecutor, name: str, *, turn: int = 3, **arguments: Any) -> ToolResult:
    return tools.execute(ToolCall("abcdefgh1", name, arguments), ToolContext("call", turn, turn))


def hang(tools: ToolExecutor, bank: Bank, pool: ThreadPoolExecutor) -> None:
    """Have every thread occupied by a read that is not given up yet."""
    for _ in range(THREADS):
        pool.submit(run, tools, "look")
    for _ in range(THREADS):
        assert bank.reading.acquire(timeout=10)


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1_000):
        if true():
            return
        waiting.wait(0.005)
    raise AssertionError("it did not happen")


def test_reads_that_hang_are_made_up_for_counted_and_no_longer_when_they_come_back(bank: Bank) -> None:
    tools = ToolExecutor(bank.tools(slow_s=LATE_S), timeout_s=5.0)
    with ThreadPoolExecutor(THREADS) as pool:
        late = [pool.submit(run, tools, "look") for _ in range(THREADS)]
    assert all("took longer than" in each.result().error for each in late)
    assert tools.hung == THREADS
    assert run(tools, "greet").value == {"said": "hello"}
    bank.let_go.set()
    until(lambda: tools.hung == 0)


def test_a_write_that_could_not_begin_in_time_is_never_done_and_may_be_asked_for_again(bank: Bank) -> None:
    writes = Watched()
    tools = ToolExecutor(bank.tools(), timeout_s=5.0, writes=writes)
    with ThreadPoolExecutor(THREADS) as pool:
        hang(tools, bank, pool)
        waited = run(tools, "pay", amount=5)
        bank.let_go.set()
    assert (waited.ok, waited.begun) == (False, False)
    assert waited.error == f"pay could not begin within {LATE_S:g} s."
    assert not writes.claimed
    tools.close()
    assert bank.paid == [], "the hang is over, and nobody waits for it any more"
    again = ToolExecutor(bank.tools(pay_s=5.0), timeout_s=5.0, writes=writes)
    assert run(again, "pay", amount=5).ok
    assert bank.paid == [5]


def test_a_write_that_began_is_done_once_however_long_it_takes(bank: Bank) -> None:
    bank.payment_hangs = True
    writes = Watched()
    tools = ToolExecutor(bank.tools(), timeout_s=5.0, writes=writes)
    late = run(tools, "pay", amount=5)
    assert (late.ok, late.begun) == (False, True)
    assert "took longer than" in late.error
    refused = run(tools, "pay", amount=5)
    assert (refused.ok, refused.begun) == (False, True), "it may have happened"
    assert tools.hung == 1
    bank.let_go.set()
    until(lambda: not writes.claimed)
    assert run(tools, "pay", amount=5).value == {"paid": 5}
    assert bank.paid == [5]


@pytest.mark.parametrize(("error", "begun"), [(UnavailableError, False), (DuplicateInFlightError, True)])
def test_a_key_that_was_not_had_says_whether_something_may_have_happened(
    bank: Bank, error: type[Exception], begun: bool
) -> None:
    class Refusing(MemoryIdempotencyStore):
        def begin(self, key: str) -> ToolResult | None:
            raise error("no")

    result = run(ToolExecutor(bank.tools(), timeout_s=5.0, writes=Refusing()), "pay", amount=5)
    assert (result.ok, result.begun) == (False, begun)
    assert bank.paid == []


def test_a_closed_executor_answers_that_nothing_was_begun(bank: Bank) -> None:
    writes = Watched()
    tools = ToolExecutor(bank.tools(), timeout_s=5.0, writes=writes)
    tools.close()
    assert not run(tools, "pay", amount=5).begun
    assert not writes.claimed


def test_closing_waits_for_a_write_that_runs(bank: Bank) -> None:
    bank.payment_hangs = True
    tools = ToolExecutor(bank.tools(pay_s=10.0), timeout_s=0.1)
    with ThreadPoolExecutor(1) as pool:
        paid = pool.submit(run, tools, "pay", amount=5)
        assert bank.paying.wait(10)
        threading.Timer(0.05, bank.let_go.set).start()
        tools.close()
        assert bank.paid == [5]
        assert paid.result().ok


def test_a_late_write_has_a_moment_to_be_stored_and_one_that_hangs_no_more_than_that(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.payment_hangs = True
    writes = Watched()
    tools = ToolExecutor(bank.tools(), timeout_s=0.1, writes=writes)
    assert "took longer than" in run(tools, "pay", amount=5).error
    monkeypatch.setattr(module, "_LAST_WORDS_S", 0.05)
    tools.close()
    assert bank.paid == []
    monkeypatch.setattr(module, "_LAST_WORDS_S", 10.0)
    threading.Timer(0.05, bank.let_go.set).start()
    tools.close()
    assert (bank.paid, writes.claimed) == ([5], set())


def test_a_tool_that_hangs_holds_up_neither_closing_nor_the_exit() -> None:
    code = """
import threading
from serving.language.protocols import ToolCall
from serving.tools.executor import ToolExecutor
from serving.tools.protocols import Effect, Tool, ToolContext
from serving.tools.schema import tool_schema
def look() -> dict:
    "Hang."
    threading.Event().wait()
tools = ToolExecutor([Tool(tool_schema(look), look, Effect.READ)], timeout_s=0.05)
assert not tools.execute(ToolCall("abcdefgh1", "look", {}), ToolContext("call", 1)).ok
tools.close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=20, check=True)


def test_the_threads_of_an_executor_that_nobody_closed_end_with_it(bank: Bank) -> None:
    tools = ToolExecutor(bank.tools(), timeout_s=5.0)
    before = {thread.ident for thread in threading.enumerate()}
    assert run(tools, "greet").ok
    own = [thread for thread in threading.enumerate() if thread.ident not in before]
    assert own
    del tools
    for thread in own:
        thread.join(10)
        assert not thread.is_alive()


def test_of_finished_writes_the_newest_are_remembered_and_running_ones_always() -> None:
    store = MemoryIdempotencyStore(remembered=3)
    store.begin("runs")
    for number in range(5):
        assert store.begin(str(number)) is None
        store.finish(str(number), ToolResult("pay", {}, {"n": number}, "", 0.0, Effect.WRITE))
    with pytest.raises(DuplicateInFlightError):
        store.begin("runs")
    told = [store.begin(str(number)) for number in (2, 3, 4)]
    assert [result.value["n"] for result in told if result] == [2, 3, 4]
    assert store.begin("0") is None, "forgotten"

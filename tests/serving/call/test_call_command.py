"""`start-call` for one call: lines of any length, and an end on record also when it is told to stop."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.call.caller import CallerLine
from serving.call.machine import Ending
from serving.call.session import CallSession
from serving.cli import start_call
from serving.services.stopping import KILLED_BY_SIGTERM, stopped_by_sigterm
from tests.serving.call.phone import Bank, LinesCaller, typed

LONG = 20_000_000


class CountingLines(io.StringIO):
    """Notes how much is asked for at a time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.asked: list[int | None] = []

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        self.asked.append(size)
        return super().readline(size)


def test_a_line_without_end_is_read_in_pieces_and_cut() -> None:
    source = CountingLines("x" * LONG + "\nnext\nlast")
    lines = list(start_call._typed_lines(source))
    assert [len(line) for line in lines] == [20_000, 5, 4]
    assert lines[1:] == ["next\n", "last"]
    assert set(source.asked) == {20_000}


@pytest.mark.parametrize("length", [19_998, 19_999, 20_000, 20_001, 40_000])
def test_the_line_behind_a_long_one_is_whole(length: int) -> None:
    lines = list(start_call._typed_lines(io.StringIO("x" * length + "\n\nnext\n")))
    assert [line.strip() for line in lines] == ["x" * min(length, 20_000), "", "next"]


def test_a_pasted_file_costs_a_moment_and_one_turn(bank: Bank) -> None:
    from serving.transports.files import TextCaller

    pasted = "my card is 4111 1111 1111 1111 and " * 20_000
    caller = TextCaller(start_call._typed_lines(io.StringIO(f"{pasted}\nhello\n")))
    record = bank.session().run(caller)
    assert len(record.turns) == 2
    assert "1111" not in record.turns[0].text


# --serve


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://[fe80::1]:8080/"])
def test_a_server_says_on_stderr_where_its_page_is(capsys: pytest.CaptureFixture[str], url: str) -> None:
    start_call._tell_page(url)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"Calls are taken; the page is at {url} (Ctrl-C ends).\n"


def test_the_command_hands_that_line_to_the_server(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(_settings: object, listening: Callable[[str], None]) -> None:
        listening("http://127.0.0.1:1/")

    monkeypatch.setenv("VOICEBOT_HOME", str(bank.settings.home))
    monkeypatch.setattr("serving.services.orchestrator.serve", serve)
    shown = CliRunner().invoke(start_call.app, ["--serve"], catch_exceptions=False)
    assert "http://127.0.0.1:1/" in shown.stderr
    assert shown.stdout == ""


def test_the_help_says_all_that_is_served() -> None:
    shown = " ".join(CliRunner().invoke(start_call.app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    for part in ("the page", "browsers and telephones", "typed calls over HTTP"):
        assert part in shown


# SIGTERM


@pytest.fixture
def one_call(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> list[CallSession]:
    """The command with a caller who is interrupted while he thinks of his second line."""
    sessions: list[CallSession] = []

    class FakeRuntime:
        choices = ()

        def open_call(self, *_arguments: object, **_options: object) -> CallSession:
            sessions.append(bank.session())
            return sessions[-1]

    @contextlib.contextmanager
    def runtime(*_arguments: object, **_options: object) -> Iterator[FakeRuntime]:
        yield FakeRuntime()

    def lines() -> Iterator[CallerLine]:
        yield from typed("hello")
        os.kill(os.getpid(), signal.SIGTERM)
        yield from typed("never said")

    def caller(*_arguments: object, **_options: object) -> Any:
        return LinesCaller(lines())

    # A stop that nobody catches would end the tests themselves.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    monkeypatch.setattr("serving.call.runtime.Runtime", runtime)
    monkeypatch.setattr(start_call, "_caller", caller)
    yield sessions  # type: ignore[misc]
    signal.signal(signal.SIGTERM, before)


def test_a_call_that_is_told_to_stop_is_ended_and_recorded(bank: Bank, one_call: list[CallSession]) -> None:
    with pytest.raises(SystemExit) as caught:
        start_call._one_call(bank.settings, [], "", typed=True, as_json=True)
    assert caught.value.code == KILLED_BY_SIGTERM == 143
    record = bank.store.call(one_call[0].call.call_id)
    assert record.ending is Ending.CALLER_LEFT
    assert record.ended_at is not None
    assert [turn.text for turn in record.turns] == ["hello"]


def test_a_second_signal_does_not_interrupt_what_the_first_one_set_off() -> None:
    before = signal.getsignal(signal.SIGTERM)
    closed: list[bool] = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            closed.append(True)

    with pytest.raises(SystemExit), stopped_by_sigterm():
        work()
    assert closed
    assert signal.getsignal(signal.SIGTERM) == before


def test_stopping_needs_nothing_heavy() -> None:
    code = (
        "import sys, serving.services.stopping; sys.exit(any(n in sys.modules for n in ('fastapi', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

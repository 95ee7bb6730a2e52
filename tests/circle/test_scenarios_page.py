"""Scenario testing in a real browser, on a trained installation: what it shows is what the records say."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from serving.call.caller import CallerLine, Feedback
from serving.call.expectations import expectations
from serving.call.machine import Ending
from serving.call.record import CallRecord, TurnRecord
from serving.call.script import ScriptTurn, load_script
from serving.call.store import CallStore
from serving.errors import RefusedError, UnavailableError
from serving.scenarios.calls import CallBroken, CallOver, Event, Greeted, LineDone, TurnSeen, TypedLines
from serving.scenarios.workbench import MOST_CALLS, Workbench
from serving.settings import Settings
from serving.transports.files import TextCaller
from tests.circle.fixtures import Circle
from tests.scenarios.browser import opened, served, skip_without_browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

AUDIO = """Array.from(document.querySelectorAll("audio")).map(
    sound => [sound.src.split(",")[0], sound.readyState, sound.duration, sound.error])"""
PLAY = """async () => {
    const sound = document.querySelector("audio");
    await sound.play();
    await new Promise(done => sound.addEventListener("timeupdate", done, {once: true}));
    return sound.currentTime;
}"""
COMMAND = ["-m", "serving.scenarios"]


def variables(settings: Settings) -> dict[str, str]:
    return {"VOICEBOT_HOME": str(settings.home), "VOICEBOT_MLRUNS": str(settings.mlruns)}


@pytest.fixture(scope="module")
def address(finished_circle: Circle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    skip_without_browser()
    folder = tmp_path_factory.mktemp("scenarios")
    with served(COMMAND, folder, variables(finished_circle.settings)) as server:
        yield server.address
    assert [item.name for item in folder.iterdir()] == ["server.log"]  # Chainlit's own files lie below home
    assert "Traceback" not in (folder / "server.log").read_text()


@pytest.fixture
def records(finished_circle: Circle) -> Iterator[CallStore]:
    store = CallStore(finished_circle.settings.records_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def bench(finished_circle: Circle) -> Iterator[Workbench]:
    opened_once = Workbench(lambda: finished_circle.settings)
    yield opened_once
    opened_once.close()


def run_demo(page: "Page", how: str) -> str:
    """Run the script demo; the text of the whole page at its end."""
    page.get_by_text("Or call yourself, and type:").wait_for(timeout=120_000)
    page.get_by_role("button", name="demo", exact=True).nth(0 if how == "spoken" else 1).click()
    page.get_by_text("cache hit rate").wait_for(timeout=180_000)
    page.get_by_text("Or call yourself, and type:").nth(1).wait_for()
    return str(page.inner_text("body"))


def shown_call(records: CallStore, shown: str) -> CallRecord:
    """The record of the call that the page's last summary names."""
    return records.call(re.findall(r"\b[0-9a-f]{32}\b", shown)[-1])


def verdict(judged: list[tuple[TurnRecord, ScriptTurn]]) -> str:
    """What the page says of a call that met everything."""
    count = sum(len(expectations(turn, line)) for turn, line in judged)
    return f"All expectations met: {count} of {count}."


def steps_shown(shown: str, name: str) -> list[str]:
    return re.findall(rf"^{name} - (.*)$", shown, flags=re.MULTILINE)


def test_a_spoken_script_shows_its_steps_its_sounds_and_its_expectations(
    address: str, records: CallStore, finished_circle: Circle
) -> None:
    with opened(address) as page:
        shown = run_demo(page, "spoken")
        call = shown_call(records, shown)
        assert (call.transport, call.script, call.ending) == ("script", "demo", Ending.COMPLETED)
        assert len(steps_shown(shown, "Speech-to-text - pocketsphinx")) == len(call.turns)
        assert [line.rpartition(" - ")[0] for line in steps_shown(shown, "Cache") if " ms" in line] == [
            f"{turn.cache.outcome} - {turn.cache.reason.replace('_', ' ')}"
            for turn in call.turns
            if turn.cache
        ]
        assert [line.rpartition(" - ")[0] for line in steps_shown(shown, "Tool")] == [
            tool.name for turn in call.turns for tool in turn.tools
        ]
        assert steps_shown(shown, "LLM - embedded")
        for turn in call.turns:
            assert turn.answer in shown
        script = load_script(finished_circle.settings.data / "calls", "demo")
        assert verdict(list(zip(call.turns, script.turns, strict=True))) in shown
        assert "UNMET" not in shown

        page.get_by_text("Tool - calculate_payment").click()
        page.get_by_text('"monthly_payment": "395.93"').wait_for()

        sounds = page.evaluate(AUDIO)
        assert len(sounds) == 1 + 2 * len(call.turns)  # the greeting, and both sides of every turn
        for kind, ready, seconds, error in sounds:
            assert (kind, error) == ("data:audio/wav;base64", None)
            assert ready >= 1
            assert seconds > 1
        assert page.evaluate(PLAY) > 0


def test_a_typed_script_has_the_bots_voice_only_and_leaves_noise_unjudged(
    address: str, records: CallStore, finished_circle: Circle
) -> None:
    with opened(address) as page:
        shown = run_demo(page, "typed")
        call = shown_call(records, shown)
        assert call.transport == "script-text"
        assert {turn.stt_engine for turn in call.turns} == {"typed"}
        assert not steps_shown(shown, "Speech-to-text")
        script = load_script(finished_circle.settings.data / "calls", "demo")
        clean = [pair for pair in zip(call.turns, script.turns, strict=True) if pair[1].noise_snr_db is None]
        (noisy,) = [i for i, line in enumerate(script.turns, start=1) if line.noise_snr_db is not None]
        assert f"{verdict(clean)} Line {noisy} not judged: its noise cannot be typed." in shown
        assert len(page.evaluate(AUDIO)) == 1 + len(call.turns)


def test_free_turns_are_shown_redacted_and_a_closed_page_hangs_up(address: str, records: CallStore) -> None:
    with opened(address) as page:
        page.get_by_text("Or call yourself, and type:").wait_for(timeout=120_000)
        page.get_by_role("button", name="Call the bot").click()
        page.get_by_role("button", name="Hang up").wait_for()
        for number, words in enumerate(
            ("my card number is 4111 1111 1111 1111", "![x](http://evil.example/)"), 1
        ):
            page.locator("#chat-input").click()
            page.keyboard.type(words)
            page.keyboard.press("Enter")
            page.get_by_text(f"bot, turn {number}").wait_for()
        page.get_by_text("my card number is <card>").wait_for()
        # Not only what is to be read; four figures alone are in many a random name of an element, too.
        assert "4111" not in page.inner_text("body")
        assert not re.search(r"4111\W*1111", page.content())
        assert page.locator("img[src*=evil]").count() == 0
    last = wait_for_end(records)
    assert (last.transport, last.ending, len(last.turns)) == ("text", Ending.CALLER_LEFT, 2)


def test_a_stopped_server_records_the_call_in_progress(
    finished_circle: Circle, records: CallStore, tmp_path: Path
) -> None:
    skip_without_browser()
    with (
        served(COMMAND, tmp_path, variables(finished_circle.settings)) as server,
        opened(server.address) as page,
    ):
        page.get_by_role("button", name="Call the bot").click(timeout=120_000)
        page.get_by_role("button", name="Hang up").wait_for()
        begun = records.calls()[-1]
        assert begun.ending is None
        server.stop()
        assert records.call(begun.call_id).ending is Ending.CALLER_LEFT


def wait_for_end(records: CallStore) -> CallRecord:
    """The latest call, once the server has ended it."""
    until = time.monotonic() + 30
    while (last := records.calls()[-1]).ending is None and time.monotonic() < until:
        time.sleep(0.05)  # another process ends the call
    return last


# Without a browser: the calls behind the page


def events_until_end(events: "Queue[Event]") -> list[Event]:
    told = [events.get(timeout=60)]
    while not isinstance(told[-1], CallOver | CallBroken):
        told.append(events.get(timeout=60))
    return told


def test_a_call_tells_its_greeting_then_each_turn_then_that_the_line_is_done(bench: Workbench) -> None:
    events: Queue[Event] = Queue()
    lines = TypedLines()
    lines.add("What is the weather going to be tonight")
    lines.end()
    bench.call(TextCaller(lines), events.put, end_input=lines.end)
    told = events_until_end(events)
    assert [type(event) for event in told] == [Greeted, TurnSeen, LineDone, CallOver]
    greeting, turn = told[0], told[1]
    assert isinstance(greeting, Greeted)
    assert isinstance(turn, TurnSeen)
    assert greeting.sound is not None
    assert turn.bot is not None
    assert turn.bot.seconds == pytest.approx(turn.turn.reply_s, abs=0.01)


def test_hanging_up_ends_a_script_after_the_turn_in_progress(bench: Workbench) -> None:
    events: Queue[Event] = Queue()
    script = bench.script("demo")
    call = bench.call(bench.caller(script, spoken=True), events.put, script=script.id)
    call.hang_up()
    over = events_until_end(events)[-1]
    assert isinstance(over, CallOver)
    assert len(over.call.turns) < len(script.turns)
    assert over.call.ending is Ending.CALLER_LEFT
    assert over.call.survey is None
    assert call.wait(10)


class _Breaks:
    transport = "text"
    feedback = Feedback()

    def __init__(self, error: Exception) -> None:
        self._error = error

    def next_line(self) -> CallerLine | None:
        raise self._error


@pytest.mark.parametrize("error", [RefusedError("no more lines"), KeyError("4111 1111 1111 1111")])
def test_a_caller_who_breaks_ends_the_call_and_is_told_without_his_words(
    bench: Workbench, error: Exception
) -> None:
    events: Queue[Event] = Queue()
    bench.call(_Breaks(error), events.put)
    broken = events_until_end(events)[-1]
    assert isinstance(broken, CallBroken)
    assert broken.call.ending is Ending.CALLER_LEFT
    assert "4111" not in str(broken.error)


def test_one_call_too_many_is_refused_and_room_is_made_when_one_ends(bench: Workbench) -> None:
    waiting = [TypedLines() for _ in range(MOST_CALLS)]
    events: Queue[Event] = Queue()
    calls = [bench.call(TextCaller(lines), events.put, end_input=lines.end) for lines in waiting]
    with pytest.raises(UnavailableError, match="10 calls are in progress"):
        bench.call(TextCaller([]), events.put)
    calls[0].hang_up()
    assert calls[0].wait(60)
    assert bench.call(TextCaller([]), events.put).wait(60)
    for call in calls:
        call.hang_up()
    assert all(call.wait(60) for call in calls)


def test_typed_lines_end_when_nobody_types_any_more() -> None:
    lines = TypedLines(idle_s=0.01)
    lines.add("hello")
    assert list(lines) == ["hello"]

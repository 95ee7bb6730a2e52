"""When something is missing, the page says what and what to do, and whatever still works goes on."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.page.browsers import Launch
from tests.page.conftest import Open
from tests.page.loopback import PAGE, Loopback
from tests.page.records import HIT, sent

if TYPE_CHECKING:
    from playwright.sync_api import Page


def notice(page: "Page", what: str) -> str:
    page.wait_for_selector(f"#notice-what:text-is('{what}')")
    return str(page.inner_text("#notice-advice"))


def test_without_the_microphone_typing_works(server: Loopback, open_page: Open, chromium: Launch) -> None:
    page = open_page(chromium("--use-fake-ui-for-media-stream=deny"))
    page.click("#start-talk")
    server.take_call()
    assert "You can type instead." in notice(page, "The microphone is not allowed.")
    assert page.is_disabled("#mute")
    page.fill("#words", "hello")
    page.press("#words", "Enter")
    server.wait(lambda: server.sent("text"), "the text")
    assert not server.sounds
    page.click("#notice-close")
    assert page.is_hidden("#notice")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "The microphone cannot be opened."),
        ("OverconstrainedError", "The microphone does not work."),
    ],
)
def test_each_trouble_with_the_microphone_has_words_of_its_own(
    server: Loopback, open_page: Open, name: str, what: str
) -> None:
    page = open_page()
    page.evaluate(
        """(name) => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", name));
        }""",
        name,
    )
    page.click("#start-talk")
    server.take_call()
    assert "You can type instead" in notice(page, what)


def test_while_the_browser_asks_for_the_microphone_one_can_go_on_typing(
    server: Loopback, open_page: Open
) -> None:
    page = open_page()
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }")
    page.click("#start-talk")
    notice(page, "The browser asks for the microphone.")
    assert not server.events
    page.click("#notice-do")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    assert page.is_hidden("#notice")
    assert len(server.sent("start")) == 1


def test_a_full_server_is_told_and_the_next_call_can_be_tried_at_once(
    server: Loopback, open_page: Open
) -> None:
    server.refusal = {
        "event": "error",
        "error": "All 50 lines are busy.",
        "advice": "Call again in a minute.",
    }
    page = open_page()
    page.click("#start-type")
    assert notice(page, "All 50 lines are busy.") == "Call again in a minute."
    page.wait_for_selector("#start:visible")
    server.refusal = None
    server.events.clear()
    page.click("#start-type")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    assert page.is_hidden("#notice")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (1006, "The connection to the server was lost."),
        (1011, "The connection to the server was lost."),
        (1012, "The server is restarting."),
        (1013, "The server is busy."),
    ],
)
def test_a_lost_connection_ends_the_call_and_keeps_the_transcript(
    server: Loopback, open_page: Open, code: int, what: str
) -> None:
    page = open_page()
    page.click("#start-talk")
    server.take_call()
    server.tell("turn", turn=sent(HIT))
    page.locator(".turn[data-turn='1'] .figures").wait_for()
    server.close(1000 if code == 1006 else code)
    assert "call" in notice(page, what) or code == 1013
    assert page.inner_text("#over-title") == "Call lost"
    assert page.inner_text("#phase-text") == "Call ended"
    assert page.is_hidden("#dock")
    assert page.locator(".turn[data-turn='1']").is_visible()
    assert page.evaluate("tapped.context.state") == "closed"
    page.click("#again")
    assert page.is_visible("#start")


def test_a_server_that_is_not_there_is_told(server: Loopback, open_page: Open) -> None:
    page = open_page(expected="WebSocket connection")
    page.evaluate("""() => {
      const Socket = WebSocket;
      window.WebSocket = class extends Socket { constructor() { super(`ws://${location.host}/nowhere`); } };
    }""")
    page.click("#start-type")
    assert "Check that it runs" in notice(page, "The server cannot be reached.")
    assert page.is_visible("#start")


def test_an_error_during_the_call_is_shown_and_the_call_goes_on(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.click("#start-type")
    server.take_call()
    server.tell("error", error="The text is too long.", advice="Type a shorter one.")
    assert notice(page, "The text is too long.") == "Type a shorter one."
    server.tell("turn", turn=sent(HIT))
    page.locator(".turn[data-turn='1'] .figures").wait_for()
    assert page.get_attribute("body", "data-line") == "live"


def test_hanging_up_stops_the_sound_at_once_and_does_not_wait_for_the_server_for_ever(
    server: Loopback, open_page: Open
) -> None:
    page = open_page()
    page.click("#start-talk")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    page.click("#hang-up")
    server.wait(lambda: server.sent("stop"), "stop")
    count = len(server.sounds)
    page.wait_for_selector("#over:visible")
    assert page.inner_text("#over-title") == "Call ended"
    assert len(server.sounds) <= count + 2


@pytest.mark.parametrize(
    ("ending", "transfer", "title"),
    [
        ("completed", False, "Call completed"),
        ("transferred", True, "Passed on to a person"),
        ("caller_left", False, "You hung up"),
        ("something_new", False, "Call ended"),
    ],
)
def test_the_end_of_the_call_is_told(
    server: Loopback, open_page: Open, ending: str, transfer: bool, title: str
) -> None:
    page = open_page()
    page.click("#start-type")
    server.take_call()
    server.tell("turn", turn=sent(HIT))
    server.tell("ended", ending=ending, transfer=transfer)
    page.wait_for_selector("#over:visible")
    assert page.inner_text("#over-title") == title
    assert page.inner_text("#over-text").endswith("1 turn, median wait 800 ms.")
    assert ("person’s desk" in page.inner_text("#over-text")) is transfer


def test_on_an_insecure_address_marks_still_come_back_in_time(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.evaluate("() => Object.defineProperty(window, 'isSecureContext', { value: false })")
    page.click("#start-talk")
    server.take_call()
    assert "https" in notice(
        page, "This address is not secure, so the browser allows neither microphone nor sound."
    )
    server.play(np.zeros(1_600, np.int16))
    server.tell("mark", name="1:0")
    server.wait(lambda: server.sent("mark"), "the mark")


def test_a_browser_without_worklets_gives_a_call_without_sound(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        "() => { AudioWorklet.prototype.addModule = () => Promise.reject(new Error('no modules')); }"
    )
    page.click("#start-type")
    server.take_call()
    assert "no modules" in notice(page, "This browser gives the call no sound.")
    page.wait_for_selector("body[data-line=live]")


def test_the_caller_id_goes_with_the_start(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.fill("#caller", " +1 555 0100 ")
    page.click("#start-type")
    server.take_call()
    assert server.sent("start") == [{"event": "start", "caller_id": "+1 555 0100"}]


def test_the_page_has_no_inline_code_and_names_no_other_host() -> None:
    for path in PAGE.iterdir():
        text = path.read_text()
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path.name
        assert "https://" not in text, path.name
        assert "innerHTML" not in text, path.name
    page = (PAGE / "index.html").read_text()
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick" not in page
    assert "<script>" not in page

"""Both looks can be read, the keyboard alone is enough, and a narrow screen shows everything."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.page.conftest import Open
from tests.page.loopback import Loopback
from tests.page.records import FAILED, HIT, QUOTE, sent

if TYPE_CHECKING:
    from playwright.sync_api import Page

CONTRAST = (Path(__file__).parent / "measures.js").read_text()
AA = 4.5


def full_call(server: Loopback, page: "Page") -> None:
    """A call in which everything is on the screen that can be."""
    server.take_call()
    server.tell("say", turn=0, text="Hello.")
    for record in (HIT, QUOTE, FAILED):
        server.tell("turn", turn=sent(record))
    stages = (
        "end_of_turn",
        "stt",
        "parse",
        "intent",
        "redact",
        "cache",
        "reply",
        "llm",
        "tool",
        "tts",
        "playout",
        "new",
    )
    server.tell("turn", turn=sent(HIT, index=4, stages=dict.fromkeys(stages, 0.1), disclosures=("kyc@3",)))
    server.tell("partial", turn=5, text="and then")
    server.tell("error", error="Something is wrong.", advice="Do something.")
    page.wait_for_selector(".partial")


@pytest.mark.parametrize("look", ["light", "dark"])
def test_all_text_and_marks_have_aa_contrast(server: Loopback, open_page: Open, look: str) -> None:
    page = open_page(color_scheme=look)
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(246, 246, 243)",
            "dark": "rgb(16, 20, 23)",
        }[look]
    )
    start = page.evaluate(CONTRAST)
    page.click("#start-type")
    full_call(server, page)
    page.click("#keypad-open")
    in_call = page.evaluate(CONTRAST)
    assert len(start) > 10
    assert len(in_call) > 100
    assert [found for found in start + in_call if found[0] < AA] == []


def test_the_look_follows_the_system_until_it_is_chosen_and_is_remembered(open_page: Open) -> None:
    page = open_page(color_scheme="dark")

    def ground() -> Any:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = ground()
    assert page.get_attribute("#look", "aria-pressed") == "true"
    page.emulate_media(color_scheme="light")
    light = ground()
    assert light != dark
    page.click("#look")
    assert ground() == dark
    page.reload()
    assert ground() == dark
    assert page.get_attribute("#look", "aria-pressed") == "true"
    page.click("#look")
    page.emulate_media(color_scheme="dark")
    assert ground() == light


def focus(page: "Page") -> str:
    """The id of what has the focus, which must be seen."""
    found = page.evaluate(
        """() => {
          const at = document.activeElement;
          const style = getComputedStyle(at);
          const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
          return { id: at.id, seen: outlined || at.matches(".skip, body") };
        }"""
    )
    assert found["seen"], f"the focus on {found['id']!r} cannot be seen"
    return str(found["id"])


def tab_to(page: "Page", wanted: str) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if focus(page) == wanted:
            return
    raise AssertionError(f"Tab never comes to {wanted}")


def test_a_whole_call_works_by_keyboard_alone_with_the_focus_always_visible(
    server: Loopback, open_page: Open
) -> None:
    page = open_page()
    tab_to(page, "start-talk")
    page.keyboard.press("Enter")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    assert focus(page) == "words"
    page.keyboard.type("hello there")
    page.keyboard.press("Enter")
    server.wait(lambda: server.sent("text"), "the text")
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    page.wait_for_selector("#mute[aria-pressed=true]")
    page.keyboard.press("Space")
    page.wait_for_selector("#mute[aria-pressed=false]")
    tab_to(page, "turns")
    tab_to(page, "keypad-open")
    page.keyboard.press("Enter")
    assert page.get_attribute("#keypad-open", "aria-expanded") == "true"
    page.keyboard.type("19*0#")
    server.wait(lambda: len(server.sent("dtmf")) == 5, "five digits")
    assert [event["digit"] for event in server.sent("dtmf")] == list("19*0#")
    assert page.inner_text("#pressed") == "•" * 5
    page.keyboard.press("Escape")
    assert page.is_hidden("#keypad")
    assert focus(page) == "keypad-open"
    tab_to(page, "hang-up")
    page.keyboard.press("Enter")
    server.wait(lambda: server.sent("stop"), "stop")
    server.tell("ended", ending="caller_left", transfer=False)
    page.wait_for_selector("#over:visible")
    tab_to(page, "again")
    page.keyboard.press("Enter")
    assert focus(page) == "start-talk"


def test_the_keys_are_explained_on_the_page_in_a_window_that_the_keyboard_closes(open_page: Open) -> None:
    page = open_page()
    tab_to(page, "keys-help")
    for closing in ("Escape", "Enter"):
        page.keyboard.press("Enter")
        page.wait_for_selector("#help[open]")
        assert "mute or unmute" in page.inner_text("#help")
        assert focus(page) == "help-close"
        page.keyboard.press(closing)
        assert page.locator("#help[open]").count() == 0
        assert focus(page) == "keys-help"


def test_space_types_a_space_in_the_field_and_presses_the_button_that_has_the_focus(
    server: Loopback, open_page: Open
) -> None:
    page = open_page()
    page.click("#start-talk")
    server.take_call()
    page.wait_for_selector("body[data-line=live]")
    page.focus("#words")
    page.keyboard.type("a b")
    assert page.input_value("#words") == "a b"
    page.focus("#figures")
    page.keyboard.press("Space")
    assert page.get_attribute("#figures", "aria-pressed") == "false"
    assert page.get_attribute("#mute", "aria-pressed") == "false"


@pytest.mark.parametrize("width", [320, 400, 768, 1_280, 2_000])
def test_no_width_needs_sideways_scrolling(server: Loopback, open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    wide = "Math.max(document.documentElement.scrollWidth, document.querySelector('main').scrollWidth)"
    assert page.evaluate(wide) <= width
    page.click("#start-type")
    full_call(server, page)
    server.tell("turn", turn=sent(HIT, index=6, text="w" * 400, answer="v" * 400, spoken="v" * 400))
    page.locator(".turn[data-turn='6'] .figures").wait_for()
    assert page.evaluate(wide) <= width
    for button in ("#mute", "#keypad-open", "#hang-up", "#look"):
        box = page.locator(button).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_every_control_has_a_name_and_an_id_is_used_once(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.click("#start-type")
    full_call(server, page)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input")]
          .filter((item) => item.checkVisibility())
          .filter((item) => !item.textContent.trim() && !item.ariaLabel && !item.labels?.length)
          .map((item) => item.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((item) => item.id)")
    assert len(ids) == len(set(ids))


def test_less_motion_means_no_transitions(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")]
          .map((item) => getComputedStyle(item).transitionDuration)
          .filter((duration) => parseFloat(duration) > 0)"""
    )
    assert moving == []


def test_figures_can_be_put_away(server: Loopback, open_page: Open) -> None:
    page = open_page()
    page.click("#start-type")
    full_call(server, page)
    assert page.locator(".figures:visible").count() == 4
    page.click("#figures")
    assert page.locator(".figures:visible").count() == 0

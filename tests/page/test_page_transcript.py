"""What the page shows of a call: words as they come, then the turn with its figures, and only as text."""

from typing import TYPE_CHECKING

import pytest

from tests.page.conftest import Open
from tests.page.loopback import Loopback
from tests.page.records import FAILED, HIT, QUOTE, sent

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


@pytest.fixture
def page(server: Loopback, open_page: Open) -> "Page":
    """The page in a call that is typed."""
    opened = open_page(viewport={"width": 1280, "height": 900})
    opened.click("#start-type")
    server.take_call()
    opened.wait_for_selector("body[data-line=live]")
    return opened


def turn(page: "Page", index: int) -> "Locator":
    return page.locator(f".turn[data-turn='{index}']")


def text(where: "Locator", selector: str) -> str:
    return " ".join(where.locator(selector).first.inner_text().split())


def row(where: "Locator", name: str) -> str:
    return " ".join(
        where.locator(".row", has=where.page.locator(f".name:text-is('{name}')")).inner_text().split()
    )


def test_words_grow_in_grey_and_become_the_turn(server: Loopback, page: "Page") -> None:
    server.tell("say", turn=0, text="Hello.")
    server.phase("hearing", 1)
    server.tell("partial", turn=1, text="can i pay")
    server.tell("partial", turn=1, text="can i pay off my")
    page.wait_for_selector(".partial:text-is('can i pay off my')")
    soft = page.evaluate("getComputedStyle(document.querySelector('.partial')).color")
    assert soft == page.evaluate("getComputedStyle(document.querySelector('.lead')).color")
    server.tell("say", turn=1, text="You can pay off a personal loan at any time.")
    server.tell("turn", turn=sent(HIT))
    turn(page, 1).locator(".figures").wait_for()
    assert page.locator(".partial").count() == 0
    assert text(turn(page, 0), ".bot .what") == "Hello."
    assert text(turn(page, 1), ".you .what") == HIT.text
    assert text(turn(page, 1), ".bot .what") == HIT.answer


def test_a_turn_shows_intent_cache_decision_adapter_and_engines(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(HIT))
    shown = turn(page, 1)
    shown.locator(".figures").wait_for()
    assert row(shown, "Intent") == "Intent loan_early_repayment 0.97 banking-lora v3"
    assert row(shown, "Cache") == "Cache hit semantic cos 0.913"
    assert row(shown, "By") == "By whisper turbo confidence 0.93"
    assert text(shown, ".decision") == "cache hit"
    facts = {name: page.inner_text(f"#fact-{name}") for name in ("adapter", "stt", "llm", "tts", "call")}
    assert facts == {
        "adapter": "banking-lora v3",
        "stt": "whisper turbo",
        "llm": "embedded responder",
        "tts": "kokoro",
        "call": "c-7f3a",
    }


def test_a_tool_shows_its_arguments_and_its_result_or_why_it_failed(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(QUOTE))
    server.tell("turn", turn=sent(FAILED))
    turn(page, 3).locator(".figures").wait_for()
    assert row(turn(page, 2), "Tool") == (
        "Tool calculate_payment ok 41 ms with principal 20000 months 60 "
        'gave payment 395.93 schedule [{"month":1}]'
    )
    assert row(turn(page, 3), "Tool") == "Tool block_card failed 5.00 s with card <card> no answer in 5 s"
    assert row(turn(page, 3), "Error") == "Error tool block_card: time-out"
    assert row(turn(page, 3), "Cache") == "Cache miss no entry with this signature cos 0.612"


def test_the_bars_of_all_turns_share_a_scale_and_add_up_to_the_wait(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(HIT))
    server.tell("turn", turn=sent(QUOTE))
    turn(page, 2).locator(".figures").wait_for()
    for record in (HIT, QUOTE):
        widths = page.evaluate(
            """(selector) => {
              const bar = document.querySelector(selector);
              return [bar, ...bar.children].map((part) => part.getBoundingClientRect().width);
            }""",
            f".turn[data-turn='{record.index}'] .bar",
        )
        assert record.voice_to_voice_s is not None
        assert sum(widths[1:]) / widths[0] == pytest.approx(record.voice_to_voice_s / 1.2, abs=0.005)
        shares = [width / sum(widths[1:]) for width in widths[1:]]
        assert shares == pytest.approx(
            [s / record.voice_to_voice_s for s in record.stages.values()], abs=0.005
        )
    assert text(turn(page, 1), ".wait").endswith("800 ms")
    assert text(turn(page, 2), ".wait").endswith("1.20 s")
    assert text(turn(page, 1), ".stages") == "End of turn 400 ms Recognition 200 ms Cache 50 ms Voice 150 ms"
    assert page.locator(".waits .bad").count() == 0
    assert page.inner_text("#fact-wait") == "1.00 s"
    assert page.inner_text("#fact-hits") == "1 of 1"


def test_stages_that_do_not_add_up_are_called_so(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(HIT, voice_to_voice_s=0.9))
    turn(page, 1).locator(".figures").wait_for()
    assert text(turn(page, 1), ".waits .bad") == "The stages add up to 800 ms, not to the wait."


def test_an_interrupted_answer_shows_what_was_heard_and_what_was_not(server: Loopback, page: "Page") -> None:
    server.tell("say", turn=2, text="The monthly payment is 395.93.")
    server.tell("clear")
    page.wait_for_selector(".bot .badge:text-is('interrupted')")
    server.tell("turn", turn=sent(QUOTE, barge_in_s=0.61, resumed=1))
    turn(page, 2).locator(".figures").wait_for()
    assert text(turn(page, 2), ".heard") == "The monthly payment is 395.93."
    assert text(turn(page, 2), ".unheard") == "not heard: Would you like a plan?"
    assert row(turn(page, 2), "Barge-in") == (
        "Barge-in silent 610 ms after the caller’s first sound held for a sound that was no interruption: 1 ×"
    )
    assert page.inner_text("#fact-turns") == "1, 1 interrupted"


def test_an_answer_of_which_nothing_was_heard_is_all_struck_out(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(QUOTE, spoken=""))
    turn(page, 2).locator(".figures").wait_for()
    assert text(turn(page, 2), ".unheard").endswith(QUOTE.answer)
    assert text(turn(page, 2), ".bot .badge") == "not heard"


def test_html_in_whatever_was_said_stays_text(server: Loopback, page: "Page") -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    server.tell("partial", turn=1, text=evil)
    server.tell("say", turn=1, text=evil)
    server.tell(
        "turn", turn=sent(QUOTE, index=1, text=evil, answer=evil, spoken=evil, intent=evil, error=evil)
    )
    server.tell("error", error=evil, advice=evil)
    turn(page, 1).locator(".figures").wait_for()
    assert text(turn(page, 1), ".you .what") == evil
    assert page.locator("#main img, #main script, #told img, #told script").count() == 0


def test_what_was_typed_waits_in_grey_until_the_server_has_taken_it(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(HIT))
    page.fill("#words", "  my card is 4929 1234  ")
    page.press("#words", "Enter")
    server.wait(lambda: server.sent("text"), "the text")
    assert server.sent("text")[0]["text"] == "my card is 4929 1234"
    assert text(page.locator(".pending"), ".partial") == "my card is 4929 1234"
    server.tell("turn", turn=sent(HIT, spoken=""))  # an earlier turn, finalised again, takes nothing away
    assert page.input_value("#words") == ""
    server.tell("turn", turn=sent(FAILED, index=2, text="my card is <card>"))
    turn(page, 2).locator(".figures").wait_for()
    assert page.locator(".pending").count() == 0
    assert "4929" not in page.inner_text("body")


def test_what_was_typed_stands_above_the_answer_to_it(server: Loopback, page: "Page") -> None:
    page.fill("#words", "hello")
    page.press("#words", "Enter")
    page.wait_for_selector(".pending")
    server.phase("answering", 1)
    server.phase("speaking", 1)
    server.tell("say", turn=1, text="Good morning.")
    turn(page, 1).locator(".bot").wait_for()
    assert turn(page, 1).inner_text().split() == ["You", "hello", "Bot", "Good", "morning."]
    assert page.locator(".pending").count() == 0


def test_what_is_typed_before_the_call_is_taken_is_sent_once_it_is(server: Loopback, open_page: Open) -> None:
    early = open_page()
    early.click("#start-type")
    early.fill("#words", "hello")
    early.press("#words", "Enter")
    assert text(early.locator(".pending"), ".partial") == "hello"
    server.wait(lambda: server.sent("start"), "start")
    assert not server.sent("text")
    server.take_call()
    server.wait(lambda: server.sent("text"), "the text")
    assert [event["event"] for event in server.events] == ["start", "text"]


def test_words_over_the_answer_are_not_taken_for_the_question(server: Loopback, page: "Page") -> None:
    server.phase("hearing", 1)
    server.tell("partial", turn=1, text="my question")
    server.phase("speaking", 1)
    server.tell("say", turn=1, text="A long answer.")
    server.tell("partial", turn=1, text="no wait")
    page.wait_for_selector(".pending .partial:text-is('no wait')")
    assert text(turn(page, 1), ".you .what") == "my question"
    server.tell("clear")
    server.tell(
        "turn", turn=sent(HIT, text="my question", answer="A long answer.", spoken="A", interrupted=True)
    )
    server.phase("hearing", 2)
    server.tell("partial", turn=2, text="no wait please")
    turn(page, 2).wait_for()
    assert page.locator(".pending").count() == 0
    assert text(turn(page, 1), ".unheard") == "not heard: long answer."
    assert text(turn(page, 2), ".you .what") == "no wait please"


def test_an_answer_that_was_spoken_in_other_words_than_written_still_shows_where_it_was_cut(
    server: Loopback, page: "Page"
) -> None:
    server.tell("say", turn=1, text="It is twenty dollars.")
    server.tell("say", turn=1, text="Is that right?")
    server.tell(
        "turn", turn=sent(HIT, answer="It is $20. Is that right?", spoken="It is twenty", interrupted=True)
    )
    turn(page, 1).locator(".figures").wait_for()
    assert text(turn(page, 1), ".heard") == "It is twenty"
    assert text(turn(page, 1), ".unheard") == "not heard: dollars. Is that right?"
    server.tell("turn", turn=sent(HIT, index=2, answer="It is $20.", spoken="It is twenty", interrupted=True))
    turn(page, 2).locator(".figures").wait_for()
    assert text(turn(page, 2), ".bot .what") == "It is twenty cut off here of: It is $20."


def test_a_sentence_after_the_turn_was_finalised_is_shown_too(server: Loopback, page: "Page") -> None:
    server.tell("turn", turn=sent(HIT))
    server.tell("say", turn=1, text="Are you still there?")
    page.wait_for_selector("text=Are you still there?")
    assert turn(page, 1).locator(".bot").count() == 2


def test_a_turn_without_sound_words_or_figures_is_shown_without_inventing_any(
    server: Loopback, page: "Page"
) -> None:
    bare = sent(HIT, text="", answer="", spoken="", intent="", cache=None, stages={}, voice_to_voice_s=None)
    server.tell("turn", turn=bare)
    turn(page, 1).locator(".figures").wait_for()
    assert text(turn(page, 1), ".wait").endswith("no sound")
    assert text(turn(page, 1), ".you .what") == "nothing that could be understood"
    assert turn(page, 1).locator(".bot, .bar").count() == 0


def test_messages_that_make_no_sense_change_nothing(server: Loopback, page: "Page") -> None:
    for junk in (
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"event": 7}',
        '{"event": "surprise"}',
        '{"event": "turn"}',
    ):
        server.raw(junk)
    server.tell("state", phase="listening", turn="many")
    server.tell("turn", turn=sent(HIT))
    turn(page, 1).locator(".figures").wait_for()
    assert page.locator(".turn").count() == 1


def test_the_phase_of_the_call_is_told_in_words(server: Loopback, page: "Page") -> None:
    for phase, words in (("hearing", "Hearing you"), ("answering", "Thinking"), ("speaking", "Speaking")):
        server.phase(phase, 1)
        page.wait_for_selector(f"#phase-text:text-is('{words}')")


def test_words_are_read_out_and_figures_are_not(server: Loopback, page: "Page") -> None:
    server.tell("say", turn=1, text=HIT.answer)
    server.tell("turn", turn=sent(HIT))
    turn(page, 1).locator(".figures").wait_for()
    told = page.locator("#told[aria-live=polite] p").all_inner_texts()
    assert told == ["The call has begun.", f"Bot: {HIT.answer}", f"You: {HIT.text}"]


def test_the_newest_turn_is_followed_unless_the_reader_has_gone_back(server: Loopback, page: "Page") -> None:
    def at_end() -> bool:
        return bool(
            page.evaluate(
                "(m => m.scrollHeight - m.scrollTop - m.clientHeight < 2)(document.querySelector('main'))"
            )
        )

    for index in range(1, 6):
        server.tell("turn", turn=sent(QUOTE, index=index))
    turn(page, 5).locator(".figures").wait_for()
    assert at_end()
    page.evaluate("document.querySelector('main').scrollTo(0, 0)")
    server.tell("turn", turn=sent(QUOTE, index=6))
    page.wait_for_selector("#newest:visible")
    assert not at_end()
    page.click("#newest")
    assert at_end()
    assert page.is_hidden("#newest")

"""Who people are, where they live, how to write to them, what they keep secret: found, and not too often."""

import time
from collections.abc import Callable

import pytest
import yaml

from serving.settings import default_data_dir
from serving.spoken import parse
from serving.telemetry.redaction import redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("my pin's 0420", "my pin's <code>"),
        ("my pin's zero four two zero", "my pin's <code>"),
        ("my cvv's 123", "my cvv's <code>"),
        ("it's 0420, my pin", "it's <code>, my pin"),
        ("it's 0420 my pin", "it's <code> my pin"),
        ("my password is hunter2", "my password is <secret>"),
        ("my passcode is hunter2", "my passcode is <secret>"),
        ("my password's hunter two", "my password's <secret>"),
        ("password: p@ssw0rd!", "password: <secret>"),
        ("my password is summer please", "my password is <secret> please"),
        ("my password is blue whale seven", "my password is <secret>"),
        ("john.smith(at)gmail.com", "<email>"),
        ("john.smith [at] gmail.com", "<email>"),
        ("write to john (dot) smith (at) gmail (dot) com", "write to <email>"),
        ("jsmith at hotmail", "<email>"),
        ("my email is jsmith at hotmail", "my email is <email>"),
        ("jsmith@work", "<email>"),
        ("jsmith at gmail uh dot com", "<email>"),
        ("john smith here", "<name> here"),
        ("hi it's about my card john smith here", "hi it's about my card <name> here"),
        ("mary jones speaking", "<name> speaking"),
        ("cardholder john smith", "cardholder <name>"),
        ("the card holder is john smith", "the card holder is <name>"),
        ("send it to maria lopez", "send it to <name>"),
        ("transfer to Maria Lopez", "transfer to <name>"),
        ("send fifty dollars to maria please", "send fifty dollars to <name> please"),
        ("pay maria de la cruz fifty dollars", "pay <name> fifty dollars"),
        ("block Walter King's card", "block <name> card"),
        ("i live at 12 baker street", "i live at <address>"),
        ("it's 221b Baker Street", "it's <address>"),
        ("we moved to fifteen oak avenue, apartment 4b", "we moved to <address>"),
        ("four twenty two elm street", "<address>"),
        ("my address is 42 wallaby way", "my address is <address>"),
        ("350 5th Avenue", "<address>"),
    ],
)
def test_what_is_personal_is_replaced(text: str, redacted: str) -> None:
    found = redact(text)
    assert found.text == redacted
    assert not any(value.kind == "count" for value in found.values)


@pytest.mark.parametrize(
    "text",
    [
        "my password is not working",
        "my password is wrong",
        "the password was reset yesterday",
        "my passcode is blocked",
        "i forgot my password, can you help",
        "the password is case sensitive",
        "i withdrew 300, my pin is fine",
        "i need 300 my pin is blocked",
        "the PIN is nowhere to be found",
        "i work at yahoo",
        "an email from somebody at gmail",
        "send it to me",
        "transfer money to savings",
        "pay off my loan here",
        "i travel to virginia next week",
        "is the branch on main street open",
        "one way or another",
        "two cards in one place",
        "5 years of the fastest lane",
        "my address changed, the street is wrong",
    ],
)
def test_what_is_not_personal_stays(text: str) -> None:
    assert redact(text).text == text


def test_of_all_training_texts_only_the_two_that_name_somebody_change() -> None:
    changed = set()
    for path in sorted((default_data_dir() / "intents").glob("*.yaml")):
        for intent in yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader).values():
            changed.update(text for text in intent["train"] if redact(text).text != text)
    assert changed == {
        "Just had the wedding, so I'm Mrs Carter now, please adjust my account.",
        "Send a text message to John.",
    }


@pytest.mark.parametrize("value", ["<secret>", "<address_2>"])
def test_a_placeholder_of_the_new_kinds_is_no_text(value: str) -> None:
    assert redact(f"my password is {value}").text == f"my password is {value}"


@pytest.mark.parametrize("read", [parse, redact])
@pytest.mark.parametrize(
    "piece",
    [
        "my name is john 5 ",
        "my name is jo{a}{b}{c} 5 ",
        "password-",
        "pay john and maria ",
        "4 a b street ",
        "(at) gmail ",
        "it's 0420 my pin ",
    ],
)
def test_time_grows_with_the_text_and_not_with_its_square(read: Callable[[str], object], piece: str) -> None:
    def text(count: int) -> str:
        letters = "abcdefghijklmnop"
        return "".join(
            piece.format(a=letters[at % 16], b=letters[at // 16 % 16], c=letters[at // 256 % 16])
            for at in range(count)
        )

    def seconds(count: int) -> float:
        made, best = text(count), float("inf")
        for _ in range(3):
            start = time.process_time()
            read(made)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(4_000) < 10 * seconds(1_000)

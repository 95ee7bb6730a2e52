"""A number in parts on a live line: neither shown while it is heard, nor on record, nor audible."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from serving.audio import read_wav_channels
from serving.call.responder import Responder
from tests.serving.call.bank_caller import BANK_RULES
from tests.serving.call.phone import SCOPE, KeywordTagger, fill_cache, toolbox
from tests.serving.live.telephone import POLICY, Replies, Telephone

CARD = ["four one one one", "one one one one", "uh one one one one", "and one one one one"]


@pytest.fixture(scope="module")
def responder(tmp_path_factory: pytest.TempPathFactory) -> Replies:
    """The real one, with small engines."""
    folder = tmp_path_factory.mktemp("cache")
    fill_cache(folder)
    return cast(Replies, Responder(toolbox(folder), KeywordTagger(rules=BANK_RULES), SCOPE, ask_survey=True))


def said_in_turn(phone: Telephone, turns: int) -> None:
    for _ in range(turns):
        phone.wait_for("listening")
        phone.talk(2.0)
        phone.wait_for("speaking")
    phone.wait_for("listening")


def loudest(phone: Telephone, since: float = 0.0) -> int:
    assert phone.call.call.recording is not None
    caller = read_wav_channels(Path(phone.call.call.recording))[0]
    return int(np.abs(caller.samples[round(since * caller.rate) :].astype(np.int32)).max())


def told(phone: Telephone, event: str) -> list[Any]:
    return [data for name, data in phone.line.told if name == event]


def test_a_card_number_in_four_turns_is_nowhere(tmp_path: Path, responder: Replies) -> None:
    phone = Telephone(["hello", *CARD[:2]], responder, folder=tmp_path, words_per_s=4.0)
    said_in_turn(phone, 3)
    turns = phone.hang_up()
    assert [turn.text for turn in turns] == ["hello", "<account>", "<account_2>"]
    shown = [data["text"] for data in told(phone, "partial")]
    assert "<account>" in shown
    assert [text for text in shown if text.count("one") + text.count("four") > 2] == []
    assert "one one one" not in repr(phone.line.told)


def test_its_sound_is_silenced_turn_by_turn(tmp_path: Path) -> None:
    phone = Telephone(CARD, folder=tmp_path)
    said_in_turn(phone, 4)
    phone.hang_up()
    assert loudest(phone) < 100


def test_so_is_the_sound_of_its_first_digits_once_more_of_them_follow(tmp_path: Path) -> None:
    phone = Telephone(["four", "one", "one one"], folder=tmp_path)
    said_in_turn(phone, 3)
    phone.hang_up()
    assert loudest(phone) < 100


def test_figures_that_were_asked_for_are_heard_and_recorded(tmp_path: Path, responder: Replies) -> None:
    words = ["what is the monthly payment", "five zero zero zero"]
    phone = Telephone(words, responder, folder=tmp_path, words_per_s=4.0)
    said_in_turn(phone, 1)
    before = len(told(phone, "partial"))
    said_in_turn(phone, 1)
    turns = phone.hang_up()
    assert turns[1].text == "five zero zero zero"
    assert [data["text"] for data in told(phone, "partial")[before:]][-1] == "five zero zero zero"
    assert loudest(phone) > 1_000


def test_a_card_number_instead_of_a_figure_is_not_heard_in_the_recording(
    tmp_path: Path, responder: Replies
) -> None:
    words = ["what is the monthly payment", "four one one one", "one one one two", "one one one one"]
    phone = Telephone(words, responder, folder=tmp_path, words_per_s=4.0)
    said_in_turn(phone, 1)
    asked = phone.time.now()
    said_in_turn(phone, 1)
    before = len(told(phone, "partial"))
    said_in_turn(phone, 2)
    turns = phone.hang_up()
    assert [turn.text for turn in turns[1:]] == ["four one one one", "<account>", "<account_2>"]
    shown = [data["text"] for data in told(phone, "partial")[before:]]
    assert [text for text in shown if text.count("one") + text.count("two") > 2] == []
    assert loudest(phone) > 1_000
    assert loudest(phone, asked) < 100


def keyed(phone: Telephone, keys: str) -> None:
    phone.wait_for("listening")
    for key in keys + "#":
        phone.call.digit(key)
    phone.wait_for("speaking")


@pytest.mark.parametrize("keys", ["1234", "12*34", "7", "12", "4111111111111111"])
def test_keyed_digits_are_redacted(responder: Replies, keys: str) -> None:
    phone = Telephone([], responder)
    keyed(phone, keys)
    (turn,) = phone.hang_up()
    assert turn.text in {"<account>", "<card>"}


def test_keyed_digits_that_were_asked_for_are_what_they_are(responder: Replies) -> None:
    phone = Telephone(["what is the monthly payment", "bye", "yes"], responder)
    said_in_turn(phone, 1)
    keyed(phone, "5000")
    keyed(phone, "60")
    said_in_turn(phone, 2)
    keyed(phone, "4")
    turns = phone.hang_up()
    assert [turn.text for turn in turns[1:3]] == ["5000", "60"]
    assert turns[-1].text == "4"
    assert phone.call.call.survey == 4


@pytest.mark.parametrize("keys", ["1234", "7"])
def test_so_are_those_that_were_keyed_before_something_was_said(keys: str) -> None:
    replies = Replies(greeting="This is a wording that must be heard to its end, and it takes a while. " * 4)
    phone = Telephone(["what is my balance"], replies, policy=replace(POLICY, greeting_holds=True))
    phone.wait(0.5)
    for key in keys + "#":
        phone.call.digit(key)
    phone.talk(0.6)
    phone.wait(1.0)
    (turn,) = phone.hang_up()
    assert turn.text == "<account> what is my balance"
    assert keys not in turn.text

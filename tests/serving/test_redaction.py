"""Nothing personal survives redaction, and nothing else is lost to it."""

import copy
import json
import os
import pickle
import re
import stat
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from serving.errors import IntegrityError, InvalidInputError, RefusedError, UnavailableError
from serving.settings import Settings
from serving.spoken import Kind, TypedValue, parse, say_integer, say_money, say_rate, say_term
from serving.telemetry.redaction import (
    contains_personal,
    keyed_hash,
    load_pii_key,
    redact,
)
from tests.properties import examples
from tests.serving.permissions import folder_of_all, without_rights

CARD = "4111111111111111"
ONES = [say_integer(number) for number in range(10)]
TEENS = [say_integer(number) for number in range(10, 20)]
TENS = ["", "", *(say_integer(number) for number in range(20, 100, 10))]
NUMBER_WORDS = {*ONES, *TEENS, *TENS[2:], "oh", "double", "triple", "hundred"}
FILLERS = ["", "", "", "", " uh", " um", " er", " dash", ",", "...", " hmm"]
CARRIERS = [
    "{}",
    "my card number is {} thanks",
    "yes it's {}",
    "can you call me on {}",
    "account {} please check it",
    "{} is the number",
    "so um the number {} belongs to my wife",
]


def luhn_completed(body: str) -> str:
    """The body with its check digit."""
    for check in "0123456789":
        digits = [int(digit) for digit in body + check]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
        if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0:
            return body + check
    raise AssertionError(body)


def digit_strings(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=low, max_size=high)


cards = st.builds(luhn_completed, digit_strings(11, 18))
identifiers = st.one_of(cards, digit_strings(6, 19))


def one_by_one(draw: st.DrawFn, digits: str) -> list[str]:
    """Digit by digit, equal neighbours perhaps as "double" or "triple"."""
    words, at = [], 0
    while at < len(digits):
        same = 1
        while same < 3 and digits[at : at + same + 1] == digits[at] * (same + 1):
            same += 1
        repeat = draw(st.integers(1, same))
        word = ONES[int(digits[at])]
        if word == "zero":
            word = draw(st.sampled_from(["zero", "oh"]))
        words.append({1: "", 2: "double ", 3: "triple "}[repeat] + word)
        at += repeat
    return words


def in_pairs(digits: str) -> list[str]:
    """Two digits at a time: "forty two", "oh seven", "fifteen"."""
    words = []
    for at in range(0, len(digits) - 1, 2):
        tens, ones = int(digits[at]), int(digits[at + 1])
        if tens == 0:
            words.append(f"oh {ONES[ones]}")
        elif tens == 1:
            words.append(TEENS[ones])
        else:
            words.append(TENS[tens] + (f" {ONES[ones]}" if ones else ""))
    return words + ([ONES[int(digits[-1])]] if len(digits) % 2 else [])


@st.composite
def spoken(draw: st.DrawFn, digits: str) -> str:
    """Digit by digit with fillers; always unambiguous."""
    words = one_by_one(draw, digits)
    return words[0] + "".join(f"{draw(st.sampled_from(FILLERS))} {word}" for word in words[1:])


@st.composite
def any_form(draw: st.DrawFn, digits: str) -> str:
    """Any way to say or write a digit string, also ambiguous ones and mixtures."""
    how = draw(st.sampled_from(["plain", "groups", "words", "pairs", "mixed", "and then"]))
    if how == "plain":
        return digits
    if how == "words":
        return draw(spoken(digits))
    if how == "pairs":
        return " ".join(in_pairs(digits))
    if how == "groups":
        size = draw(st.integers(1, 5))
        separator = draw(st.sampled_from([" ", "-", ".", "  ", " - ", "\n", "\u00a0", "_", "/", " uh "]))
        groups = [digits[at : at + size] for at in range(0, len(digits), size)]
        # 1234.56 is an amount and 01/02/03 a date; nobody writes an account number like that.
        taken = {".": 2, "/": 3}.get(separator) == len(groups)
        return (" " if taken else separator).join(groups)
    cut = draw(st.integers(3, len(digits) - 3))
    left, right = digits[:cut], digits[cut:]
    if how == "mixed":
        return f"{left} {' '.join(one_by_one(draw, right))}"
    return " and then ".join(" ".join(ONES[int(digit)] for digit in part) for part in (left, right))


def survivors(text: str) -> set[str]:
    """What is left of numbers outside placeholders."""
    bare = re.sub(r"<[a-z_]+(_\d+)?>", " ", text)
    return set(re.findall(r"\d", bare)) | (set(re.findall(r"[a-z]+", bare.lower())) & NUMBER_WORDS)


@examples(250)
@given(data=st.data(), digits=identifiers, carrier=st.sampled_from(CARRIERS))
def test_nothing_of_a_digit_string_survives_in_any_spoken_form(
    data: st.DataObject, digits: str, carrier: str
) -> None:
    text = carrier.format(data.draw(any_form(digits)))
    redacted = redact(text)
    assert survivors(redacted.text) == set()
    assert contains_personal(text)


@examples(120)
@given(data=st.data(), digits=identifiers)
def test_the_placeholder_stands_for_exactly_the_digits_that_were_said(
    data: st.DataObject, digits: str
) -> None:
    redacted = redact(f"it's {data.draw(spoken(digits))} please")
    assert list(redacted.placeholders.values()) == [digits]


@examples(100)
@given(data=st.data(), digits=cards)
def test_every_valid_card_number_is_recognised_as_a_card(data: st.DataObject, digits: str) -> None:
    (value,) = parse(data.draw(st.one_of(st.just(digits), spoken(digits))))
    assert (value.kind, value.value) == (Kind.CARD, digits)


@examples(120)
@given(
    cents=st.integers(1, 10**11),
    points=st.integers(1, 3000),
    months=st.integers(1, 600),
    data=st.data(),
    digits=identifiers,
)
def test_amounts_rates_and_terms_are_not_eaten(
    cents: int, points: int, months: int, data: st.DataObject, digits: str
) -> None:
    amount, rate = Decimal(cents) / 100, Decimal(points) / 10_000
    money = data.draw(st.sampled_from([say_money(amount, "USD"), f"${amount:,.2f}"]))
    percent = data.draw(st.sampled_from([say_rate(rate), f"{rate * 100}%"]))
    term = data.draw(st.sampled_from([say_term(months), f"{months} months"]))
    loan = f"borrow {money} at {percent} over {term}"
    text = f"my card is {data.draw(any_form(digits))} and i'd like to {loan}"
    redacted = redact(text)
    assert redacted.text.endswith(f" and i'd like to {loan}")
    assert [value.canonical() for value in redacted.values if not value.personal] == [
        value.canonical() for value in parse(loan)
    ]


@examples(120)
@given(text=st.text(max_size=200))
def test_redaction_of_any_text_is_idempotent_and_can_be_undone(text: str) -> None:
    redacted = redact(text)
    again = redact(redacted.text, known=redacted.placeholders)
    assert again.text == redacted.text
    for value in redacted.values:
        shown = redacted.text[value.start : value.end]
        if value.personal:
            assert shown == value.value
            assert shown in redacted.placeholders


def test_the_same_value_gets_the_same_placeholder_and_others_are_numbered() -> None:
    redacted = redact("card 4111 1111 1111 1111 or 5500 0000 0000 0004 no four triple one 1111 1111 1111")
    assert redacted.text == "card <card> or <card_2> no <card>"
    assert dict(redacted.placeholders) == {"<card>": CARD, "<card_2>": "5500000000000004"}


def test_placeholders_go_on_through_a_call() -> None:
    first = redact("my name is john smith my pin is 4421")
    second = redact("is John  Smith right and my card 4111111111111111 with 4421", known=first.placeholders)
    assert first.text == "my name is <name> my pin is <code>"
    assert second.text == "is <name> right and my card <card> with <code>"
    third = redact("and 5500000000000004", known=second.placeholders)
    assert third.text == "and <card_2>"
    assert third.placeholders["<name>"] == "John Smith"


def test_values_keep_their_kind_and_point_into_the_redacted_text() -> None:
    redacted = redact("i'm mary calling card 4111111111111111 borrow $20,000 over five years")
    shown = [(value.kind, redacted.text[value.start : value.end]) for value in redacted.values]
    assert shown == [
        (Kind.NAME, "<name>"),
        (Kind.CARD, "<card>"),
        (Kind.MONEY, "$20,000"),
        (Kind.TERM, "five years"),
    ]
    assert redacted.values[2].value == Decimal(20000)


def test_given_values_decide_what_is_redacted() -> None:
    text = "one two three four"
    assert redact(text).text == text
    assert redact(text, parse(text, expect=Kind.CODE)).text == "<code>"


@pytest.mark.parametrize("spans", [[(0, 99)], [(4, 2)], [(0, 5), (3, 8)]])
def test_spans_of_another_text_are_refused(spans: list[tuple[int, int]]) -> None:
    values = [TypedValue(Kind.ACCOUNT, "1", "", *span) for span in spans]
    with pytest.raises(InvalidInputError, match="account value at"):
        redact("a short text", values)


def test_placeholders_show_and_write_nothing_of_their_values() -> None:
    redacted = redact("my name is john smith and my card is 4111 1111 1111 1111")
    for shown in (repr(redacted), str(redacted.placeholders), f"{redacted.placeholders!r}"):
        assert "John" not in shown
        assert "4111" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(redacted.placeholders)
    with pytest.raises(TypeError):
        json.dumps(redacted.placeholders)
    with pytest.raises(TypeError):
        copy.deepcopy(redacted.placeholders)
    assert redacted.placeholders["<card>"] == CARD


# Keyed hashes and their key


def test_a_keyed_hash_depends_on_kind_value_and_key_only() -> None:
    key, other = b"k" * 16, b"o" * 16
    hashed = keyed_hash(Kind.NAME, "John Smith", key)
    assert re.fullmatch(r"[0-9a-f]{32}", hashed)
    assert hashed == keyed_hash(Kind.NAME, "john smith", key)
    different = {
        keyed_hash(Kind.NAME, "Jane Smith", key),
        keyed_hash(Kind.EMAIL, "John Smith", key),
        keyed_hash(Kind.NAME, "John Smith", other),
    }
    assert len(different | {hashed}) == 4


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="16 bytes"):
        keyed_hash(Kind.NAME, "John", b"")
    with pytest.raises(InvalidInputError, match="16 characters") as raised:
        load_pii_key(Settings(home=tmp_path, pii_key=SecretStr("hush")))
    assert "hush" not in str(raised.value)


def test_the_key_of_the_settings_wins(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, pii_key=SecretStr("a secret of some length"))
    assert load_pii_key(settings) == b"a secret of some length"
    assert list(tmp_path.iterdir()) == []


def test_the_key_file_is_made_once_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_pii_key(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    (path,) = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_pii_key(settings) == keys[0]


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    load_pii_key(settings)
    (tmp_path / "pii.key").chmod(0o644)
    with pytest.raises(RefusedError, match="chmod 600"):
        load_pii_key(settings)


@pytest.mark.parametrize("content", [b"", b"abc", b"zz" * 32, b"\xff" * 64])
def test_a_damaged_key_file_is_an_integrity_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pii.key"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, content)
    os.close(descriptor)
    with pytest.raises(IntegrityError, match="hex digits"):
        load_pii_key(Settings(home=tmp_path))


def test_a_key_file_that_cannot_be_read_is_told_with_advice(tmp_path: Path) -> None:
    (tmp_path / "pii.key").mkdir(mode=0o700)
    with pytest.raises(UnavailableError, match=r"pii\.key cannot be read") as raised:
        load_pii_key(Settings(home=tmp_path))
    assert "VOICEBOT_PII_KEY" in raised.value.advice


def test_a_home_that_cannot_be_written_or_entered_is_told_with_advice() -> None:
    with folder_of_all() as home:
        with without_rights(), pytest.raises(UnavailableError, match="cannot be written: Permission denied"):
            load_pii_key(Settings(home=home / "var"))
        load_pii_key(Settings(home=home))
        with without_rights(), pytest.raises(UnavailableError, match="cannot be read: Permission denied"):
            load_pii_key(Settings(home=home))

"""Spoken and written forms of one thing have one signature, and words that change nothing change none."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.spoken import say_integer
from serving.spoken.lexicon import ORDINALS
from tests.properties import examples
from tests.serving.cache_world import SIGNER

sign = SIGNER.sign


class TestForms:
    @examples(150)
    @given(whole=st.integers(1, 40), part=st.sampled_from(["", "1/2", "1/4", "3/4"]))
    def test_a_rate_with_a_fraction_has_one_signature(self, whole: int, part: str) -> None:
        hundredths = {"": 0, "1/2": 50, "1/4": 25, "3/4": 75}[part]
        percent = (Decimal(whole) + Decimal(hundredths) / 100).normalize()
        spoken = {"": "", "1/2": " and a half", "1/4": " and a quarter", "3/4": " and three quarters"}[part]
        sign_of = {"": "", "1/2": "½", "1/4": "¼", "3/4": "¾"}[part]
        forms = [
            f"{percent:f}%",
            f"{percent:f} per cent",
            f"{whole}{' ' + part if part else ''} percent",
            f"{whole}{sign_of}%",
            f"{say_integer(whole)}{spoken} percent",
        ]
        assert {sign(f"Is a loan at {form} good?").values("rate") for form in forms} == {
            format((percent / 100).normalize(), "f")
        }

    @examples(60)
    @given(cents=st.integers(1, 99))
    def test_a_decimal_without_a_leading_zero_is_read(self, cents: int) -> None:
        assert sign(f"Is it .{cents:02d} percent?") == sign(f"Is it 0.{cents:02d} percent?")

    @examples(60)
    @given(place=st.integers(2, 19))
    def test_a_place_in_a_row_has_one_signature_in_words_and_figures(self, place: int) -> None:
        word = next(word for word, value in ORDINALS.items() if value == place)
        ending = {2: "nd", 3: "rd"}.get(place, "th")
        one, other = (
            sign(f"When is the {word} payment due?"),
            sign(f"When is the {place}{ending} payment due?"),
        )
        assert one == other
        assert one.values("ordinal") == str(place)
        assert one != sign("When is the payment due?")

    @pytest.mark.parametrize(
        ("forms", "facet", "value"),
        [
            (["a couple of cards", "two cards", "2 cards", "a pair of cards"], "count", "2"),
            (["a dozen cards", "twelve cards", "12 cards"], "count", "12"),
            (["at least 500 dollars", "no less than $500", "500 dollars or more"], "bound", "at_least"),
            (["at most 500 dollars", "no more than $500", "up to 500 dollars"], "bound", "at_most"),
            (["more than 500 dollars", "over $500", "above five hundred dollars"], "bound", "above"),
            (["less than 500 dollars", "under $500", "below five hundred dollars"], "bound", "below"),
            (["twice the amount", "double the amount"], "multiple", "2"),
        ],
    )
    def test_ways_of_counting_have_one_signature(self, forms: list[str], facet: str, value: str) -> None:
        found = {sign(f"Can I have {form}?") for form in forms}
        assert len(found) == 1, [sign(f"Can I have {form}?").facets for form in forms]
        assert found.pop().values(facet) == value

    @pytest.mark.parametrize(
        ("one", "other"),
        [("between 5 and 7 years", "from five to seven years"), ("5 to 7 years", "5-7 years")],
    )
    def test_a_range_has_one_signature(self, one: str, other: str) -> None:
        assert sign(f"Is a loan {one} long?") == sign(f"Is a loan {other} long?")

    def test_how_often_is_no_term(self) -> None:
        assert "term" not in dict(sign("How many cards can I make a day?").facets)
        assert dict(sign("Is a loan for a year good?").facets)["term"] == "12:months"


class TestWords:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Can't I pay by card?", "Can I pay by card?"),
            ("I don't know how to pay by card", "How do I pay by card"),
            ("Does a card cost nothing?", "Is a card free of charge?"),
            ("I forgot my PIN", "I don't remember my PIN"),
        ],
    )
    def test_a_negator_that_reverses_nothing_is_not_counted(self, one: str, other: str) -> None:
        assert sign(one).values("negations") == sign(other).values("negations") == ""

    @pytest.mark.parametrize(
        "text", ["What can't I pay by card?", "Why can't I pay?", "Which cards don't you take?"]
    )
    def test_one_that_does_is_counted(self, text: str) -> None:
        assert sign(text).values("negations") == "1"

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("How do I link my card?", "How do I unlink my card?"),
            ("How do I register a card?", "How do I deregister a card?"),
            ("Is my money insured?", "Is my money uninsured?"),
            ("How do I open an account?", "How do I reopen an account?"),
            ("Where can I apply?", "Where can I reapply?"),
        ],
    )
    def test_a_prefix_makes_another_question(self, one: str, other: str) -> None:
        assert sign(one) != sign(other)

    def test_words_between_the_parts_of_a_phrase_do_not_hide_it(self) -> None:
        assert sign("How do I turn my alerts on?").values("polarity") == "on"
        assert sign("How do I turn my alerts off?").values("polarity") == "off"

    def test_an_evidence_only_word_is_no_part_of_a_signature(self) -> None:
        assert sign("Where in the app is it?") == sign("Where on the website is it?")


def test_many_values_cost_no_more_than_the_words_around_each() -> None:
    """Read anew from the beginning of the text, each value would cost a turn of 2,000 characters a second."""
    text = "$1." * 2_000
    began = time.process_time()
    sign(text)
    assert time.process_time() - began < 3.0
    assert sign("and " * 400 + "at least $1,000").values("bound") == "at_least"

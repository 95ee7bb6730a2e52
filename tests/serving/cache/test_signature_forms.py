"""Spoken and written forms of one thing have one signature, and words that change nothing change none."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.signature import Signature
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


class TestTimes:
    @pytest.mark.parametrize(
        ("written", "spoken"),
        [
            ("Are you open at 8:30?", "are you open at eight thirty"),
            ("Are you open at 8:30?", "are you open at half past eight"),
            ("Can I come at 8:45?", "can i come at a quarter to nine"),
            ("Is it open after 5 pm?", "is it open after five p m"),
            ("Is it open after 5 p.m.?", "is it open after 17:00"),
            ("Are you open at noon?", "are you open at 12 pm"),
            ("Do you close at midnight?", "do you close at 12:00 am"),
            ("Does it take 2 hours?", "does it take two hours"),
            ("Does it take an hour and a half?", "does it take 90 minutes"),
            ("Are you open 5-7 pm?", "are you open five to seven p m"),
            ("Is it there within 24 hours?", "is it there within one day"),
        ],
    )
    def test_one_time_has_one_signature(self, written: str, spoken: str) -> None:
        assert sign(written) == sign(spoken), sign(written).difference(sign(spoken))

    @pytest.mark.parametrize("minute", range(0, 1440, 37))
    def test_a_time_is_nothing_but_a_time(self, minute: int) -> None:
        hour, part = minute // 60 % 12 or 12, f"oh {say_integer(minute % 60)}"
        part = "o'clock" if not minute % 60 else part if minute % 60 < 10 else say_integer(minute % 60)
        half = "am" if minute < 720 else "pm"
        forms = [f"{hour}:{minute % 60:02d} {half}", f"{say_integer(hour)} {part} {half}"]
        expected = Signature((("time", f"{minute // 60:02d}:{minute % 60:02d}"),))
        assert {sign(f"Are you there at {form}?") for form in forms} == {expected}

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Are you open at 8:30?", "Are you open at 10:30?"),
            ("Are you open at 8:30 am?", "Are you open at 8:30 pm?"),
            ("Are you open until 5 pm?", "Are you open from 5 pm?"),
            ("Are you open before 17:00?", "Are you open after 17:00?"),
            ("Is it done within 2 hours?", "Is it done within 2 minutes?"),
            ("Is it done in an hour?", "Is it done in a minute?"),
            ("Is it closed in December?", "Is it closed in May?"),
            ("Is it closed until March?", "Is it closed from March on?"),
            ("Are you open on Mondays?", "Are you open on Tuesdays?"),
            ("Are you open on Saturday?", "Are you open on Sunday?"),
            ("Is it due 3 days before the payment?", "Is it due 3 days after the payment?"),
            ("Is it due on Mon?", "Is it due on Fri?"),
        ],
    )
    def test_another_time_has_another_signature(self, one: str, other: str) -> None:
        assert sign(one) != sign(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Are you open on Saturday or Sunday?", "Are you open on the weekend?"),
            ("Are you open Monday to Friday?", "Are you open on weekdays?"),
            ("Are you open Mon-Fri?", "Are you open monday through friday"),
            ("May I pay by card?", "Can I pay by card?"),
            ("Are you open in Sept?", "Are you open in September?"),
        ],
    )
    def test_what_names_the_same_days_or_none_has_one_signature(self, one: str, other: str) -> None:
        assert sign(one) == sign(other), sign(one).difference(sign(other))


class TestBounds:
    FORMS = (
        ("above", ["> $15,000", "more than $15,000", "in excess of $15,000", "exceeding 15k"]),
        ("below", ["< $15,000", "less than $15,000", "under 15,000 dollars"]),
        ("at_least", ["≥ $15,000", ">= $15,000", "$15,000+", "upwards of $15,000", "no less than $15,000",
                      "no fewer than $15,000", "$15,000 at least", "a $15,000 minimum", "$15,000 and up"]),
        ("at_most", ["≤ $15,000", "<= $15,000", "at most $15,000", "no more than $15,000", "$15,000 max",
                     "$15,000 at most", "$15,000 tops", "$15,000 or less"]),
        ("", ["$15,000", "15,000 dollars", "fifteen thousand dollars", "$15,000 + interest"]),
    )  # fmt: skip

    @pytest.mark.parametrize(("bound", "forms"), FORMS)
    def test_every_way_of_giving_a_bound_is_that_bound(self, bound: str, forms: list[str]) -> None:
        found = {form: sign(f"Can I move {form}?").values("bound") for form in forms}
        assert set(found.values()) == {bound}, found

    def test_a_bound_belongs_to_its_own_value(self) -> None:
        one = sign("Is it at least $500 for 3 months?")
        assert one != sign("Is it $500 for at least 3 months?")
        assert one == sign("For 3 months, is it at least $500?")


class TestFigures:
    @examples(150)
    @given(
        piece=st.from_regex(r"[abqx]{0,2}[0-9]{1,4}([-./:][0-9]{1,3}){0,2}[abqx%+]{0,2}", fullmatch=True),
        frame=st.sampled_from(
            ["Is it {}?", "{} please", "can i have {} or not", "is my ({}) good", "q {} 7"]
        ),
        step=st.integers(1, 9),
    )
    def test_another_digit_is_another_signature(self, piece: str, frame: str, step: int) -> None:
        """Whatever the figures are taken for, none of them is in no facet."""
        for at, character in enumerate(piece):
            if character.isdecimal():
                other = f"{piece[:at]}{(int(character) + step) % 10}{piece[at + 1 :]}"
                assert sign(frame.format(piece)) != sign(frame.format(other)), (piece, other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Can I repay 1/5 of it?", "Can I repay 1/4 of it?"),
            ("What were the rates in Q1?", "What were the rates in Q2?"),
            ("Do I need version 2.1.3?", "Do I need version 2.1.4?"),
            ("Is it 20,50 euros?", "Is it 20,60 euros?"),
            ("Do you take form w8?", "Do you take form w9?"),
            ("Is the rate -1 %?", "Is the rate -2 %?"),
            ("Is the rate -1 %?", "Is the rate 1 %?"),
            ("Is the rate minus one percent?", "Is the rate one percent?"),
            ("Is a balance of -$50 fine?", "Is a balance of $50 fine?"),
        ],
    )
    def test_figures_that_no_kind_fits_still_count(self, one: str, other: str) -> None:
        assert sign(one) != sign(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Is the rate -1 %?", "is the rate minus one percent"),
            ("Is it −$50?", "is it negative fifty dollars"),
            ("Can I repay 1/3 of it?", "can i repay a third of it"),
            ("Can I repay ¾ of it?", "can i repay three quarters of it"),
            ("What were the rates in Q3?", "what were the rates in q three"),
            ("Do I need a W-2?", "do i need a w two"),
            ("Can I move my 401k?", "can i move my four oh one k"),
            ("Can I move my 401(k)?", "can i move my four oh one k"),
        ],
    )
    def test_spoken_and_written_figures_are_alike(self, one: str, other: str) -> None:
        assert sign(one) == sign(other), sign(one).difference(sign(other))

    @pytest.mark.parametrize(
        "text", ["Is it > $15,000, $500+ or -1 % in Q3?", "At 8:30 p.m., with a W-2, 1/5 or 2.1.3 of 401(k)?"]
    )
    def test_marks_of_another_width_or_between_invisible_ones_mean_the_same(self, text: str) -> None:
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
        for disguised in (
            wide,
            "\u200b".join(text),
            text.replace("-", "\u2212"),
            text.replace("-", "\u2011"),
        ):
            assert sign(disguised) == sign(text), sign(text).difference(sign(disguised))

    def test_long_figures_are_hashed(self) -> None:
        facets = dict(sign("Is x12345y or jsmith12 good in q1?").facets)
        assert "12345" not in str(facets)
        assert "smith" not in str(facets)
        assert "q1" in sign("Is it good in Q1?").values("figure")


class TestCounts:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Is it due on the first of each month?", "Is it due on the fifteenth of each month?"),
            ("Is it due on the 1st of each month?", "Is it due on the 21st of each month?"),
            ("Is it due on the first of each month?", "Is it due each month?"),
            ("Can I have 2 cards per account?", "Can I have a card per 2 accounts?"),
            ("Is it one loan, three documents?", "Is it three loans, one document?"),
            ("Are ten fifteen minute calls free?", "Are six fifteen minute calls free?"),
            ("Is it my second time?", "Is it my third time?"),
        ],
    )
    def test_places_and_what_is_counted_set_apart(self, one: str, other: str) -> None:
        assert sign(one) != sign(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Is it due on the 15th of each month?", "is it due on the fifteenth of each month"),
            ("Is it due on the 21st?", "is it due on the twenty first"),
            ("Can I get a 2nd card?", "can i get a second card"),
            ("First of all, is it free?", "Is it free?"),
            ("Can I pay twice the rate?", "Can I pay two times the rate?"),
            ("Can I pay 2x the rate?", "Can I pay double the rate?"),
            ("Can I have 20 EUR?", "can i have twenty euros"),
            ("Can I change €20 for pounds?", "can i change twenty euros for pounds"),
            ("Can I pay £5?", "Can I pay 5 pounds?"),
            ("Can my 12-year-old son have 2 cards?", "can my twelve year old son have two cards"),
            ("I need one card", "I need 1 card"),
        ],
    )
    def test_spoken_and_written_counts_are_alike(self, one: str, other: str) -> None:
        assert sign(one) == sign(other), sign(one).difference(sign(other))

    def test_an_age_does_not_hide_whose_it_is(self) -> None:
        assert sign("Can my 12-year-old son have a card?").values("owner") == "child"
        assert sign("Can my 80 year old mother have a card?").values("owner") == "other_person"

    def test_what_is_counted_is_hashed(self) -> None:
        assert "zorblat" not in str(sign("Can I have two zorblats?").facets)


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

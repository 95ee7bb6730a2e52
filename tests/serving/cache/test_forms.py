"""Which words a sentence turns on, by its grammar: its head, who does what, from whom to whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.evidence import stem
from serving.cache.forms import Form, read_form
from serving.language.lexicon import words
from tests.properties import examples

VERBS = frozenset({"open", "send", "pay"})


def form(text: str) -> Form:
    tokens = words(text)
    return read_form(tokens, [stem(token) for token in tokens], VERBS)


def heads(text: str) -> set[str]:
    return {words(text)[at] for at in form(text).heads}


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("Can I appeal the rate", "appeal"),
        ("How do I also frame a card", "frame"),
        ("How shiny is the card", "shiny"),
        ("Who paints your branch", "paints"),
        ("What brand does the card have", "brand"),
        ("When does a transfer bounce at night", "bounce"),
        ("Is the fee on a loan deductible", "deductible"),
    ],
)
def test_a_sentence_turns_on_its_verb_its_predicate_or_what_it_asks_for(text: str, head: str) -> None:
    assert head in heads(text)


@pytest.mark.parametrize("text", ["How much does it cost", "Who can have a card", "How long may I wait"])
def test_a_helping_word_is_no_head(text: str) -> None:
    assert heads(text).isdisjoint({"much", "can", "long", "does", "may"})


def test_a_word_behind_another_preposition_is_exchanged() -> None:
    assert form("A card from my aunt").exchanged(form("A card for my aunt")) == 1
    assert form("A card from my aunt").exchanged(form("From my aunt a card")) == 0


def test_two_words_that_hand_on_a_preposition_are_exchanged() -> None:
    one, other = form("May a tenant write to an owner"), form("May an owner write to a tenant")
    assert one.exchanged(other) == other.exchanged(one) == 1
    assert one.exchanged(form("May a tenant write")) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is there a fee for exchanging the currency", "Is there a fee for currency exchanging"),
        ("What do you charge for opening an account", "What do you charge for account opening"),
    ],
)
def test_a_preposition_holds_for_all_of_its_group(one: str, other: str) -> None:
    assert form(one).exchanged(form(other)) == form(other).exchanged(form(one)) == 0


def test_to_before_a_verb_is_no_preposition() -> None:
    assert form("How to open an account").exchanged(form("How do I open an account")) == 0


def test_what_the_bank_does_is_not_what_the_caller_does() -> None:
    assert form("What do I earn").done_by_others(form("What do you earn")) == 1
    assert form("What do I earn").done_by_others(form("What would I earn")) == 0


def test_two_words_that_change_places_have_moved_and_a_clause_in_front_has_not() -> None:
    swapped = form("May the owner of a house sue a tenant"), form("May a tenant of a house sue the owner")
    assert swapped[0].moved(swapped[1]) > 0
    assert form("Is it free to travel").moved(form("To travel is it free")) == 0


@examples(100)
@given(text=st.text(max_size=80), other=st.text(max_size=80))
def test_any_text_has_a_form_that_is_like_itself(text: str, other: str) -> None:
    one, two = form(text), form(other)
    assert one.moved(one) == one.exchanged(one) == one.done_by_others(one) == 0
    assert one.exchanged(two) == two.exchanged(one)
    assert all(0 <= at < len(words(text)) for at in one.heads)

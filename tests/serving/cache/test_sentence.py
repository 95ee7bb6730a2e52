"""What a sentence does by its grammar: orders, reports, own states, duties, which way money goes."""

import pytest

from serving.cache.sentence import Act, read_act

ORDERS = frozenset({"open", "send", "waive"})


def act(text: str, *, asks_how: bool = False) -> Act:
    return read_act(text, ORDERS, asks_how=asks_how)


@pytest.mark.parametrize("text", ["Please open an account", "ok, waive my fee", "My card broke. Send me one"])
def test_a_verb_at_the_beginning_of_a_sentence_orders(text: str) -> None:
    assert act(text).order


@pytest.mark.parametrize("text", ["Are you open on Sundays", "Open on Sundays?", "How do I open an account"])
def test_the_same_verb_elsewhere_or_without_a_thing_orders_nothing(text: str) -> None:
    assert not act(text).order


def test_who_asks_for_the_way_orders_nothing() -> None:
    assert not act("Open an account, how does that work", asks_how=True).order


@pytest.mark.parametrize("text", ["Has my card been sent", "Where is the card that I ordered", "Did it come"])
def test_what_has_happened_is_a_report(text: str) -> None:
    assert act(text).report


def test_a_question_about_the_rule_is_no_report() -> None:
    assert not act("How long does a card take").report


def test_a_duty_is_asked_for_with_a_verb_in_front_only() -> None:
    assert act("Do I have to visit a branch").obliged
    assert not act("What do I have to do").obliged


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What interest do you pay me", "What interest do I pay you"),
        ("Where does the money come from", "Where does the money go to"),
        ("Can my friend send me money", "Can I send my friend money"),
        ("When is money sent to me there", "When is money that I send there"),
    ],
)
def test_money_that_goes_the_other_way_is_against_it_in_both_orders(one: str, other: str) -> None:
    assert act(one).against(act(other))
    assert act(other).against(act(one))
    assert not act(one).against(act(one))


def test_a_side_clause_begins_at_its_conjunction() -> None:
    assert act("Am I insured when I travel").side == 3
    assert act("When are you open").side == 4


def test_no_words_do_nothing() -> None:
    assert act("?!") == Act(False, False, False, False, frozenset(), 0)

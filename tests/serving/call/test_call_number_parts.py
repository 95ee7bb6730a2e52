"""A number that comes in parts over several turns is as personal as one that comes at once.

Nobody has to announce it and nobody has to have asked for it. What the bot has asked for and is no secret (an
amount, a term, one to five) is left as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from serving.call.dialogue import DialogueState, PendingTask, Step
from serving.call.record import Decision
from serving.call.responder import Responder
from serving.call.understanding import left_open, redacted_words, unrecorded
from serving.language.protocols import TextDelta
from serving.settings import Settings
from serving.spoken.digit_runs import digit_runs
from serving.tools.sandbox_bank import SandboxBank
from serving.tools.sandbox_people import FIRST
from tests.properties import examples
from tests.serving.call.bank_caller import call, sandbox_in
from tests.serving.call.phone import (
    SCOPE,
    Bank,
    KeywordTagger,
    TellingLlm,
    toolbox,
    typed,
)
from tests.serving.personal_forms import digit_strings, groups, luhn_completed, one_by_one

CARDS = st.builds(luhn_completed, st.builds(str.__add__, st.sampled_from("456"), digit_strings(14, 14)))
ACCOUNTS = digit_strings(8, 12)
PHONES = st.builds(str.__add__, st.sampled_from(["202", "415", "07", "0161"]), digit_strings(7, 7))
LEADS = ["{}", "{}", "uh {}", "and then {}", "okay {}", "{} please", "it's {}", "yes {} and", "{}."]
DIGIT_WORDS = {"zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
               "six": "6", "seven": "7", "eight": "8", "nine": "9"}  # fmt: skip

NOTHING = DialogueState()


def visible(text: str) -> str:
    """The digits of a text that are not behind placeholders, words and figures alike."""
    bare = re.sub(r"<[a-z_]+(_\d+)?>", " ", text.lower())
    return "".join(DIGIT_WORDS.get(word, word) for word in re.findall(r"\d|[a-z]+", bare) if _is_digit(word))


def _is_digit(word: str) -> bool:
    return word.isdecimal() or word in DIGIT_WORDS


@st.composite
def in_parts(draw: st.DrawFn, digits: str, *, most: int = 5, leads: Sequence[str] = LEADS) -> list[str]:
    """A number cut at random places into two turns or more, each spoken or written."""
    count = draw(st.integers(2, most))
    cuts = sorted(draw(st.sets(st.integers(1, len(digits) - 1), min_size=count - 1, max_size=count - 1)))
    parts = [digits[a:b] for a, b in zip([0, *cuts], [*cuts, len(digits)], strict=True)]
    return [draw(st.sampled_from(leads)).format(_said(draw, part)) for part in parts]


def _said(draw: st.DrawFn, part: str) -> str:
    how = draw(st.sampled_from(["spoken", "written", "pairs", "figures"]))
    if how == "spoken":
        return " ".join(one_by_one(draw, part))
    return {"written": part, "pairs": " ".join(groups(part, 2)), "figures": " ".join(part)}[how]


def heard(
    turns: Sequence[str], state: DialogueState | None = None
) -> tuple[list[str], list[bool], list[str]]:
    """Turns one after another: what is left of each, whether its sound is kept, and what was hidden."""
    state = state or DialogueState()
    shown, kept = [], []
    for turn in turns:
        redacted = redacted_words(turn, state)
        shown.append(redacted.text)
        kept.append(not unrecorded(turn, state))
        later = left_open(turn, state)[1]
        state = replace(state, placeholders=redacted.placeholders, unfinished=later)
    return shown, kept, list(state.placeholders.values())


@examples(150)
@given(data=st.data(), digits=CARDS, opened=st.booleans())
def test_a_card_number_in_parts_that_nobody_announced_leaves_nothing_and_is_recognised(
    data: st.DataObject, digits: str, opened: bool
) -> None:
    opening = ["i want to pay with my card"] if opened else []
    turns = data.draw(in_parts(digits))
    shown, kept, hidden = heard([*opening, *turns])
    assert [text for text in shown if len(visible(text)) >= 3] == []
    assert digits in hidden
    sizes = [len(visible(turn.replace("double", "").replace("triple", ""))) for turn in turns]
    assert not any(keeps and size >= 3 for keeps, size in zip(kept[len(opening) :], sizes, strict=True))


@examples(150)
@given(data=st.data(), digits=st.one_of(ACCOUNTS, PHONES))
def test_an_account_or_phone_number_in_parts_leaves_nothing(data: st.DataObject, digits: str) -> None:
    shown, _, _ = heard(data.draw(in_parts(digits)))
    assert [text for text in shown if len(visible(text)) >= 3] == []


@examples(100)
@given(data=st.data(), digits=st.one_of(CARDS, ACCOUNTS))
def test_words_that_are_being_heard_show_two_digits_at_most(data: st.DataObject, digits: str) -> None:
    opening = data.draw(st.sampled_from(["", "my number is ", "i want to pay ", "so the thing is "]))
    spoken = one_by_one(data.draw, digits)
    for heard_so_far in range(1, len(spoken) + 1):
        text = opening + " ".join(spoken[:heard_so_far])
        shown = redacted_words(text, NOTHING, growing=True).text
        assert len(visible(shown)) < 3, shown


@pytest.mark.parametrize(
    ("turns", "shown"),
    [
        (("four one one one", "one one one one"), ["<account>", "<account_2>"]),
        (("1234",), ["<account>"]),
        (("my pin is 1234", "1234"), ["my pin is <code>", "<code>"]),
        (("one zero four eight", "two nine one seven"), ["<account>", "<account_2>"]),
        (("41", "11", "1"), ["41", "<account>", "<account_2>"]),
        (("forty one eleven",), ["<account>"]),
        (("four one for one", "nine nine to two"), ["<account>", "<account_2>"]),
        (("12*34",), ["<account>"]),
        (("3782", "822463", "10005", "60"), ["<account>", "<account_2>", "<card>", "60"]),
        (("call me on 415", "555", "0199"), ["call me on <phone>", "<phone_2>", "<phone_3>"]),
        (("four one one one did you get that",), ["<account> did you get that"]),
        (("five thousand", "two hundred and fifty"), ["five thousand", "two hundred and fifty"]),
        (("twenty thousand", "60 months", "$250"), ["twenty thousand", "60 months", "$250"]),
        (("two", "one"), ["two", "one"]),
        (("4111", "hold on one second", "1111"), ["<account>", "hold on one second", "<account_2>"]),
        (("10482917", "what is 500 plus 200"), ["<account>", "what is 500 plus 200"]),
        (("4111", "over 60 months at 6.9 percent"), ["<account>", "over 60 months at 6.9 percent"]),
    ],
)
def test_a_few_digits_by_themselves_are_a_part_of_something_and_amounts_are_not(
    turns: tuple[str, ...], shown: list[str]
) -> None:
    assert heard(turns)[0] == shown


ASKED = {
    "amount": PendingTask("loan_payment_quote", "How much would you like to borrow?"),
    "term": PendingTask("loan_payment_quote", "Over how many years or months would you like to pay it back?"),
    "plan": PendingTask("agree_payment_plan", "How much can you pay each month?", step=Step.AMOUNT),
    "time": PendingTask("request_callback", "When shall we call?", step=Step.TIME),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("said", ["5000", "two five zero", "60", "120 please", "360"])
def test_a_figure_that_was_asked_for_stays_as_it_is(asked: str, said: str) -> None:
    shown, kept, _ = heard([said], DialogueState(pending=ASKED[asked]))
    assert (shown, kept) == ([said], [True])


def test_so_does_one_that_a_language_model_asked_for() -> None:
    state = DialogueState(last_answer="I see. How much was the payment you do not know?")
    assert heard(["250"], state)[0] == ["250"]
    choice = DialogueState(last_answer="Which plan do you mean, one, two or three?")
    assert heard(["2"], replace(choice, unfinished=left_open("41", NOTHING)[1]))[0] == ["2"]


def asked_in_turn(turns: Sequence[tuple[str, DialogueState]]) -> list[str]:
    """What is left of turns that answer questions of their own."""
    known, shown = NOTHING, []
    for said, asked in turns:
        state = replace(asked, unfinished=known.unfinished, placeholders=known.placeholders)
        redacted = redacted_words(said, state)
        shown.append(redacted.text)
        later = left_open(said, state)[1]
        known = replace(known, unfinished=later, placeholders=redacted.placeholders)
    return shown


AMOUNT, TERM, PLAN = (DialogueState(pending=ASKED[name]) for name in ("amount", "term", "plan"))
HOW_MUCH = DialogueState(last_answer="How much was the payment?")


@examples(100)
@given(data=st.data(), digits=CARDS, sizes=st.sampled_from([(4, 4, 4, 4), (4, 6, 6), (6, 6, 4), (8, 8)]))
def test_a_card_number_instead_of_a_figure_shows_its_first_group_at_most(
    data: st.DataObject, digits: str, sizes: tuple[int, ...]
) -> None:
    cuts = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
    groups = [digits[a:b] for a, b in pairwise(cuts)]
    assume(not groups[0].endswith("0") and not groups[1].endswith("0") and groups[0] != groups[1])
    said = [" ".join(one_by_one(data.draw, group)) if data.draw(st.booleans()) else group for group in groups]
    asked = [data.draw(st.sampled_from([AMOUNT, TERM, PLAN, HOW_MUCH])) for _ in groups]
    shown, _, hidden = heard(said, asked[0])
    assert [text for text in shown[1:] if len(visible(text)) >= 3] == []
    assert len(visible(shown[0])) <= 6
    assert digits in hidden
    assert asked_in_turn(list(zip(said, asked, strict=True))) == shown


@pytest.mark.parametrize(
    "turns",
    [
        [("5000", AMOUNT), ("60", TERM), ("250", AMOUNT)],
        [("8437", AMOUNT), ("360", TERM), ("1250", PLAN)],
        [("8437", AMOUNT), ("8437", AMOUNT)],
        [("8437", AMOUNT), ("60", NOTHING)],
        [("2500", PLAN), ("2000", PLAN), ("1500", PLAN), ("1000", PLAN)],
        [("8437", AMOUNT), ("8437 dollars", AMOUNT), ("6.9 percent", TERM)],
    ],
)
def test_figures_that_were_asked_for_one_after_another_stay(turns: list[tuple[str, DialogueState]]) -> None:
    assert asked_in_turn(turns) == [said for said, _ in turns]


@pytest.mark.parametrize(
    ("turns", "shown"),
    [
        ([("4111", NOTHING), ("250", HOW_MUCH), ("300", HOW_MUCH)], ["<account>", "250", "300"]),
        ([("10482917", AMOUNT), ("5000", AMOUNT), ("360", TERM)], ["<account>", "5000", "360"]),
        (
            [("4111", NOTHING), ("1111", AMOUNT), ("1110", AMOUNT)],
            ["<account>", "<account_2>", "<account_3>"],
        ),
        ([("411111111111", AMOUNT), ("1111", AMOUNT)], ["<account>", "<card>"]),
    ],
)
def test_a_figure_is_one_also_behind_digits_that_are_none(
    turns: list[tuple[str, DialogueState]], shown: list[str]
) -> None:
    assert asked_in_turn(turns) == shown


def test_a_rating_is_a_rating_after_whatever_digits() -> None:
    rating = PendingTask("goodbye", "From one to five?", step=Step.RATING)
    before = left_open("4111", NOTHING)[1]
    assert heard(["5"], DialogueState(pending=rating, unfinished=before))[0] == ["5"]
    assert heard(["1234"], DialogueState(pending=rating))[0] == ["<account>"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1234#", "<account>"),
        ("7# 8#", "<account>"),
        ("12# what is my balance", "<account> what is my balance"),
        ("hello 1234# so what now", "hello <account> so what now"),
        ("what is my balance 1234#", "what is my balance <account>"),
        ("it is 5 1234#", "it is <account>"),
        ("C# is 12", "C# is 12"),
        ("ticket #12", "ticket #12"),
    ],
)
def test_keys_are_personal_wherever_they_were_pressed_in_a_turn(text: str, shown: str) -> None:
    assert redacted_words(text, NOTHING).text == shown


def test_digits_are_not_printed() -> None:
    assert "4111" not in repr(digit_runs("four one one one"))
    assert "4111" not in repr(left_open("4111", NOTHING))


# Whole calls


@examples(12)
@given(data=st.data(), digits=st.one_of(CARDS, ACCOUNTS, PHONES))
def test_neither_record_nor_engine_gets_three_digits_of_a_number_in_parts(
    shared_bank: Bank, data: st.DataObject, digits: str
) -> None:
    turns = data.draw(in_parts(digits))
    llm = TellingLlm(*[[TextDelta("Go on.")] for _ in turns])
    tagger = KeywordTagger(rules=((r"\w+", "card_payment_fee_charged"),))
    box = toolbox(shared_bank.cache_folder, llm)
    call = shared_bank.call(typed(*turns), box=box, responder=Responder(box, tagger, SCOPE), max_failures=99)
    assert [turn.text for turn in call.turns if len(visible(turn.text)) >= 3] == []
    messages = [message.content for request in llm.requests for message in request.messages]
    assert [text for text in messages if len(visible(text)) >= 3] == []
    values = [value for turn in call.turns for value in turn.values]
    assert [value for value in values if len(visible(value)) >= 3] == []
    assert llm.requests
    for part in (turn for turn in turns if turn.isdecimal() and len(turn) > 5):
        assert part not in str(asdict(call))


@examples(12)
@given(data=st.data())
def test_a_customer_number_that_was_asked_for_reaches_the_bank_in_whatever_parts(
    shared_bank: Bank, sandbox: SandboxBank, data: st.DataObject
) -> None:
    turns = data.draw(in_parts(FIRST.number, most=4, leads=["{}", "uh {}", "and then {}", "{}."]))
    record = call(shared_bank, sandbox, ["my balance", *turns, "May 3 1971"])
    assert record.turns[-1].tools[0].value["verified"] is True
    assert "<balance>" in record.turns[-1].answer
    assert [turn.text for turn in record.turns[:-1] if visible(turn.text)] == []


def test_a_loan_is_computed_from_figures_that_were_asked_for(bank: Bank) -> None:
    *_, told = bank.typed("what is the monthly payment", "5000", "60", "yes")
    assert told.decision is Decision.TOOL
    assert "$5,000" in told.answer


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> SandboxBank:
    """The customers of all examples."""
    return sandbox_in(tmp_path_factory.mktemp("customers"))


@pytest.fixture(scope="module")
def shared_bank(cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """One installation for all examples of a property."""
    return Bank(Settings(home=tmp_path_factory.mktemp("home")), cache_folder)

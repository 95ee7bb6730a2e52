"""Who is calling is found out before anything personal is said, and nobody learns what was wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.call.machine import Ending
from serving.call.record import Decision, TurnRecord
from serving.tools.sandbox_bank import SandboxBank
from serving.tools.sandbox_people import FIRST
from tests.serving.call.bank_caller import IDENTITY, box_of, call, phrase, responder_of, sandbox_in
from tests.serving.call.phone import Bank, Told, ToldStt, spoken

Say = Callable[..., tuple[TurnRecord, ...]]


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxBank:
    return sandbox_in(tmp_path)


@pytest.fixture
def say(bank: Bank, sandbox: SandboxBank) -> Say:
    return lambda *lines: call(bank, sandbox, lines).turns


def test_nothing_personal_is_told_before_number_and_birth_date_are_right(say: Say) -> None:
    asked, number, told = say("what is my balance", *IDENTITY)
    assert asked.answer == phrase("verify_number")
    assert number.answer == phrase("verify_birth_date")
    assert "checking account holds <balance>" in told.answer
    assert told.decision is Decision.TOOL
    assert [tool.name for tool in told.tools] == ["verify_caller", "get_balance"]


def test_a_verified_caller_stays_verified_for_the_call(say: Say) -> None:
    *_, transactions = say("my balance", *IDENTITY, "hello", "my transactions please")
    assert [tool.name for tool in transactions.tools] == ["list_transactions"]


def test_another_call_has_to_verify_anew(bank: Bank, sandbox: SandboxBank) -> None:
    call(bank, sandbox, ["my balance", *IDENTITY])
    (asked,) = call(bank, sandbox, ["my balance"]).turns
    assert asked.answer == phrase("verify_number")


@pytest.mark.parametrize(
    "number",
    ["10482917", "1048 2917", "one zero four eight two nine one seven", "oh it is one oh four eight, 2917",
     "my customer number is one zero four eight to nine one seven"],
)  # fmt: skip
@pytest.mark.parametrize("born", ["05031971", "May third nineteen seventy one", "the 3rd of May 1971"])
def test_a_caller_is_verified_however_the_digits_are_given(say: Say, number: str, born: str) -> None:
    *_, told = say("my balance", number, born)
    assert told.tools[0].value["verified"] is True


def test_a_number_may_come_in_parts_and_with_the_first_question(say: Say) -> None:
    *_, told = say("my balance", "one zero four eight", "two nine", "one seven", "05031971")
    assert told.decision is Decision.TOOL
    (told,) = say("my customer number is 10482917, date of birth May 3 1971, my balance please")
    assert told.decision is Decision.TOOL


def test_three_failed_tries_end_with_a_person_and_never_say_what_was_wrong(
    bank: Bank, sandbox: SandboxBank
) -> None:
    wrong = ["May 4 1971", "99999999", "May 3 1971", FIRST.number, "May 5 1971"]
    record = call(bank, sandbox, ["my balance", FIRST.number, *wrong, *IDENTITY])
    assert record.ending is Ending.TRANSFERRED
    assert len(record.turns) == 7
    failed = [turn.answer for turn in record.turns if turn.tools]
    assert failed == [phrase("verify_failed")] * 2 + [phrase("verify_gave_up")]


def test_a_day_without_a_year_is_no_failed_try(say: Say, sandbox: SandboxBank) -> None:
    *_, again, told = say("my balance", FIRST.number, "May the third", "May 3 1971")
    assert again.answer == phrase("verify_birth_date_again")
    assert told.decision is Decision.TOOL
    assert len(sandbox.audit()) == 1


def test_a_caller_who_never_gives_a_number_is_put_through(bank: Bank, sandbox: SandboxBank) -> None:
    record = call(bank, sandbox, ["my balance", "uh", "well", "hm", "eh"])
    assert record.ending is Ending.TRANSFERRED
    assert len(record.turns) == 4


def test_too_long_a_number_is_asked_for_again_and_is_no_try(say: Say, sandbox: SandboxBank) -> None:
    _, again, *_, told = say("my balance", "1048291712", *IDENTITY)
    assert again.answer == phrase("verify_number_again", digits="8")
    assert told.decision is Decision.TOOL
    assert len(sandbox.audit()) == 1


def test_who_wants_something_else_while_being_verified_gets_that(say: Say) -> None:
    for question in ("when is the branch open", "is the branch open at 9 on Sunday"):
        _, branch, refused = say("my balance", question, "10482917")
        assert "nine to" in branch.answer
        assert not refused.tools


def test_an_aside_leaves_the_question_open(say: Say) -> None:
    _, aside, birth = say("my balance", "thank you", FIRST.number)
    assert "customer number" in aside.answer
    assert birth.answer == phrase("verify_birth_date")


def test_digits_that_were_hardly_understood_are_asked_for_again_and_cost_no_try(
    bank: Bank, sandbox: SandboxBank
) -> None:
    box = box_of(bank, sandbox)
    responder = responder_of(box)
    told: list[Told] = ["my balance", ("10482918", 0.4), FIRST.number, ("May 4 1971", 0.4), "May 3 1971"]
    turns = bank.call([spoken(0.5)] * 5, stt=ToldStt(told), responder=responder, box=box).turns
    assert [turn.answer.startswith(phrase("bank_unsure")) for turn in turns] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert turns[-1].decision is Decision.TOOL
    assert len(sandbox.audit()) == 1


def test_the_record_says_that_the_caller_was_verified_and_sums_up_what_a_person_must_know(
    bank: Bank, sandbox: SandboxBank
) -> None:
    record = call(bank, sandbox, ["my balance", *IDENTITY, "an agent please"])
    assert record.ending is Ending.TRANSFERRED
    assert record.verified
    assert "balance" in record.transfer_summary
    assert FIRST.number not in record.transfer_summary
    assert not call(bank, sandbox, ["my balance"]).verified

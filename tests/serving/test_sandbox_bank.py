"""The sandbox bank keeps the promises of the core-banking port: a real bank's test would ask the same."""

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import IntegrityError, InvalidInputError, UnavailableError
from serving.tools.core_banking import (
    BankRefusalError,
    BlockReason,
    CardKind,
    CoreBanking,
    PartOfDay,
    Refusal,
)
from serving.tools.sandbox_bank import LOCKED_AFTER, MOST_PAYMENTS, SandboxBank
from serving.tools.sandbox_people import FIRST, synthetic_customers

TODAY = date(2026, 11, 20)
MONDAY = date(2026, 11, 23)
NOBODY = date(1950, 1, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sandbox_bank.db"


@pytest.fixture
def bank(path: Path) -> SandboxBank:
    return SandboxBank(path, today=lambda: TODAY, customers=20)


@pytest.fixture
def alma(bank: SandboxBank) -> str:
    return bank.verify(FIRST.number, FIRST.birth_date)


def refusal(work: Callable[[], object]) -> Refusal:
    with pytest.raises(BankRefusalError) as caught:
        work()
    return caught.value.reason


def actions(bank: SandboxBank) -> list[str]:
    return [row["action"] for row in bank.audit()]


def test_it_is_a_core_banking_port(bank: SandboxBank) -> None:
    port: CoreBanking = bank
    assert port.customer_number_digits == len(FIRST.number)


def test_the_first_customer_is_the_same_under_every_seed() -> None:
    assert synthetic_customers(1, 5)[0] == synthetic_customers(2, 3)[0] == FIRST
    assert synthetic_customers(1, 5)[1] != synthetic_customers(2, 5)[1]


def test_customers_follow_from_the_seed_and_have_different_numbers() -> None:
    people = synthetic_customers(7, 300)
    assert people == synthetic_customers(7, 300)
    assert people[:20] == synthetic_customers(7, 20)
    assert len({person.number for person in people}) == 300
    assert all(len(person.number) == 8 and person.number[0] != "0" for person in people)


def test_the_file_is_private_and_made_once(path: Path, bank: SandboxBank, alma: str) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    (card, *_) = bank.cards(alma)
    bank.block_card(alma, card.id, BlockReason.LOST, idempotency_key="k1")
    again = SandboxBank(path, today=lambda: TODAY, customers=20)
    assert again.cards(alma)[0].blocked


def test_a_file_of_another_seed_is_refused(path: Path, bank: SandboxBank) -> None:
    with pytest.raises(IntegrityError, match="another seed"):
        SandboxBank(path, today=lambda: TODAY, customers=20, seed=4)


def test_a_file_that_is_no_bank_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all, only some bytes" * 40)
    with pytest.raises(IntegrityError):
        SandboxBank(path, today=lambda: TODAY)
    path.unlink()
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(IntegrityError):
        SandboxBank(path, today=lambda: TODAY)


def test_a_file_that_disappears_makes_the_bank_unavailable(path: Path, bank: SandboxBank) -> None:
    path.unlink()
    with pytest.raises(UnavailableError):
        bank.accounts("c00001")
    assert not path.exists()


def test_after_closing_nothing_is_answered(bank: SandboxBank) -> None:
    bank.close()
    with pytest.raises(UnavailableError, match="closed"):
        bank.cards("c00001")


# Verification


@pytest.mark.parametrize(
    ("number", "born"),
    [(FIRST.number, NOBODY), ("99999999", FIRST.birth_date), ("", NOBODY), ("' OR 1=1 --", NOBODY)],
)
def test_a_number_and_a_day_that_do_not_belong_together_verify_nobody(
    bank: SandboxBank, number: str, born: date
) -> None:
    assert bank.verify(number, born) == ""


def test_number_and_birth_date_verify_a_customer_and_both_outcomes_are_audited(bank: SandboxBank) -> None:
    assert bank.verify(FIRST.number, NOBODY) == ""
    customer = bank.verify(FIRST.number, FIRST.birth_date)
    assert customer
    assert [(row["action"], row["customer"], row["outcome"]) for row in bank.audit()] == [
        ("verify", customer, '{"verified": false}'),
        ("verify", customer, '{"verified": true}'),
    ]


def test_the_audit_never_holds_what_was_tried(bank: SandboxBank) -> None:
    bank.verify(FIRST.number, NOBODY)
    bank.verify("31415926", FIRST.birth_date)
    text = repr(bank.audit())
    assert all(secret not in text for secret in (FIRST.number, "1971", "1950", "31415926"))


def test_too_many_failures_lock_a_customer_for_a_day(path: Path) -> None:
    now = [datetime(2026, 11, 20, 12, tzinfo=UTC)]
    bank = SandboxBank(path, today=lambda: TODAY, customers=5, now=lambda: now[0])
    for _ in range(LOCKED_AFTER):
        assert bank.verify(FIRST.number, NOBODY) == ""
    assert bank.verify(FIRST.number, FIRST.birth_date) == ""
    now[0] += timedelta(hours=25)
    assert bank.verify(FIRST.number, FIRST.birth_date) != ""


def test_failures_before_a_success_do_not_count(bank: SandboxBank) -> None:
    for _ in range(3):
        for _ in range(LOCKED_AFTER - 1):
            bank.verify(FIRST.number, NOBODY)
        assert bank.verify(FIRST.number, FIRST.birth_date) != ""


# Nobody sees what is somebody else's


def test_another_customers_account_or_card_does_not_exist(bank: SandboxBank, alma: str) -> None:
    other = synthetic_customers(20_260_503, 20)[1]
    stranger = bank.verify(other.number, other.birth_date)
    account, card = bank.accounts(alma)[0].id, bank.cards(alma)[0].id
    assert stranger not in {"", alma}
    assert refusal(lambda: bank.transactions(stranger, account, most=3)) is Refusal.NO_SUCH_ACCOUNT
    blocked = refusal(lambda: bank.block_card(stranger, card, BlockReason.LOST, idempotency_key="k"))
    assert blocked is Refusal.UNKNOWN_CARD
    assert not bank.cards(alma)[0].blocked
    assert (bank.accounts("nobody"), bank.cards("nobody")) == ((), ())


def test_movements_come_newest_first_and_no_more_than_asked_for(bank: SandboxBank, alma: str) -> None:
    account = bank.accounts(alma)[0]
    movements = bank.transactions(alma, account.id, most=3)
    assert [movement.amount for movement in movements] == [
        Decimal("-45.10"),
        Decimal("-120.00"),
        Decimal("2450.00"),
    ]
    assert movements[0].day == TODAY - timedelta(days=1)
    assert bank.transactions(alma, account.id, most=-1) == ()


# Writing


def test_the_same_key_again_does_nothing_and_says_the_same(bank: SandboxBank, alma: str) -> None:
    first = bank.agree_payment_plan(alma, Decimal(50), 7, idempotency_key="k1")
    again = bank.agree_payment_plan(alma, Decimal("50.00"), 7, idempotency_key="k1")
    assert first == again
    assert actions(bank).count("agree_payment_plan") == 1


def test_a_retry_after_a_new_start_finds_what_was_done(path: Path, bank: SandboxBank, alma: str) -> None:
    card = bank.cards(alma)[0].id
    bank.block_card(alma, card, BlockReason.STOLEN, idempotency_key="k1")
    bank.close()
    again = SandboxBank(path, today=lambda: TODAY, customers=20)
    again.block_card(alma, card, BlockReason.STOLEN, idempotency_key="k1")
    assert actions(again).count("block_card") == 1


def test_a_key_of_another_request_is_an_error(bank: SandboxBank, alma: str) -> None:
    bank.request_callback(alma, MONDAY, PartOfDay.MORNING, idempotency_key="k1")
    with pytest.raises(IntegrityError, match="another request"):
        bank.request_callback(alma, MONDAY, PartOfDay.EVENING, idempotency_key="k1")
    with pytest.raises(InvalidInputError):
        bank.request_callback(alma, MONDAY, PartOfDay.MORNING, idempotency_key="")


def test_many_threads_with_one_key_act_once(bank: SandboxBank, alma: str) -> None:
    errors: list[Exception] = []

    def work() -> None:
        try:
            bank.request_callback(alma, MONDAY, PartOfDay.MORNING, idempotency_key="one")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert actions(bank).count("request_callback") == 1


def test_a_refused_change_leaves_no_trace(bank: SandboxBank, alma: str) -> None:
    before = bank.audit()
    assert refusal(lambda: bank.agree_payment_plan(alma, Decimal(50), 8, idempotency_key="k")) is (
        Refusal.OFFER_CHANGED
    )
    assert bank.audit() == before
    assert bank.agree_payment_plan(alma, Decimal(50), 7, idempotency_key="k").payments == 7


def _block_and_die(path: Path, customer: str, card: str) -> None:
    bank = SandboxBank(path, today=lambda: TODAY, customers=20)
    with mock.patch.object(bank, "_audit", side_effect=lambda *_: os._exit(9)):
        bank.block_card(customer, card, BlockReason.LOST, idempotency_key="k1")


def test_a_process_killed_between_change_and_audit_has_changed_nothing(
    path: Path, bank: SandboxBank, alma: str
) -> None:
    card = bank.cards(alma)[0].id
    process = multiprocessing.get_context("fork").Process(target=_block_and_die, args=(path, alma, card))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not bank.cards(alma)[0].blocked
    bank.block_card(alma, card, BlockReason.LOST, idempotency_key="k1")
    assert bank.cards(alma)[0].blocked


def test_audit_rows_cannot_be_changed_or_deleted(path: Path, bank: SandboxBank, alma: str) -> None:
    with sqlite3.connect(path) as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET customer = 'x'"):
            with pytest.raises(sqlite3.DatabaseError, match="final"):
                db.execute(statement)
    db.close()
    assert datetime.fromisoformat(bank.audit()[0]["at"]).tzinfo is not None


def test_a_card_is_blocked_for_good(bank: SandboxBank, alma: str) -> None:
    debit = next(card for card in bank.cards(alma) if card.kind is CardKind.DEBIT)
    bank.block_card(alma, debit.id, BlockReason.LOST, idempotency_key="k1")
    assert refusal(lambda: bank.block_card(alma, debit.id, BlockReason.LOST, idempotency_key="k2")) is (
        Refusal.ALREADY_BLOCKED
    )


# Plans and callbacks


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> SandboxBank:
    return SandboxBank(tmp_path_factory.mktemp("plans") / "bank.db", today=lambda: TODAY, customers=1)


@given(cents=st.integers(min_value=1_426, max_value=34_210))
def test_a_plan_adds_up_to_what_is_overdue_to_the_cent(lender: SandboxBank, cents: int) -> None:
    offer = lender.plan_offer("c00001", Decimal(cents) / 100)
    assert offer.monthly_payment * (offer.payments - 1) + offer.last_payment == offer.overdue
    assert 0 < offer.last_payment <= offer.monthly_payment
    assert offer.payments <= MOST_PAYMENTS


@pytest.mark.parametrize(
    ("payment", "reason"),
    [("14.25", Refusal.PAYMENT_TOO_SMALL), ("0.01", Refusal.PAYMENT_TOO_SMALL),
     ("342.11", Refusal.PAYMENT_TOO_LARGE), ("999999", Refusal.PAYMENT_TOO_LARGE)],
)  # fmt: skip
def test_a_payment_outside_of_what_makes_sense_is_refused(
    lender: SandboxBank, payment: str, reason: Refusal
) -> None:
    assert refusal(lambda: lender.plan_offer("c00001", Decimal(payment))) is reason


def test_the_least_payment_that_is_named_is_taken(bank: SandboxBank, alma: str) -> None:
    with pytest.raises(BankRefusalError) as caught:
        bank.plan_offer(alma, Decimal(1))
    assert caught.value.least is not None
    assert bank.plan_offer(alma, caught.value.least).payments <= MOST_PAYMENTS


def test_without_arrears_or_with_a_plan_there_is_nothing_to_agree(bank: SandboxBank, alma: str) -> None:
    bank.agree_payment_plan(alma, Decimal(50), 7, idempotency_key="k1")
    assert refusal(lambda: bank.plan_offer(alma, Decimal(50))) is Refusal.PLAN_EXISTS
    assert refusal(lambda: bank.plan_offer("c00002", Decimal(50))) is Refusal.NOTHING_OVERDUE


@pytest.mark.parametrize(
    "day", [TODAY, TODAY - timedelta(days=1), date(2026, 11, 21), date(2027, 3, 1)], ids=str
)
def test_a_day_that_is_past_too_far_or_no_business_day_cannot_be_called_on(
    bank: SandboxBank, alma: str, day: date
) -> None:
    assert refusal(lambda: bank.callback_offer(alma, day, PartOfDay.MORNING)) is Refusal.DAY_NOT_POSSIBLE


def test_without_a_day_the_next_business_day_is_offered_and_one_call_is_enough(
    bank: SandboxBank, alma: str
) -> None:
    offer = bank.callback_offer(alma, None, PartOfDay.MORNING)
    assert (offer.day, offer.ending) == (MONDAY, FIRST.phone[-2:])
    bank.request_callback(alma, MONDAY, PartOfDay.MORNING, idempotency_key="k1")
    assert refusal(lambda: bank.callback_offer(alma, None, PartOfDay.EVENING)) is Refusal.CALLBACK_EXISTS


def test_nothing_personal_is_in_what_is_printed_of_it(bank: SandboxBank, alma: str) -> None:
    printed = repr((bank.accounts(alma), bank.cards(alma), bank.plan_offer(alma, Decimal(50))))
    printed += repr(bank.transactions(alma, bank.accounts(alma)[0].id, most=5))
    assert all(secret not in printed for secret in ("1834", "4821", "342", "Bakery", "3307"))

"""A bank to talk to without a bank: `CoreBanking` over one SQLite file with synthetic customers.

The file is made once from a seed and then lives: cards stay blocked, plans stay agreed. Every change and its
row in the append-only audit table are one transaction, found again by idempotency key, so that a retry after
a crash does nothing twice. `python -m serving.cli.sandbox_bank` prints whom one can be.
"""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.tools.core_banking import (
    Account,
    AccountKind,
    BankRefusalError,
    BlockReason,
    CallbackOffer,
    Card,
    CardKind,
    PartOfDay,
    PlanOffer,
    Refusal,
    Transaction,
)
from serving.tools.money import cents
from serving.tools.plan import next_month
from serving.tools.sandbox_file import SandboxFile, in_cents, in_dollars
from serving.tools.sandbox_people import NUMBER_DIGITS, synthetic_customers

SEED = 20_260_503
CUSTOMERS = 200
LOCKED_AFTER = 9
"""Failed verifications of one customer, since the last one that was right, after which none is right."""
LOCKED_FOR = timedelta(hours=24)
MOST_PAYMENTS = 24
LEAST_PAYMENT = Decimal(10)
FURTHEST_CALLBACK = timedelta(days=30)
_NOBODY = hashlib.sha256(b"nobody").digest()
"""Compared with where a customer number is unknown, so that it takes as long as a known one."""


class SandboxBank:
    """See `CoreBanking`.

    Args:
        path: the SQLite file; made (mode 0600) where it is missing.
        today: the bank's day.
        seed: of the customers.
        customers: how many there are.
        now: UTC, for the audit.

    Raises:
        IntegrityError: the file is no sandbox, or one of another seed.
        UnavailableError: the file cannot be made or read.
    """

    customer_number_digits = NUMBER_DIGITS

    def __init__(
        self,
        path: Path,
        *,
        today: Callable[[], date],
        seed: int = SEED,
        customers: int = CUSTOMERS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._today = today
        self._now = now
        self._file = SandboxFile(path)
        self._file.make(synthetic_customers(seed, customers), seed, today())

    def close(self) -> None:
        """See `CoreBanking.close`."""
        self._file.close()

    # Reading

    def verify(self, customer_number: str, birth_date: date) -> str:
        """See `CoreBanking.verify`."""
        given = _proof(customer_number, birth_date.isoformat())
        with self._file.writing() as db:
            row = db.execute(
                "SELECT id, number, birth_date FROM customers WHERE number = ?", (customer_number,)
            ).fetchone()
            expected = _proof(row["number"], row["birth_date"]) if row else _NOBODY
            right = hmac.compare_digest(given, expected)
            customer = str(row["id"]) if row else ""
            verified = right and not self._locked(db, customer)
            self._audit(db, "verify", customer, None, {}, {"verified": verified})
        return customer if verified else ""

    def accounts(self, customer: str) -> tuple[Account, ...]:
        """See `CoreBanking.accounts`."""
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM accounts WHERE customer = ? ORDER BY id", (customer,)).fetchall()
        return tuple(
            Account(row["id"], AccountKind(row["kind"]), row["ending"], in_dollars(row["cents"]))
            for row in rows
        )

    def transactions(self, customer: str, account: str, *, most: int) -> tuple[Transaction, ...]:
        """See `CoreBanking.transactions`."""
        with self._file.reading() as db:
            owned = db.execute("SELECT 1 FROM accounts WHERE id = ? AND customer = ?", (account, customer))
            if owned.fetchone() is None:
                raise BankRefusalError(Refusal.NO_SUCH_ACCOUNT)
            rows = db.execute(
                "SELECT day, cents, text FROM transactions WHERE account = ? ORDER BY day DESC, id LIMIT ?",
                (account, max(0, most)),
            ).fetchall()
        return tuple(
            Transaction(date.fromisoformat(row["day"]), in_dollars(row["cents"]), row["text"]) for row in rows
        )

    def cards(self, customer: str) -> tuple[Card, ...]:
        """See `CoreBanking.cards`."""
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM cards WHERE customer = ? ORDER BY id", (customer,)).fetchall()
        return tuple(
            Card(row["id"], CardKind(row["kind"]), row["ending"], bool(row["blocked"])) for row in rows
        )

    def plan_offer(self, customer: str, monthly_payment: Decimal) -> PlanOffer:
        """See `CoreBanking.plan_offer`."""
        with self._file.reading() as db:
            return self._plan(db, customer, monthly_payment)

    def callback_offer(self, customer: str, day: date | None, part: PartOfDay) -> CallbackOffer:
        """See `CoreBanking.callback_offer`."""
        with self._file.reading() as db:
            return self._callback(db, customer, day, part)

    # Writing

    def block_card(self, customer: str, card: str, reason: BlockReason, *, idempotency_key: str) -> None:
        """See `CoreBanking.block_card`."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            row = db.execute(
                "SELECT blocked FROM cards WHERE id = ? AND customer = ?", (card, customer)
            ).fetchone()
            if row is None:
                raise BankRefusalError(Refusal.UNKNOWN_CARD)
            if row["blocked"]:
                raise BankRefusalError(Refusal.ALREADY_BLOCKED)
            db.execute("UPDATE cards SET blocked = 1, reason = ? WHERE id = ?", (reason.value, card))
            return {}

        self._once("block_card", customer, {"card": card, "reason": reason.value}, idempotency_key, work)

    def agree_payment_plan(
        self, customer: str, monthly_payment: Decimal, payments: int, *, idempotency_key: str
    ) -> PlanOffer:
        """See `CoreBanking.agree_payment_plan`."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            offer = self._plan(db, customer, monthly_payment)
            if offer.payments != payments:
                raise BankRefusalError(Refusal.OFFER_CHANGED)
            row = (
                customer,
                in_cents(offer.overdue),
                in_cents(monthly_payment),
                payments,
                str(offer.first_due),
            )
            db.execute("INSERT INTO payment_plans VALUES (?, ?, ?, ?, ?)", row)
            return {
                "overdue": str(offer.overdue),
                "last_payment": str(offer.last_payment),
                "first_due": str(offer.first_due),
            }

        request = {"monthly_payment": str(cents(monthly_payment)), "payments": payments}
        done = self._once("agree_payment_plan", customer, request, idempotency_key, work)
        return PlanOffer(
            Decimal(done["overdue"]),
            cents(monthly_payment),
            payments,
            Decimal(done["last_payment"]),
            date.fromisoformat(done["first_due"]),
        )

    def request_callback(
        self, customer: str, day: date, part: PartOfDay, *, idempotency_key: str
    ) -> CallbackOffer:
        """See `CoreBanking.request_callback`."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            offer = self._callback(db, customer, day, part)
            db.execute(
                "INSERT INTO callbacks (customer, day, part) VALUES (?, ?, ?)",
                (customer, str(day), part.value),
            )
            return {"ending": offer.ending}

        request = {"day": str(day), "part": part.value}
        done = self._once("request_callback", customer, request, idempotency_key, work)
        return CallbackOffer(day, part, done["ending"])

    def audit(self) -> tuple[Mapping[str, Any], ...]:
        """All rows of the audit table, oldest first."""
        with self._file.reading() as db:
            return tuple(dict(row) for row in db.execute("SELECT * FROM audit ORDER BY id"))

    # Rules

    def _locked(self, db: sqlite3.Connection, customer: str) -> bool:
        since = (self._now() - LOCKED_FOR).isoformat()
        rows = db.execute(
            "SELECT outcome FROM audit WHERE customer = ? AND action = 'verify' AND at >= ? "
            "ORDER BY id DESC LIMIT ?",
            (customer, since, LOCKED_AFTER),
        ).fetchall()
        failed = [not json.loads(row["outcome"])["verified"] for row in rows]
        return len(failed) == LOCKED_AFTER and all(failed)

    def _plan(self, db: sqlite3.Connection, customer: str, monthly_payment: Decimal) -> PlanOffer:
        (owed,) = db.execute(
            "SELECT COALESCE(SUM(overdue_cents), 0) FROM accounts WHERE customer = ?", (customer,)
        ).fetchone()
        if db.execute("SELECT 1 FROM payment_plans WHERE customer = ?", (customer,)).fetchone():
            raise BankRefusalError(Refusal.PLAN_EXISTS)
        if not owed:
            raise BankRefusalError(Refusal.NOTHING_OVERDUE)
        monthly = in_cents(monthly_payment)
        least = min(owed, max(in_cents(LEAST_PAYMENT), -(-owed // MOST_PAYMENTS)))
        if monthly < least:
            raise BankRefusalError(Refusal.PAYMENT_TOO_SMALL, least=in_dollars(least))
        if monthly > owed:
            raise BankRefusalError(Refusal.PAYMENT_TOO_LARGE)
        payments = -(-owed // monthly)
        last = owed - monthly * (payments - 1)
        first = next_month(self._today())
        return PlanOffer(in_dollars(owed), in_dollars(monthly), payments, in_dollars(last), first)

    def _callback(
        self, db: sqlite3.Connection, customer: str, day: date | None, part: PartOfDay
    ) -> CallbackOffer:
        row = db.execute("SELECT phone FROM customers WHERE id = ?", (customer,)).fetchone()
        if row is None:
            raise MissingError("There is no such customer.")
        today = self._today()
        open_one = db.execute(
            "SELECT 1 FROM callbacks WHERE customer = ? AND day > ?", (customer, str(today))
        )
        if open_one.fetchone():
            raise BankRefusalError(Refusal.CALLBACK_EXISTS)
        if day is None:
            day = next(later for later in _days_after(today) if later.weekday() < 5)
        if not today < day <= today + FURTHEST_CALLBACK or day.weekday() >= 5:
            raise BankRefusalError(Refusal.DAY_NOT_POSSIBLE)
        return CallbackOffer(day, part, row["phone"][-2:])

    # The file

    def _once(
        self,
        action: str,
        customer: str,
        request: Mapping[str, Any],
        key: str,
        work: Callable[[sqlite3.Connection], dict[str, Any]],
    ) -> dict[str, Any]:
        """Do a change and audit it in one transaction; under a known key return what was done under it."""
        if not key:
            raise InvalidInputError(f"{action} needs an idempotency key.")
        with self._file.writing() as db:
            row = db.execute("SELECT * FROM audit WHERE idempotency_key = ?", (key,)).fetchone()
            if row is None:
                outcome = work(db)
                self._audit(db, action, customer, key, request, outcome)
                return outcome
            if (row["action"], row["customer"], json.loads(row["request"])) != (action, customer, request):
                raise IntegrityError("This idempotency key stands for another request.")
            return dict(json.loads(row["outcome"]))

    def _audit(
        self,
        db: sqlite3.Connection,
        action: str,
        customer: str,
        key: str | None,
        request: Mapping[str, Any],
        outcome: Mapping[str, Any],
    ) -> None:
        row = (self._now().isoformat(), action, customer, key, json.dumps(request), json.dumps(outcome))
        db.execute(
            "INSERT INTO audit (at, action, customer, idempotency_key, request, outcome) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )


def _proof(number: str, birth_date: str) -> bytes:
    return hashlib.sha256(f"{number}\x1f{birth_date}".encode()).digest()


def _days_after(day: date) -> Iterator[date]:
    while True:
        day += timedelta(days=1)
        yield day

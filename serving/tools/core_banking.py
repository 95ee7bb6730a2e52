"""The port to a bank's own systems: what a call may ask of them, and nothing of how they answer.

`SandboxBank` implements it with synthetic customers; a real bank implements the same protocol. Every method
may block, and is called from threads of the tool executor. Amounts are `Decimal` dollars, days are the
bank's own, ids are the bank's and never spoken.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from serving.errors import RefusedError


class AccountKind(StrEnum):
    """What an account is, in a caller's words."""

    CHECKING = "checking account"
    SAVINGS = "savings account"
    LOAN = "loan"
    CREDIT_CARD = "credit card"


class CardKind(StrEnum):
    """What a card is."""

    DEBIT = "debit card"
    CREDIT = "credit card"


class BlockReason(StrEnum):
    """Why a card is to be blocked."""

    LOST = "lost"
    STOLEN = "stolen"
    MISUSED = "misused"
    OTHER = "other"


class PartOfDay(StrEnum):
    """When a caller wants to be called back."""

    MORNING = "morning"
    AFTERNOON = "afternoon"
    EVENING = "evening"


class Refusal(StrEnum):
    """Why a bank declines; each has a phrase `bank_…` that tells the caller."""

    NO_SUCH_ACCOUNT = "no_such_account"
    NO_TRANSACTIONS = "no_transactions"
    NO_CARD = "no_card"
    UNKNOWN_CARD = "unknown_card"
    ALREADY_BLOCKED = "already_blocked"
    NOTHING_OVERDUE = "nothing_overdue"
    PLAN_EXISTS = "plan_exists"
    PAYMENT_TOO_SMALL = "payment_too_small"
    PAYMENT_TOO_LARGE = "payment_too_large"
    OFFER_CHANGED = "offer_changed"
    CALLBACK_EXISTS = "callback_exists"
    DAY_NOT_POSSIBLE = "day_not_possible"


class BankRefusalError(RefusedError):
    """The bank understood and declines.

    Args:
        reason: why.
        least: smallest monthly payment that would be taken, for `PAYMENT_TOO_SMALL`.
    """

    def __init__(self, reason: Refusal, *, least: Decimal | None = None) -> None:
        super().__init__(f"The bank declines: {reason.value}.")
        self.reason = reason
        self.least = least


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a customer.

    Attributes:
        id: the bank's.
        ending: last digits of its number, as a caller knows them.
        balance: what is on it; what is owed, for loans and credit cards.
    """

    id: str
    kind: AccountKind
    ending: str = field(repr=False)
    balance: Decimal = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A booked movement on an account.

    Attributes:
        amount: positive where money came in, negative where it went out.
        text: who got it or sent it, or what it was.
    """

    day: date
    amount: Decimal = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a customer."""

    id: str
    kind: CardKind
    ending: str = field(repr=False)
    blocked: bool


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """How an overdue amount would be paid back; its payments add up to it.

    Attributes:
        payments: how many there are; the last one is what is left.
        first_due: day of the first.
    """

    overdue: Decimal = field(repr=False)
    monthly_payment: Decimal
    payments: int
    last_payment: Decimal = field(repr=False)
    first_due: date


@dataclass(frozen=True, slots=True)
class CallbackOffer:
    """When the bank would call, and on which number.

    Attributes:
        ending: last digits of the number that the bank has.
    """

    day: date
    part: PartOfDay
    ending: str = field(repr=False)


class CoreBanking(Protocol):
    """A bank's systems.

    All methods but `verify` take the customer id that `verify` gave, and see nothing of anybody else: a card
    or an account of another customer is one that does not exist. Writes take an idempotency key: the same
    key again returns what was done under it and does nothing, also after a crash on either side.

    Raises:
        BankRefusalError: from any method but `verify`, the bank declines.
        UnavailableError: from any method, the system does not answer now.
        IntegrityError: from any write, its key stands for another request.
    """

    customer_number_digits: int
    """Length of a customer number."""

    def verify(self, customer_number: str, birth_date: date) -> str:
        """The customer's id; empty where the two do not belong together.

        The answer takes the same time whichever of them is wrong, and every attempt is audited. A customer
        whose attempts failed too often is not verified any more, and nobody is told which it was.
        """
        ...

    def accounts(self, customer: str) -> tuple[Account, ...]:
        """All accounts, the checking account first."""
        ...

    def transactions(self, customer: str, account: str, *, most: int) -> tuple[Transaction, ...]:
        """The newest movements of an account, newest first."""
        ...

    def cards(self, customer: str) -> tuple[Card, ...]:
        """All cards, blocked ones too."""
        ...

    def plan_offer(self, customer: str, monthly_payment: Decimal) -> PlanOffer:
        """How what is overdue would be paid back with a payment that the customer can afford."""
        ...

    def callback_offer(self, customer: str, day: date | None, part: PartOfDay) -> CallbackOffer:
        """Whether the customer can be called then; without a day, on the next business day."""
        ...

    def block_card(self, customer: str, card: str, reason: BlockReason, *, idempotency_key: str) -> None:
        """Block a card for good and send a new one."""
        ...

    def agree_payment_plan(
        self, customer: str, monthly_payment: Decimal, payments: int, *, idempotency_key: str
    ) -> PlanOffer:
        """Agree the plan that was offered; another number of payments than it has now is refused."""
        ...

    def request_callback(
        self, customer: str, day: date, part: PartOfDay, *, idempotency_key: str
    ) -> CallbackOffer:
        """Have the customer called back on the number that the bank has."""
        ...

    def close(self) -> None:
        """No call may follow."""
        ...

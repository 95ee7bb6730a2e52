"""The tools of a verified customer: balances, movements, cards, overdue payments, callbacks.

Each acts for the customer of its context and for nobody else, whatever its arguments say; without a verified
one it refuses. What it tells of the customer is hidden (`serving.tools.hiding`). Writes pass their
idempotency key on to the bank. No answering engine is ever offered these tools: who somebody is and what is
changed is decided by rules (`serving.call.banking`).
"""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from serving.errors import RefusedError
from serving.spoken.written import dollars
from serving.tools.core_banking import (
    Account,
    AccountKind,
    BankRefusalError,
    BlockReason,
    CoreBanking,
    PartOfDay,
    Refusal,
    Transaction,
)
from serving.tools.hiding import Hidden
from serving.tools.protocols import Effect, Tool, ToolContext
from serving.tools.schema import Personal, tool_schema

MOST_TRANSACTIONS = 5
"""Movements that are read out at most; nobody listens to more."""

Number = Annotated[str, Field(max_length=40, description="Customer number, digits only."), Personal]
BirthDate = Annotated[date, Field(description="Date of birth."), Personal]
AnyAccount = Annotated[AccountKind | None, Field(description="Which account; null for all of them.")]
CardId = Annotated[str, Field(max_length=80, description="Id of the card, from list_cards."), Personal]
Payment = Annotated[
    Decimal, Field(gt=0, le=1_000_000, max_digits=12, description="What the customer pays each month.")
]
Part = Annotated[PartOfDay, Field(description="When on that day.")]


def customer_tools(bank: CoreBanking) -> tuple[Tool, ...]:
    """All tools of a bank's customers.

    Args:
        bank: where accounts and cards are.
    """
    of = _CustomerTools(bank)
    reads = (
        of.verify_caller, of.get_balance, of.list_transactions, of.list_cards, of.offer_payment_plan,
        of.offer_callback,
    )  # fmt: skip
    writes = (of.block_card, of.agree_payment_plan, of.request_callback)
    return (
        *(_tool(function, Effect.READ) for function in reads),
        *(_tool(function, Effect.WRITE) for function in writes),
    )


class _CustomerTools:
    """The tools' functions; see `customer_tools`."""

    def __init__(self, bank: CoreBanking) -> None:
        self._bank = bank

    def verify_caller(self, customer_number: Number, birth_date: BirthDate) -> Mapping[str, Any]:
        """Find out whether a customer number and a date of birth belong together."""
        customer = self._bank.verify(customer_number, birth_date)
        return (
            {"verified": True, "customer": Hidden("customer", customer)} if customer else {"verified": False}
        )

    def get_balance(self, context: ToolContext, account: AnyAccount = None) -> Mapping[str, Any]:
        """Read the customer's balances."""

        def work() -> Mapping[str, Any]:
            return {"accounts": [_balance(item) for item in _accounts(self._bank, context, account)]}

        return _told(work)

    def list_transactions(
        self,
        context: ToolContext,
        account: AnyAccount = None,
        most: Annotated[int, Field(ge=1, le=MOST_TRANSACTIONS, description="How many, newest first.")] = 3,
    ) -> Mapping[str, Any]:
        """Read the newest movements of one of the customer's accounts, the checking account by default."""

        def work() -> Mapping[str, Any]:
            found = _accounts(self._bank, context, account)[0]
            movements = self._bank.transactions(_customer(context), found.id, most=most)
            if not movements:
                raise BankRefusalError(Refusal.NO_TRANSACTIONS)
            return {"account": found.kind, "transactions": [_movement(item) for item in movements]}

        return _told(work)

    def list_cards(self, context: ToolContext) -> Mapping[str, Any]:
        """List the customer's cards."""
        return {
            "cards": [
                {
                    "id": Hidden("card_id", card.id),
                    "kind": card.kind,
                    "ending": Hidden("ending", card.ending),
                    "blocked": card.blocked,
                }
                for card in self._bank.cards(_customer(context))
            ]
        }

    def offer_payment_plan(self, context: ToolContext, monthly_payment: Payment) -> Mapping[str, Any]:
        """Work out how an overdue amount would be paid back; nothing is agreed yet."""

        def work() -> Mapping[str, Any]:
            offer = self._bank.plan_offer(_customer(context), monthly_payment)
            return {
                "overdue": Hidden("overdue", dollars(offer.overdue)),
                "monthly_payment": offer.monthly_payment,
                "payments": offer.payments,
                "last_payment": Hidden("last_payment", dollars(offer.last_payment)),
                "first_due": offer.first_due,
            }

        return _told(work)

    def offer_callback(
        self,
        context: ToolContext,
        part: Part,
        day: Annotated[date | None, Field(description="Null for the next business day.")] = None,
    ) -> Mapping[str, Any]:
        """Find out whether the customer can be called back then; nothing is booked yet."""

        def work() -> Mapping[str, Any]:
            offer = self._bank.callback_offer(_customer(context), day, part)
            return {"day": offer.day, "part": offer.part, "ending": Hidden("ending", offer.ending)}

        return _told(work)

    def block_card(
        self,
        context: ToolContext,
        card: CardId,
        reason: Annotated[BlockReason, Field(description="Why.")] = BlockReason.OTHER,
    ) -> Mapping[str, Any]:
        """Block one of the customer's cards for good; a new one is sent."""

        def work() -> Mapping[str, Any]:
            self._bank.block_card(_customer(context), card, reason, idempotency_key=context.idempotency_key)
            return {}

        return _told(work)

    def agree_payment_plan(
        self,
        context: ToolContext,
        monthly_payment: Payment,
        payments: Annotated[int, Field(ge=1, le=600, description="How many payments were offered.")],
    ) -> Mapping[str, Any]:
        """Agree the payment plan that was offered for what is overdue."""

        def work() -> Mapping[str, Any]:
            made = self._bank.agree_payment_plan(
                _customer(context), monthly_payment, payments, idempotency_key=context.idempotency_key
            )
            return {"payments": made.payments, "first_due": made.first_due}

        return _told(work)

    def request_callback(
        self, context: ToolContext, day: Annotated[date, Field(description="A business day.")], part: Part
    ) -> Mapping[str, Any]:
        """Have the customer called back on the number that the bank has."""

        def work() -> Mapping[str, Any]:
            key = context.idempotency_key
            made = self._bank.request_callback(_customer(context), day, part, idempotency_key=key)
            return {"day": made.day, "part": made.part}

        return _told(work)


def _tool(function: Callable[..., Mapping[str, Any]], effect: Effect) -> Tool:
    return Tool(tool_schema(function), function, effect)


def _customer(context: ToolContext) -> str:
    if not context.customer:
        raise RefusedError("The caller has not been verified.")
    return context.customer


def _told(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What work gives, or why the bank declines: `possible`, and `reason` where it is not."""
    try:
        return {"possible": True, **work()}
    except BankRefusalError as refusal:
        least = {} if refusal.least is None else {"least": Hidden("least", dollars(refusal.least))}
        return {"possible": False, "reason": refusal.reason, **least}


def _accounts(bank: CoreBanking, context: ToolContext, kind: AccountKind | None) -> tuple[Account, ...]:
    found = bank.accounts(_customer(context))
    found = tuple(account for account in found if kind is None or account.kind is kind)
    if not found:
        raise BankRefusalError(Refusal.NO_SUCH_ACCOUNT)
    return found


def _balance(account: Account) -> Mapping[str, Any]:
    owed = account.kind in {AccountKind.LOAN, AccountKind.CREDIT_CARD}
    sign = "minus " if account.balance < 0 else ""
    amount = Hidden("balance", f"{sign}{dollars(abs(account.balance))}")
    return {"account": account.kind, "owed": owed, "balance": amount}


def _movement(movement: Transaction) -> Hidden:
    day = f"{movement.day:%B} {movement.day.day}"
    way = "to" if movement.amount < 0 else "in, from"
    return Hidden("transaction", f"on {day}, {dollars(abs(movement.amount))} {way} {movement.text}")

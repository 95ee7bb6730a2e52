"""What a caller's words say for a task at the bank's desk: which account, which card, how much, when.

Read from redacted turns: an amount is in its typed values, a card's last digits are a placeholder.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from serving.call import policy
from serving.call.dialogue import Step
from serving.call.understanding import Understood
from serving.spoken.values import Kind
from serving.tools.core_banking import AccountKind, BlockReason, CardKind, PartOfDay
from serving.tools.customer_tools import MOST_TRANSACTIONS

PARTS: Mapping[str, str] = {part.value: part.value for part in PartOfDay}
"""Part of a day as it is said."""
_ACCOUNTS = {
    "checking": AccountKind.CHECKING,
    "savings": AccountKind.SAVINGS,
    "credit_card": AccountKind.CREDIT_CARD,
    "personal_loan": AccountKind.LOAN,
    "car_loan": AccountKind.LOAN,
    "mortgage": AccountKind.LOAN,
    "home_improvement_loan": AccountKind.LOAN,
}
"""A product of the lexicon → the account that it is."""
_CARDS = {"debit_card": CardKind.DEBIT, "credit_card": CardKind.CREDIT}
_KINDS = (("debit", CardKind.DEBIT), ("credit", CardKind.CREDIT))
_STOLEN = re.compile(r"\b(?:stole|stolen|robbed|mugged|nicked|snatched|thief)\b", re.IGNORECASE)
_LOST = re.compile(r"\b(?:lost|missing|can(?:'t|not) find)\b", re.IGNORECASE)
_PARTS = (
    (re.compile(r"\b(?:morning|before noon|a\.?m\.?)\b", re.IGNORECASE), PartOfDay.MORNING),
    (re.compile(r"\b(?:afternoon|noon|lunch ?time)\b", re.IGNORECASE), PartOfDay.AFTERNOON),
    (re.compile(r"\b(?:evening|tonight|after work)\b", re.IGNORECASE), PartOfDay.EVENING),
)


class Slots(Protocol):
    """Reads what a turn says for a task."""

    def __call__(self, turn: Understood, *, asked: Step | None) -> dict[str, Any]:
        """Arguments by name; personal ones as placeholders.

        Args:
            turn: the turn, redacted.
            asked: what the bot has just asked for; None where the caller begins.
        """
        ...


def _account(turn: Understood, *, asked: Step | None) -> dict[str, Any]:  # noqa: ARG001 (nothing is asked)
    kinds = {_ACCOUNTS[name] for name in turn.user.facets.get("product", ()) if name in _ACCOUNTS}
    return {"account": kinds.pop().value} if len(kinds) == 1 else {}


def _movements(turn: Understood, *, asked: Step | None) -> dict[str, Any]:
    counts = [
        value.value
        for value in turn.user.values
        if value.kind is Kind.COUNT and isinstance(value.value, int) and value.value >= 1
    ]
    most = {"most": min(counts[0], MOST_TRANSACTIONS)} if len(counts) == 1 else {}
    return {**_account(turn, asked=asked), **most}


def _card(turn: Understood, *, asked: Step | None) -> dict[str, Any]:
    text = turn.user.text.lower()
    said: dict[str, Any] = {}
    kinds = {_CARDS[name] for name in turn.user.facets.get("product", ()) if name in _CARDS}
    if asked is not None:
        kinds |= {kind for word, kind in _KINDS if re.search(rf"\b{word}\b", text)}
    if len(kinds) == 1:
        said["kind"] = kinds.pop().value
    endings = [str(value.value) for value in turn.user.values if value.kind is Kind.CODE]
    if len(endings) == 1:
        said["ending"] = endings[0]
    if asked is None:
        said["reason"] = _reason(turn, text).value
    return said


def _reason(turn: Understood, text: str) -> BlockReason:
    if turn.tag.label == "compromised_card":
        return BlockReason.MISUSED
    if _STOLEN.search(text):
        return BlockReason.STOLEN
    lost = turn.tag.label == "lost_or_stolen_card" or _LOST.search(text)
    return BlockReason.LOST if lost else BlockReason.OTHER


def _payment(turn: Understood, *, asked: Step | None) -> dict[str, Any]:
    corrects = asked is Step.CONFIRM and policy.declines(turn.user)  # "no, make it a hundred"
    kinds = {Kind.MONEY, Kind.COUNT} if asked is Step.AMOUNT or corrects else {Kind.MONEY}
    amounts = {
        Decimal(value.value)
        for value in turn.user.values
        if value.kind in kinds
        and isinstance(value.value, int | Decimal)
        and value.unit in {"", "USD"}
        and value.value > 0
    }
    return {"monthly_payment": str(amounts.pop())} if len(amounts) == 1 else {}


def _time(turn: Understood, *, asked: Step | None) -> dict[str, Any]:  # noqa: ARG001 (the same at any time)
    parts = {part for pattern, part in _PARTS if pattern.search(turn.user.text)}
    days = {value.value for value in turn.user.values if value.kind is Kind.DATE}
    said: dict[str, Any] = {"part": parts.pop().value} if len(parts) == 1 else {}
    day = days.pop() if len(days) == 1 else None
    if isinstance(day, date):
        said["day"] = day.isoformat()
    return said


SLOTS: Mapping[str, Slots] = {
    "account_balance": _account,
    "recent_transactions": _movements,
    "block_card": _card,
    "agree_payment_plan": _payment,
    "request_callback": _time,
}
"""Task → what its words may say."""

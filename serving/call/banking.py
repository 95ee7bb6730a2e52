"""What callers have done on their own accounts: balances, movements, a card, an overdue amount, a callback.

Rules, no engine: who is not verified is verified first; what changes something is read back and happens only
when the caller agrees to exactly that. Nothing here is ever cached.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from serving.call import policy, verification
from serving.call.agreement import agrees_to
from serving.call.clock import Laps
from serving.call.desk import Desk, Move, arguments_with
from serving.call.desk_slots import PARTS, SLOTS
from serving.call.dialogue import IDENTIFYING, PendingTask, Step
from serving.call.machine import Next
from serving.call.record import Decision
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood
from serving.language.embedded import dollars, month_of
from serving.tools.core_banking import Refusal
from serving.tools.protocols import ToolResult

BALANCE = "account_balance"
TRANSACTIONS = "recent_transactions"
BLOCK = "block_card"
PLAN = "agree_payment_plan"
CALLBACK = "request_callback"
OFFERS: Mapping[str, str] = {
    "lost_or_stolen_card": BLOCK,
    "compromised_card": BLOCK,
    "payment_difficulty": PLAN,
}
"""Intents that are answered from the knowledge, and what can be done for the caller besides."""
_ASKED_FOR = {
    BLOCK: re.compile(r"\b(?:block|freeze|stop|lock|deactivate|disable|cancel)\b", re.IGNORECASE),
    PLAN: re.compile(r"\b(?:plan|arrange|arrangement|agree|agreement)\b", re.IGNORECASE),
}
"""Words with which such a caller asks for just that."""
_ASKS_AGAIN = {
    Refusal.UNKNOWN_CARD: Step.CARD,
    Refusal.PAYMENT_TOO_SMALL: Step.AMOUNT,
    Refusal.PAYMENT_TOO_LARGE: Step.AMOUNT,
    Refusal.OFFER_CHANGED: Step.AMOUNT,
    Refusal.DAY_NOT_POSSIBLE: Step.TIME,
}
"""What a refusal asks for, where another answer may help."""
_QUESTION = re.compile(r"(?:how|what|when|why|where|who|which)\b", re.IGNORECASE)
_LEAVES = (policy.TRANSFER, policy.OPT_OUT, policy.GOODBYE, policy.REPEAT, *sorted(policy.ASIDES))


def bank_move(box: Toolbox, turn: Understood, laps: Laps) -> Move | None:
    """The reply to a turn that is about the caller's own accounts; None for any other turn."""
    if box.banking is None:
        return None
    desk = Desk(box, box.banking, turn, laps)
    pending = turn.state.pending
    if pending is not None and pending.intent in _TASKS and pending.step is not None:
        move = _continued(desk, pending, pending.step)
        if move is not None:
            return move
    task = _wanted(turn)
    return _begun(desk, PendingTask(task, arguments=SLOTS[task](turn, asked=None))) if task else None


def offer(box: Toolbox, turn: Understood) -> PendingTask | None:
    """What the bot can do besides answering, as a question; None where there is nothing."""
    task = OFFERS.get(turn.tag.label, "") if box.banking is not None and turn.tag.in_scope else ""
    if not task:
        return None
    arguments = SLOTS[task](turn, asked=None)
    return PendingTask(task, box.phrase(f"offer_{task}"), step=Step.OFFER, arguments=arguments)


def _wanted(turn: Understood) -> str:
    """The task that a turn asks for in so many words."""
    label = turn.tag.label
    if not turn.tag.in_scope:
        return ""
    if label in _TASKS:
        return label
    task = OFFERS.get(label, "")
    return task if task and _ASKED_FOR[task].search(turn.user.text) else ""


def _continued(desk: Desk, pending: PendingTask, step: Step) -> Move | None:
    """Take a turn as the answer to what was asked; None where it is about something else."""
    user = desk.turn.user
    if step in IDENTIFYING:
        if verification.tries_to_answer(desk):
            unsure = desk.turn.confidence < desk.box.confirm_below  # a misheard digit must not cost a try
            return _once_more(desk, pending, "bank_unsure") if unsure else _begun(desk, pending)
    elif said := _said(desk, pending, step):
        return _begun(desk, replace(pending, arguments={**pending.arguments, **said}, step=None))
    elif step in {Step.OFFER, Step.CONFIRM} and (_agreed(desk, pending) or policy.declines(user)):
        return _answered(desk, pending, step)
    return None if _leaves(desk, pending, step) else _once_more(desk, pending)


def _said(desk: Desk, pending: PendingTask, step: Step) -> dict[str, Any]:
    """What a turn says for the task that it did not know before; an offer needs a yes first."""
    user = desk.turn.user
    elsewhere = user.task or (user.tag.in_scope and user.tag.label != pending.intent)
    if step is Step.OFFER or (elsewhere and _QUESTION.match(user.text)):
        return {}
    true = desk.state.placeholders
    said = SLOTS[pending.intent](desk.turn, asked=step)
    return {
        name: value
        for name, value in said.items()
        if true.get(str(value), value) != true.get(str(known := pending.arguments.get(name)), known)
    }


def _leaves(desk: Desk, pending: PendingTask, step: Step) -> bool:
    """Whether the caller does not answer but wants something else."""
    tag = desk.turn.tag
    if not tag.in_scope:
        return step is Step.OFFER
    if tag.label == policy.DENY:
        return step not in {Step.OFFER, Step.CONFIRM}
    return tag.label in _LEAVES or tag.label not in {policy.AFFIRM, pending.intent}


def _once_more(desk: Desk, pending: PendingTask, phrase: str = "bank_again") -> Move:
    text = policy.asked_again(desk.phrase(phrase), pending)
    move = desk.ask(text, pending, understood=False)
    return replace(move, pending=pending)


def _agreed(desk: Desk, pending: PendingTask) -> bool:
    """Whether the caller says yes; to what was read back, in no word that is not known to be harmless."""
    if pending.step is Step.CONFIRM:
        return agrees_to(desk.turn.user, pending, desk.state.placeholders)
    return policy.agrees(desk.turn.user)


def _answered(desk: Desk, pending: PendingTask, step: Step) -> Move:
    """Yes or no to an offer, or to what was read back; to what was not heard it is neither."""
    if not pending.heard:
        return _once_more(desk, pending)
    if policy.declines(desk.turn.user):
        return desk.say(desk.phrase("bank_denied"), Decision.CONTROL)
    if step is Step.OFFER:
        return _begun(desk, replace(pending, step=None))
    if desk.turn.confidence < desk.box.confirm_below:
        return _once_more(desk, pending, "bank_unsure")
    return _carried_out(desk, pending)


def _begun(desk: Desk, task: PendingTask) -> Move:
    move = verification.identify(desk, task)
    if move is not None:
        return move
    kept = {name: value for name, value in task.arguments.items() if name != "customer_number"}
    return _TASKS[task.intent](desk, replace(task, arguments=kept))


# Reading


def _balance(desk: Desk, task: PendingTask) -> Move:
    result = desk.run("get_balance", **task.arguments)
    if not _possible(result):
        return _refused(desk, task, result)
    told = [
        desk.phrase(
            "balance_owe" if item["owed"] else "balance_have",
            account=item["account"],
            balance=item["balance"],
        )
        for item in result.value["accounts"]
    ]
    return desk.say(" ".join([*told, desk.phrase("anything_else")]))


def _transactions(desk: Desk, task: PendingTask) -> Move:
    result = desk.run("list_transactions", **task.arguments)
    if not _possible(result):
        return _refused(desk, task, result)
    lines = " ".join(f"{item}." for item in result.value["transactions"])
    told = desk.phrase("transactions", account=result.value["account"], list=lines)
    return desk.say(f"{told} {desk.phrase('anything_else')}")


# Reading back, before anything is changed


def _block(desk: Desk, task: PendingTask) -> Move:
    result = desk.run("list_cards")
    if not result.ok:
        return _refused(desk, task, result)
    cards = result.value["cards"]
    if not cards:
        return _declined(desk, task, Refusal.NO_CARD)
    true = desk.state.placeholders
    ending = true.get(str(task.arguments.get("ending", "")), "")
    kind = task.arguments.get("kind", "")
    fitting = [
        card
        for card in cards
        if (not ending or true[card["ending"]] == ending) and kind in {"", card["kind"]}
    ]
    if not fitting:
        return _declined(desk, _without(task, "ending", "kind"), Refusal.UNKNOWN_CARD)
    usable = [card for card in fitting if not card["blocked"]]
    if not usable:
        return _declined(desk, task, Refusal.ALREADY_BLOCKED)
    if len(usable) > 1:
        named = [_card(desk, "block_card_of", card) for card in usable]
        question = desk.phrase("block_which", cards=f"{', '.join(named[:-1])} or {named[-1]}")
        return desk.ask(question, replace(task, step=Step.CARD))
    (card,) = usable
    known = arguments_with(task, card=card["id"], kind=card["kind"], ending=card["ending"])
    return desk.ask(_card(desk, "block_confirm", card), replace(task, step=Step.CONFIRM, arguments=known))


def _plan(desk: Desk, task: PendingTask) -> Move:
    if "monthly_payment" not in task.arguments:
        return desk.ask(desk.phrase("plan_amount"), replace(task, step=Step.AMOUNT))
    monthly = task.arguments["monthly_payment"]
    result = desk.run("offer_payment_plan", monthly_payment=monthly)
    if not _possible(result):
        return _refused(desk, _without(task, "monthly_payment"), result)
    offered = result.value
    question = desk.phrase(
        "plan_confirm",
        payment=dollars(offered["monthly_payment"]),
        payments=_times(offered["payments"]),
        day=_day(offered["first_due"]),
        overdue=offered["overdue"],
    )
    known = arguments_with(task, payments=offered["payments"])
    return desk.ask(question, replace(task, step=Step.CONFIRM, arguments=known))


def _callback(desk: Desk, task: PendingTask) -> Move:
    if "part" not in task.arguments:
        return desk.ask(desk.phrase("callback_time"), replace(task, step=Step.TIME))
    wanted = {name: task.arguments[name] for name in ("day", "part") if name in task.arguments}
    result = desk.run("offer_callback", **wanted)
    if not _possible(result):
        return _refused(desk, _without(task, "day"), result)
    offered = result.value
    question = desk.phrase(
        "callback_confirm",
        day=_day(offered["day"]),
        part=PARTS[offered["part"]],
        ending=offered["ending"],
    )
    known = arguments_with(task, day=offered["day"], part=offered["part"])
    return desk.ask(question, replace(task, step=Step.CONFIRM, arguments=known))


_TASKS: Mapping[str, Callable[[Desk, PendingTask], Move]] = {
    BALANCE: _balance,
    TRANSACTIONS: _transactions,
    BLOCK: _block,
    PLAN: _plan,
    CALLBACK: _callback,
}
_WRITES: Mapping[str, tuple[str, ...]] = {
    BLOCK: ("card", "reason"),
    PLAN: ("monthly_payment", "payments"),
    CALLBACK: ("day", "part"),
}
"""What is passed on, out of what was read back."""


def _carried_out(desk: Desk, task: PendingTask) -> Move:
    """Do what the caller has agreed to, once."""
    given = {name: task.arguments[name] for name in _WRITES[task.intent] if name in task.arguments}
    result = desk.run(task.intent, confirmed=True, **given)
    if not result.begun:
        return _unreached(desk, "bank_write_not_done")
    if not result.ok:
        text = desk.phrase("bank_write_unclear")
        return desk.say(text, Decision.TRANSFER, next=Next.TRANSFER, holds=True)
    if not _possible(result):
        return _refused(desk, task, result)
    value = result.value
    fields: dict[str, str] = {}
    if task.intent == PLAN:
        fields = {"payments": _times(value["payments"]), "day": _day(value["first_due"])}
    elif task.intent == CALLBACK:
        fields = {"day": _day(value["day"]), "part": PARTS[value["part"]]}
    return desk.say(desk.phrase(f"{task.intent}_done", **fields), holds=True)


# Refusals


def _possible(result: ToolResult) -> bool:
    return result.ok and bool(result.value["possible"])


def _refused(desk: Desk, task: PendingTask, result: ToolResult) -> Move:
    if not result.ok:
        return _unreached(desk, "bank_unavailable")
    return _declined(desk, task, Refusal(result.value["reason"]), str(result.value.get("least", "")))


def _unreached(desk: Desk, phrase: str) -> Move:
    """Say so, and offer a person."""
    return desk.say(desk.phrase(phrase), Decision.APOLOGY, pending=PendingTask(policy.TRANSFER))


def _declined(desk: Desk, task: PendingTask, refusal: Refusal, least: str = "") -> Move:
    """Tell why not; where another answer may help, it is asked for."""
    text = desk.phrase(f"bank_{refusal}", least=least)
    step = _ASKS_AGAIN.get(refusal)
    if step is None:
        return desk.say(text, Decision.ANSWER)
    return desk.ask(text, replace(_without(task, "monthly_payment", "day", "part"), step=step))


def _without(task: PendingTask, *names: str) -> PendingTask:
    kept = {name: value for name, value in task.arguments.items() if name not in names}
    return replace(task, arguments=kept)


# Words


def _card(desk: Desk, phrase: str, card: Mapping[str, Any]) -> str:
    return desk.phrase(phrase, card=str(card["kind"]), ending=str(card["ending"]))


def _times(count: int) -> str:
    return f"{count} payment{'' if count == 1 else 's'}"


def _day(day: str) -> str:
    """`2026-12-20` as `December 20`."""
    return f"{month_of(day).split()[0]} {int(day[-2:])}"

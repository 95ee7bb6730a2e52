"""Who is calling: customer number and date of birth, before anything personal is said or done.

Digits may be spoken in one go, in parts, or keyed. A number and a date that do not belong together count as
a failed try; after the third in a call a person takes over. Which of them was wrong is never said. Nothing of
it leaves the call's placeholders, not even half a number.
"""

from dataclasses import replace

from serving.call.desk import CUSTOMER, Desk, Move, arguments_with
from serving.call.dialogue import PendingTask, Step
from serving.call.machine import Next
from serving.call.policy import NO_DAY
from serving.call.record import Decision
from serving.spoken.values import Kind

TRIES = 3
"""Failed tries in a call after which a person takes over."""
_SOME_DIGITS = 4
"""So many are part of a number, whatever else the words may mean."""
_DIGITS = frozenset({Kind.ACCOUNT, Kind.PHONE, Kind.CODE, Kind.CARD})
"""Kinds that a customer number may be taken for."""


def identify(desk: Desk, task: PendingTask) -> Move | None:
    """Go on with finding out who calls, for a task that needs it; None once the caller is verified.

    Args:
        desk: the turn.
        task: what the caller wants; its arguments hold what is known of the number.
    """
    if desk.state.verified:
        return None
    digits, birth = _said(desk, task)
    wanted = desk.bank.number_digits
    if len(digits) > wanted or (digits and birth and len(digits) < wanted):
        return _ask(desk, _without_number(task), "verify_number_again", digits=str(wanted))
    if not digits:
        return _ask(desk, task, "verify_number")
    task = replace(task, arguments=arguments_with(task, customer_number=desk.hide(Kind.ACCOUNT, digits)))
    if len(digits) < wanted:
        return _ask(desk, task, "verify_go_on")
    if not birth:
        first = task.step is not Step.BIRTH_DATE
        return _ask(desk, task, "verify_birth_date" if first else "verify_birth_date_again")
    return _checked(desk, task, birth)


def tries_to_answer(desk: Desk) -> bool:
    """Whether a turn gives a number or a date, or a part of one; a few digits in another question do not."""
    values = desk.turn.user.values
    if any(value.kind is Kind.BIRTH_DATE for value in values):
        return True
    true = desk.state.placeholders
    digits = "".join(true.get(str(value.value), "") for value in values if value.kind in _DIGITS)
    return bool(digits) and (len(digits) >= _SOME_DIGITS or not desk.turn.tag.in_scope)


def _said(desk: Desk, task: PendingTask) -> tuple[str, str]:
    """Digits of the customer number, with those of earlier turns, and the date of birth's placeholder."""
    values = desk.turn.user.values
    true = desk.state.placeholders
    before = true.get(str(task.arguments.get("customer_number", "")), "")
    dates = [str(value.value) for value in values if value.kind is Kind.BIRTH_DATE]
    full = [name for name in dates if true.get(name, NO_DAY) != NO_DAY]
    birth = full[0] if len(full) == 1 else ""
    if task.step is Step.BIRTH_DATE:
        return before, birth
    # Before the question, digits may be anything; only a whole number is taken for one.
    asked = task.step is Step.CUSTOMER_NUMBER
    said = "".join(
        char
        for value in values
        if value.kind in (_DIGITS if asked else {Kind.ACCOUNT})
        for char in true.get(str(value.value), "")
        if char.isdecimal()
    )
    return (before + said if asked or len(said) == desk.bank.number_digits else ""), birth


def _without_number(task: PendingTask) -> PendingTask:
    kept = {name: value for name, value in task.arguments.items() if name != "customer_number"}
    return replace(task, step=Step.CUSTOMER_NUMBER, arguments=kept)


def _ask(desk: Desk, task: PendingTask, phrase: str, **fields: str) -> Move:
    """Ask for what is missing; who brings no step further is counted as not understood."""
    step = Step.BIRTH_DATE if phrase.startswith("verify_birth_date") else Step.CUSTOMER_NUMBER
    question = desk.phrase(phrase, **fields)
    again = task.step is step and (task.question == question or phrase.endswith("_again"))
    return desk.ask(question, replace(task, step=step), understood=not again)


def _checked(desk: Desk, task: PendingTask, birth: str) -> Move | None:
    result = desk.run("verify_caller", customer_number=task.arguments["customer_number"], birth_date=birth)
    if not result.ok:
        pending = PendingTask("speak_to_agent")
        return desk.say(desk.phrase("bank_unavailable"), Decision.APOLOGY, pending=pending)
    customer = result.hidden.get(CUSTOMER, "")
    if customer:
        desk.state = replace(desk.state, customer=customer)
        desk.open_with("verified")
        return None
    desk.state = replace(desk.state, tries=desk.state.tries + 1)
    if desk.state.tries >= TRIES:
        return desk.say(desk.phrase("verify_gave_up"), Decision.TRANSFER, next=Next.TRANSFER)
    return desk.ask(desk.phrase("verify_failed"), _without_number(task))

"""The embedded responder: intent and typed values to a tool call or an approved answer.

It is not a language model and says so in its label. It asks for what is missing, calls the tools with what
the caller said and nothing else, and fills the knowledge's phrases with their results. It keeps no state:
a request carries all turns of the call.
"""

import json
import secrets
import string
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from serving.language.protocols import LlmEvent, LlmRequest, Message, TextDelta, ToolCall
from serving.language.slots import LoanSlots, loan_slots
from serving.speech.protocols import EngineInfo
from serving.spoken import written
from serving.spoken.written import currency_name, months

LOAN_QUOTE = "loan_payment_quote"
PAYMENT_PLAN = "payment_plan_quote"
TASKS = frozenset({LOAN_QUOTE, PAYMENT_PLAN})
"""Intents that are answered by tools."""
_PLAN = frozenset(
    {"amount", "term", "rate", "payment", "extra", "months", "months_saved", "interest", "interest_saved",
     "payoff"}
)  # fmt: skip
PHRASES: Mapping[str, frozenset[str]] = {
    "not_in_rate_sheet": frozenset({"product"}),
    "quote": frozenset({"amount", "term", "rate", "product", "payment", "total", "interest"}),
    "plan": _PLAN,
    "plan_without_extra": _PLAN,
    "plan_steps": _PLAN - {"payment", "rate"},
    "plan_steps_without_extra": _PLAN - {"payment", "rate"},
    "other_currency": frozenset({"currency"}),
    "plan_step": frozenset({"from_month", "to_month", "payment", "rate"}),
    **dict.fromkeys(
        ("rate_expired", "missing_amount", "missing_term", "missing_amount_and_term", "cannot_compute",
         "plan_steps_unclear", "no_approved_answer"),
        frozenset(),
    ),
}  # fmt: skip
"""The phrases used here, and what each may be filled with."""
_ID_LETTERS = string.ascii_letters + string.digits


class EmbeddedResponder:
    """Answers without a language model.

    Args:
        prompts: the bot's phrases by name (`Knowledge.prompts`).
        currency: of the bank's loans, ISO 4217.
    """

    info = EngineInfo(
        "embedded", "approved answers and tools", "not a language model: no free conversation, no paraphrase"
    )

    def __init__(self, prompts: Mapping[str, str], currency: str = "USD") -> None:
        self._prompts = prompts
        self._currency = currency

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """The next tool call, or the whole answer in one piece."""
        turn = request.turns[-1]
        if turn.task in TASKS:
            slots = loan_slots(request.turns, currency=self._currency)
            step = self._task_step(turn.task, slots, _results(request.messages))
        else:
            step = request.knowledge[0] if request.knowledge else self._prompts["no_approved_answer"]
        yield step if isinstance(step, ToolCall) else TextDelta(step)

    def _task_step(
        self, task: str, slots: LoanSlots, results: Mapping[str, Mapping[str, Any]]
    ) -> ToolCall | str:
        """Missing value → rate → calculation → answer, one step at a time."""
        if slots.foreign and "amount" in slots.missing:
            return self._prompts["other_currency"].format(currency=currency_name(self._currency))
        if slots.missing:
            return self._prompts["missing_" + "_and_".join(slots.missing)]
        failed = next((result for result in results.values() if "error" in result), None)
        if failed is not None:
            return self._prompts["cannot_compute"]
        rates: tuple[object, ...] = slots.rates
        if not rates:
            if "get_rate" not in results:
                return _call(
                    "get_rate", principal=slots.principal, months=sum(slots.terms), product=slots.product
                )
            looked_up = results["get_rate"]
            if not looked_up["found"]:
                return self._no_rate(looked_up)
            rates = (looked_up["annual_rate"],)
        product = slots.product or str(results.get("get_rate", {}).get("product", "")) or "loan"
        if task == LOAN_QUOTE and slots.extra is None and len(rates) == 1:
            return self._quote(slots, rates[0], product, results.get("calculate_payment"))
        return self._plan(slots, rates, results.get("generate_plan"))

    def _no_rate(self, looked_up: Mapping[str, Any]) -> str:
        if looked_up["reason"] == "product":
            return self._prompts["not_in_rate_sheet"].format(product=_spoken(looked_up["product"]))
        if looked_up["reason"] == "day":
            return self._prompts["rate_expired"]
        again = "missing_amount" if looked_up["reason"] == "amount" else "missing_term"
        return f"{looked_up['detail']} {self._prompts[again]}"

    def _quote(
        self, slots: LoanSlots, rate: object, product: str, result: Mapping[str, Any] | None
    ) -> ToolCall | str:
        count = sum(slots.terms)
        if result is None:
            return _call("calculate_payment", principal=slots.principal, annual_rate=rate, months=count)
        return self._prompts["quote"].format(
            amount=dollars(result["principal"]),
            term=months(count),
            rate=percent(result["annual_rate"]),
            product=_spoken(product),
            payment=dollars(result["monthly_payment"]),
            total=dollars(result["total_paid"]),
            interest=dollars(result["total_interest"]),
        )

    def _plan(
        self, slots: LoanSlots, rates: tuple[object, ...], result: Mapping[str, Any] | None
    ) -> ToolCall | str:
        if len(rates) != len(slots.terms):
            return self._prompts["plan_steps_unclear"]
        if result is None:
            return _call(
                "generate_plan",
                principal=slots.principal,
                rates=list(rates),
                terms=list(slots.terms),
                extra=slots.extra or Decimal(0),
            )
        steps = result["steps"]
        fields = {
            "amount": dollars(result["principal"]),
            "term": months(sum(slots.terms)),
            "rate": percent(steps[0]["annual_rate"]),
            "payment": dollars(steps[0]["payment"]),
            "extra": dollars(result["extra"]),
            "months": result["months"],
            "months_saved": months(result["months_saved"]),
            "interest": dollars(result["total_interest"]),
            "interest_saved": dollars(result["interest_saved"]),
            "payoff": month_of(result["payoff_date"]),
        }
        if len(steps) == 1:
            return self._prompts["plan" if slots.extra else "plan_without_extra"].format(**fields)
        parts = [self._prompts["plan_step"].format(**_step_fields(step)) for step in steps]
        whole = self._prompts["plan_steps" if slots.extra else "plan_steps_without_extra"]
        return " ".join([*parts, whole.format(**fields)])


def dollars(amount: object) -> str:
    """An amount of a tool's result as it is written."""
    return written.dollars(Decimal(str(amount)))


def percent(rate: object) -> str:
    """A rate of a tool's result with its sign."""
    return f"{written.percent(Decimal(str(rate)))}%"


def month_of(day: str) -> str:
    """`2029-06-21` as `June 2029`."""
    names = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
             "October", "November", "December")  # fmt: skip
    year, month = day.split("-")[:2]
    return f"{names[int(month) - 1]} {year}"


def _step_fields(step: Mapping[str, Any]) -> dict[str, object]:
    shown = {name: step[name] for name in ("from_month", "to_month")}
    return {**shown, "payment": dollars(step["payment"]), "rate": percent(step["annual_rate"])}


def _spoken(product: str) -> str:
    return product.replace("_", " ")


def _call(name: str, **arguments: object) -> ToolCall:
    """A tool call with an id of nine letters or digits and JSON numbers."""
    id_ = "".join(secrets.choice(_ID_LETTERS) for _ in range(9))
    return ToolCall(id_, name, {key: _json_number(value) for key, value in arguments.items()})


def _json_number(value: object) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_json_number(Decimal(str(item))) for item in value]
    return value


def _results(messages: tuple[Message, ...]) -> dict[str, Mapping[str, Any]]:
    """Results of the tools called since the caller's last words, by tool."""
    found: dict[str, Mapping[str, Any]] = {}
    for message in reversed(messages):
        if message.role == "user":
            break
        if message.role == "tool":
            found.setdefault(message.name, json.loads(message.content))
    return found

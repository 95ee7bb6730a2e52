"""What the agent's phrasings are filled with: drawn values and the latest results, as they are written.

Every figure of an answer comes from a tool's result where there is one; hidden texts stay placeholders.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from serving.spoken.written import dollars, months, percent

_AMOUNTS = frozenset({"monthly_payment", "total_paid", "total_interest", "interest_saved", "extra"})
_DAYS = frozenset({"first_due", "day"})


def agent_words(
    values: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], card: Mapping[str, Any]
) -> dict[str, str]:
    """Words by the names that phrasings use.

    Args:
        values: what was drawn, as tools take it.
        results: each tool's latest result, in the order of their first calls.
        card: the card that is spoken of, as `list_cards` gave it.
    """
    words = _drawn(values)
    for tool, result in results.items():
        words |= {name: _shown(name, value) for name, value in result.items() if not isinstance(value, list)}
        if tool == "get_rate" and result.get("found"):
            words["rate"] = f"{percent(Decimal(str(result['annual_rate'])))}%"
        elif tool == "calculate_payment" and result:
            words |= _loan(result["principal"], result["annual_rate"], result["months"])
        elif tool == "generate_plan" and result:
            words |= _plan(result)
        elif tool == "get_balance" and "accounts" in result:
            words["balances"] = " ".join(map(_balance, result["accounts"]))
        elif tool == "list_transactions" and "transactions" in result:
            words["movements"] = " ".join(f"{item}." for item in result["transactions"])
            words["account_name"] = str(result["account"])
        elif tool == "list_cards":
            words["cards"] = _listed([f"your {c['kind']} ending in {c['ending']}" for c in result["cards"]])
    if card:
        words |= {"card_name": str(card["kind"]), "ending": str(card["ending"])}
    return words


def _drawn(values: Mapping[str, Any]) -> dict[str, str]:
    words = {name: str(value).replace("_", " ") for name, value in values.items()}
    words |= {name: dollars(value) for name, value in values.items() if isinstance(value, Decimal)}
    for name, shown in (("months", "term"), ("months2", "term2")):
        if name in values:
            words[shown] = months(values[name])
    return words


def _shown(name: str, value: Any) -> str:
    if name in _AMOUNTS:
        return dollars(Decimal(str(value)))
    if name in _DAYS:
        day = date.fromisoformat(str(value))
        return f"{day:%B} {day.day}"
    if name == "months_saved":
        return months(int(value))
    if name == "payments":
        return f"{value} payment{'' if value == 1 else 's'}"
    return str(value).replace("_", " ") if name == "product" else str(value)


def _loan(principal: object, rate: object, term: object) -> dict[str, str]:
    return {
        "amount": dollars(Decimal(str(principal))),
        "rate": f"{percent(Decimal(str(rate)))}%",
        "term": months(int(str(term))),
    }


def _plan(result: Mapping[str, Any]) -> dict[str, str]:
    steps = result["steps"]
    words = _loan(result["principal"], steps[0]["annual_rate"], steps[-1]["to_month"])
    for step, prefix in zip(steps, ("step", "step2"), strict=False):
        words[f"{prefix}_payment"] = dollars(Decimal(str(step["payment"])))
        words[f"{prefix}_rate"] = f"{percent(Decimal(str(step['annual_rate'])))}%"
        words[f"{prefix}_term"] = months(step["to_month"] - step["from_month"] + 1)
    return words


def _balance(account: Mapping[str, Any]) -> str:
    if account["owed"]:
        return f"On your {account['account']} you owe {account['balance']}."
    return f"Your {account['account']} holds {account['balance']}."


def _listed(items: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(items[:-1]), items[-1])))

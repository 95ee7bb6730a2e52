"""What a tool tells the caller and nobody else: a balance, the end of a card's number, a payment.

A tool wraps such a text in `Hidden`. The executor puts a placeholder in its place before the result is
recorded or shown to an engine; the voice puts the text back while it speaks (design D12). Placeholders have
letters instead of numbers behind them, so that no reader of figures takes them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

from serving.telemetry.redaction import Placeholders


@dataclass(frozen=True, slots=True)
class Hidden:
    """A text for the caller's ears only.

    Attributes:
        kind: what it is, in lower-case letters and underscores; its placeholder is named after it.
        text: what the voice says, as it is written: `$1,234.56`, `4821`.
    """

    kind: str
    text: str = field(repr=False)


def concealed(value: Any, known: Mapping[str, str]) -> tuple[Any, Placeholders]:
    """A tool's result with placeholders for hidden texts, and what they stand for.

    Args:
        value: mappings, lists and scalars, `Hidden` among them.
        known: placeholders of the call so far; an equal text of the same kind keeps its placeholder.
    """
    found: dict[str, str] = {}
    shown = _concealed(value, known, found)
    return shown, Placeholders(found)


def placeholder_for(hidden: Hidden, known: Mapping[str, str]) -> str:
    """The placeholder of a text: the one it has, else the first of its kind that is free."""
    number = 0
    while (name := _name(hidden.kind, number)) in known:
        if known[name] == hidden.text:
            return name
        number += 1
    return name


def _concealed(value: Any, known: Mapping[str, str], found: dict[str, str]) -> Any:
    if isinstance(value, Hidden):
        name = placeholder_for(value, {**known, **found})
        found[name] = value.text
        return name
    if isinstance(value, Mapping):
        return {key: _concealed(item, known, found) for key, item in value.items()}
    return [_concealed(item, known, found) for item in value] if isinstance(value, list | tuple) else value


def _name(kind: str, number: int) -> str:
    """`<card>`, then `<card_b>`, `<card_c>`, … `<card_z>`, `<card_ba>`."""
    letters = ""
    while number:
        number, digit = divmod(number, len(ascii_lowercase))
        letters = ascii_lowercase[digit] + letters
    return f"<{kind}_{letters}>" if letters else f"<{kind}>"

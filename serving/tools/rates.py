"""The bank's rate sheet: the only place a rate comes from when the caller names none.

Reads `data/knowledge/rates.yaml`. A row applies inside its bounds of amount, months and days; a product
without a row has no rate, and the caller is told so. No rate is ever interpolated or guessed.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, RefusedError
from serving.tools.money import annual_rate_of, decimal_of


class NoRateReason(StrEnum):
    """What the sheet has no rate for."""

    PRODUCT = "product"
    AMOUNT = "amount"
    TERM = "term"
    DAY = "day"


class NoRateError(RefusedError):
    """The sheet holds no rate for what was asked; `reason` says which part."""

    def __init__(self, message: str, reason: NoRateReason) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RateRow:
    """One line of the sheet; bounds are inclusive, None means unbounded.

    Attributes:
        product: canonical name, as the lexicon knows it.
        name: how it is said.
        annual_rate: nominal, as a fraction.
    """

    id: str
    product: str
    name: str
    kind: str
    annual_rate: Decimal
    min_amount: Decimal | None
    max_amount: Decimal | None
    min_months: int | None
    max_months: int | None
    valid_from: date
    valid_until: date

    def admits(self, amount: Decimal, months: int) -> bool:
        """Whether amount and term lie inside the row's bounds."""
        return _inside(amount, self.min_amount, self.max_amount) and _inside(
            months, self.min_months, self.max_months
        )


@dataclass(frozen=True, slots=True)
class RateSheet:
    """All rows with the hash of the file they came from.

    Attributes:
        default_product: product of a loan question that names none.
    """

    rows: tuple[RateRow, ...]
    default_product: str
    currency: str
    sha256: str

    def rate(self, product: str, amount: Decimal, months: int, on: date) -> RateRow:
        """The row that applies to a loan.

        Raises:
            NoRateError: the product is not on the sheet, or no row of it admits the amount, the term or
                the day; the message says which and what is possible.
        """
        name = product.replace("_", " ")
        rows = [row for row in self.rows if row.product == product and row.kind == "loan"]
        if not rows:
            raise NoRateError(f"The rate sheet holds no loan rate for {name}.", NoRateReason.PRODUCT)
        current = [row for row in rows if row.valid_from <= on <= row.valid_until]
        if not current:
            message = f"The rate sheet holds no rate for {name} on {on.isoformat()}."
            raise NoRateError(message, NoRateReason.DAY)
        for row in current:
            if row.admits(amount, months):
                return row
        if not any(_inside(amount, row.min_amount, row.max_amount) for row in current):
            low = min(row.min_amount or Decimal(0) for row in current)
            high = max(row.max_amount or amount for row in current)
            message = f"A {name} goes from ${low:,.0f} to ${high:,.0f}."
            raise NoRateError(message, NoRateReason.AMOUNT)
        fitting = [row for row in current if _inside(amount, row.min_amount, row.max_amount)]
        shortest = min(row.min_months or 1 for row in fitting)
        longest = max(row.max_months or months for row in fitting)
        message = f"A {name} of that amount runs from {shortest} to {longest} months."
        raise NoRateError(message, NoRateReason.TERM)


def load_rates(path: Path) -> RateSheet:
    """Read and check a rate sheet.

    Raises:
        InvalidInputError: absent, a wrong shape, an impossible value, or two rows that both apply.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.safe_load(raw)
        rows = tuple(_row(item) for item in data["rates"])
        sheet = RateSheet(rows, data["default_product"], data["currency"], hashlib.sha256(raw).hexdigest())
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InvalidInputError(f"Rate sheet {path} cannot be read: {error!r}.") from error
    _refuse_overlaps(path, rows)
    return sheet


def _row(item: dict[str, Any]) -> RateRow:
    amounts = {
        key: None if item[key] is None else decimal_of(item[key], key) for key in ("min_amount", "max_amount")
    }
    for key in ("valid_from", "valid_until"):
        if not isinstance(item[key], date):
            raise InvalidInputError(f"Rate {item['id']}: {key} must be a date such as 2026-01-01.")
    return RateRow(**{**item, **amounts, "annual_rate": annual_rate_of(item["annual_rate"])})


def _refuse_overlaps(path: Path, rows: tuple[RateRow, ...]) -> None:
    for index, one in enumerate(rows):
        for other in rows[index + 1 :]:
            same = (one.product, one.kind) == (other.product, other.kind)
            if (
                same
                and _meet(one.min_amount, one.max_amount, other.min_amount, other.max_amount)
                and _meet(one.min_months, one.max_months, other.min_months, other.max_months)
                and one.valid_from <= other.valid_until
                and other.valid_from <= one.valid_until
            ):
                raise InvalidInputError(
                    f"Rate sheet {path}: {one.id} and {other.id} both apply to some loans."
                )


def _inside(value: Decimal | int, low: Decimal | int | None, high: Decimal | int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _meet(
    low: Decimal | int | None,
    high: Decimal | int | None,
    low2: Decimal | int | None,
    high2: Decimal | int | None,
) -> bool:
    return (high2 is None or low is None or low <= high2) and (high is None or low2 is None or low2 <= high)

"""The bank's rate sheet: the only place a rate comes from when the caller names none.

Reads `data/knowledge/rates.yaml`. A row applies inside its bounds of amount, months and days; a product
without a row has no rate, and the caller is told so. No rate is ever interpolated or guessed.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, RefusedError
from serving.tools.money import CENT, MAX_MONTHS, annual_rate_of, decimal_of, dollars

KINDS = frozenset({"loan", "deposit", "revolving"})
"""Kinds of product on a sheet; only loans are quoted."""
_WITHOUT_END = Decimal("Infinity")


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

        Args:
            product: canonical name, or as people write it ("Personal Loan").
            amount: to borrow.
            months: term.
            on: day of the call.

        Raises:
            NoRateError: the product is not on the sheet, or no row of it admits the amount, the term or
                the day; the message says which and what is possible.
        """
        name = product.replace("_", " ")
        canonical = "_".join(name.lower().split())
        rows = [row for row in self.rows if row.product == canonical and row.kind == "loan"]
        if not rows:
            raise NoRateError(f"The rate sheet holds no loan rate for {name}.", NoRateReason.PRODUCT)
        current = [row for row in rows if row.valid_from <= on <= row.valid_until]
        if not current:
            message = f"The rate sheet holds no rate for {name} on {on.isoformat()}."
            raise NoRateError(message, NoRateReason.DAY)
        for row in current:
            if row.admits(amount, months):
                return row
        fitting = [row for row in current if _inside(amount, row.min_amount, row.max_amount)]
        if not fitting:
            spans = _spans([(row.min_amount, row.max_amount) for row in current], CENT)
            said = _said([(dollars(low), dollars(high) if high.is_finite() else "") for low, high in spans])
            raise NoRateError(f"A {name} goes {said}.", NoRateReason.AMOUNT)
        spans = _spans([(row.min_months, row.max_months) for row in fitting], Decimal(1))
        said = _said(
            [(f"{low:f}", f"{high:f}" if high.is_finite() else "") for low, high in spans], " months"
        )
        raise NoRateError(f"A {name} of that amount runs {said}.", NoRateReason.TERM)


def load_rates(path: Path) -> RateSheet:
    """Read and check a rate sheet.

    Raises:
        InvalidInputError: absent, a wrong shape, an impossible value, a number that YAML reads as a binary
            float, or two rows that both apply.
    """
    import yaml

    try:
        raw = path.read_bytes()
        data = yaml.safe_load(raw)
        rows = tuple(_row(item) for item in data["rates"])
        sheet = RateSheet(rows, data["default_product"], data["currency"], hashlib.sha256(raw).hexdigest())
    except InvalidInputError as error:
        raise InvalidInputError(f"Rate sheet {path}: {error.message}") from error
    except OSError as error:
        raise InvalidInputError(
            f"Rate sheet {path} cannot be read: {error.strerror}.",
            advice="Point VOICEBOT_DATA_DIR to the project's data folder.",
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"Rate sheet {path} cannot be read: {error!r}.") from error
    _refuse_doubles(path, sheet)
    _refuse_overlaps(path, rows)
    return sheet


def _row(item: dict[str, Any]) -> RateRow:
    label = f"rate {item['id']}"
    for key in ("id", "product", "name"):
        if not isinstance(item[key], str) or not item[key].strip():
            raise InvalidInputError(f"{label}: {key} must be text.")
    if item["kind"] not in KINDS:
        raise InvalidInputError(f"{label}: kind must be one of {', '.join(sorted(KINDS))}.")
    for key in ("valid_from", "valid_until"):
        if type(item[key]) is not date:
            raise InvalidInputError(f"{label}: {key} must be a date such as 2026-01-01.")
    for key in ("min_months", "max_months"):
        if item[key] is not None and (type(item[key]) is not int or not 1 <= item[key] <= MAX_MONTHS):
            raise InvalidInputError(f"{label}: {key} must be whole months, 1 to {MAX_MONTHS}, or null.")
    numbers = {key: _quoted(item[key], f"{label}: {key}") for key in ("min_amount", "max_amount")}
    rate = annual_rate_of(_quoted(item["annual_rate"], f"{label}: annual_rate"), f"{label}: annual_rate")
    row = RateRow(**{**item, **numbers, "annual_rate": rate})
    if not (
        _meet(row.min_amount, row.max_amount, row.min_amount, row.max_amount)
        and _meet(row.min_months, row.max_months, row.min_months, row.max_months)
        and row.valid_from <= row.valid_until
    ):
        raise InvalidInputError(f"{label}: it never applies, a lower bound is above its upper bound.")
    return row


def _quoted(value: object, name: str) -> Decimal | None:
    """A number written in quotes; YAML would make a binary float of a bare one."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError(f'{name} must stand in quotes, as "0.0699", so that no float is involved.')
    number = decimal_of(value, name)
    if number < 0:
        raise InvalidInputError(f"{name} must not be negative.")
    return number


def _refuse_doubles(path: Path, sheet: RateSheet) -> None:
    ids = [row.id for row in sheet.rows]
    double = next((row_id for row_id in ids if ids.count(row_id) > 1), None)
    if double is not None:
        raise InvalidInputError(f"Rate sheet {path}: two rows are called {double}.")
    if not any(row.product == sheet.default_product and row.kind == "loan" for row in sheet.rows):
        raise InvalidInputError(
            f"Rate sheet {path}: the default product {sheet.default_product} has no loan rate."
        )


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


def _spans(
    bounds: Iterable[tuple[Decimal | int | None, Decimal | int | None]], step: Decimal
) -> list[tuple[Decimal, Decimal]]:
    """Ranges in order, those that touch joined; `step` is the distance from one value to the next."""
    spans: list[tuple[Decimal, Decimal]] = []
    for low, high in sorted(
        (step if low is None else Decimal(low), _WITHOUT_END if high is None else Decimal(high))
        for low, high in bounds
    ):
        if spans and low <= spans[-1][1] + step:
            spans[-1] = (spans[-1][0], max(spans[-1][1], high))
        else:
            spans.append((low, high))
    return spans


def _said(spans: list[tuple[str, str]], unit: str = "") -> str:
    return " or ".join(
        f"from {low} to {high}{unit}" if high else f"from {low}{unit} up" for low, high in spans
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

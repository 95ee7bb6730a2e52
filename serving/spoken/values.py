"""The typed values that a caller's words carry."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """What a value is. The first group decides answers; the second is personal."""

    MONEY = "money"
    """`Decimal` in `unit` (ISO 4217, default the caller's currency), never negative."""
    RATE = "rate"
    """`Decimal` fraction per year: 6.5 % is Decimal("0.065")."""
    TERM = "term"
    """`int`; `unit` is `months` (years are converted) or `days` (weeks are converted)."""
    DATE = "date"
    """`datetime.date`."""
    COUNT = "count"
    """`int` or `Decimal` without a unit that is known: "two cards", "three"."""

    CARD = "card"
    """`str` of 12 to 19 digits that pass the Luhn check."""
    ACCOUNT = "account"
    """`str`: account numbers, sort and routing numbers, IBANs, and any other long digit string."""
    PHONE = "phone"
    """`str` of digits, with + where given."""
    EMAIL = "email"
    """`str`, lower case."""
    NAME = "name"
    """`str`: a person's name that the caller gave ("my name is …")."""
    BIRTH_DATE = "birth_date"
    """`datetime.date` introduced as a date of birth."""
    CODE = "code"
    """`str` of 3 to 8 digits introduced as a PIN, passcode, CVV, one-time code or last four digits."""
    SECRET = "secret"  # noqa: S105 (the name of a kind)
    """`str`: a password or passphrase that is no string of digits."""
    ADDRESS = "address"
    """`str`: house number and street, lower case."""


PERSONAL = frozenset(
    {Kind.CARD, Kind.ACCOUNT, Kind.PHONE, Kind.EMAIL, Kind.NAME, Kind.BIRTH_DATE, Kind.CODE, Kind.SECRET,
     Kind.ADDRESS}
)  # fmt: skip
"""Kinds that never leave the process as they are."""

Value = Decimal | int | str | date


@dataclass(frozen=True, slots=True)
class TypedValue:
    """One value found in a text.

    Attributes:
        kind: what it is.
        value: canonical value, of the type that `Kind` states.
        unit: currency code, `months` or `days`; empty for kinds without a unit.
        start: first character of its words in the text.
        end: one past its last character.
    """

    kind: Kind
    value: Value
    unit: str
    start: int
    end: int

    @property
    def personal(self) -> bool:
        """Whether the value identifies a person or an account."""
        return self.kind in PERSONAL

    def canonical(self) -> str:
        """Kind, value and unit as one string that is equal for every way of saying the value."""
        value = self.value
        text = format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
        return f"{self.kind}:{text}{':' + self.unit if self.unit else ''}"

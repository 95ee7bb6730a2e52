"""The synthetic customers of the sandbox bank: everything about them follows from a seed.

Nobody in here exists: names are drawn from two short lists, telephone numbers from the range that is kept
free for fiction. The first customer is the same under every seed, for scripts and for people who try it.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from serving.tools.core_banking import AccountKind, CardKind

NUMBER_DIGITS = 8
"""Length of a customer number."""
_GIVEN = (
    "Alma",
    "Bruno",
    "Carla",
    "Dario",
    "Edith",
    "Falk",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Klara",
    "Leo",
)
_FAMILY = ("Adler", "Brandt", "Castell", "Dorn", "Eckhart", "Falkner", "Grau", "Hollis", "Irving", "Jarvis")
_SHOPS = (
    "Corner Bakery", "Green Grocer", "City Power", "Harbour Water", "Blue Line Transit", "Book Barn",
    "Pine Street Pharmacy", "Sunny Fuel", "Maple Diner", "North Side Gym",
)  # fmt: skip
_PAYERS = ("salary", "tax refund", "transfer from savings")
_HISTORY_DAYS = 45


@dataclass(frozen=True, slots=True)
class SyntheticAccount:
    """An account and its movements: (days before the sandbox was made, amount, text), newest first."""

    kind: AccountKind
    ending: str
    balance: Decimal
    overdue: Decimal = Decimal(0)
    movements: tuple[tuple[int, Decimal, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SyntheticCard:
    """A card and whether it is blocked from the start."""

    kind: CardKind
    ending: str
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class SyntheticCustomer:
    """Somebody who does not exist.

    Attributes:
        number: what the caller says or keys, with the date of birth, to be verified.
    """

    number: str
    name: str
    birth_date: date
    phone: str
    accounts: tuple[SyntheticAccount, ...] = field(repr=False)
    cards: tuple[SyntheticCard, ...] = field(repr=False)


FIRST = SyntheticCustomer(
    number="10482917",
    name="Alma Adler",
    birth_date=date(1971, 5, 3),
    phone="2125550142",
    accounts=(
        SyntheticAccount(
            AccountKind.CHECKING,
            "3307",
            Decimal("1834.56"),
            movements=(
                (1, Decimal("-45.10"), "Corner Bakery"),
                (3, Decimal("-120.00"), "City Power"),
                (5, Decimal("2450.00"), "salary"),
                (8, Decimal("-62.75"), "Green Grocer"),
                (12, Decimal("-18.40"), "Blue Line Transit"),
                (15, Decimal("-230.00"), "Maple Diner"),
            ),
        ),
        SyntheticAccount(AccountKind.SAVINGS, "3315", Decimal("7210.00")),
        SyntheticAccount(AccountKind.LOAN, "3323", Decimal("8940.12"), overdue=Decimal("342.10")),
    ),
    cards=(SyntheticCard(CardKind.DEBIT, "4821"), SyntheticCard(CardKind.CREDIT, "9034")),
)
"""The customer of the documentation and of `data/calls`."""


def synthetic_customers(seed: int, count: int) -> tuple[SyntheticCustomer, ...]:
    """The customers of a seed: `FIRST`, then drawn ones with different numbers."""
    random = Random(seed)  # noqa: S311  # people who do not exist, not secrets
    taken = {FIRST.number}
    people = [FIRST]
    while len(people) < count:
        number = str(random.randrange(10 ** (NUMBER_DIGITS - 1), 10**NUMBER_DIGITS))
        if number not in taken:
            taken.add(number)
            people.append(_customer(random, number))
    return tuple(people[:count])


def _customer(random: Random, number: str) -> SyntheticCustomer:
    born = date(1940, 1, 1) + timedelta(days=random.randrange(365 * 65))
    accounts = [
        SyntheticAccount(
            AccountKind.CHECKING, _ending(random), _amount(random, -200, 6_000), movements=_movements(random)
        )
    ]
    if random.random() < 0.6:
        accounts.append(SyntheticAccount(AccountKind.SAVINGS, _ending(random), _amount(random, 0, 30_000)))
    if random.random() < 0.4:
        overdue = _amount(random, 80, 900) if random.random() < 0.5 else Decimal(0)
        owed = _amount(random, 1_000, 25_000)
        accounts.append(SyntheticAccount(AccountKind.LOAN, _ending(random), owed, overdue))
    cards = [SyntheticCard(CardKind.DEBIT, _ending(random), blocked=random.random() < 0.05)]
    if random.random() < 0.5:
        accounts.append(SyntheticAccount(AccountKind.CREDIT_CARD, _ending(random), _amount(random, 0, 3_000)))
        cards.append(SyntheticCard(CardKind.CREDIT, _ending(random)))
    return SyntheticCustomer(
        number,
        f"{random.choice(_GIVEN)} {random.choice(_FAMILY)}",
        born,
        f"2125550{random.randrange(100, 200)}",
        tuple(accounts),
        tuple(cards),
    )


def _movements(random: Random) -> tuple[tuple[int, Decimal, str], ...]:
    days = sorted(random.sample(range(1, _HISTORY_DAYS), random.randrange(0, 12)))
    return tuple(
        (day, _amount(random, 500, 3_000), random.choice(_PAYERS))
        if random.random() < 0.15
        else (day, -_amount(random, 3, 200), random.choice(_SHOPS))
        for day in days
    )


def _amount(random: Random, least: int, most: int) -> Decimal:
    return Decimal(random.randrange(least * 100, most * 100)) / 100


def _ending(random: Random) -> str:
    return f"{random.randrange(10_000):04d}"

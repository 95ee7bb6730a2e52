"""What a dialogue is about: fitting values, drawn with a seed from the rate sheet and the sandbox bank.

A situation names the draws it needs; each adds named values to the scene. Amounts and terms of a product lie
inside its rows of the sheet, so that what the phrasing promises is what the tools give.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from serving.errors import InvalidInputError
from serving.tools.core_banking import AccountKind, CardKind, PartOfDay
from serving.tools.rates import RateRow, RateSheet
from serving.tools.sandbox_people import SyntheticCustomer
from training.dialogue.values import (
    Said,
    nice_amount,
    pick_other,
    said_birth,
    said_count,
    said_day,
    said_money,
    said_number,
    said_rate,
    said_term,
)

_MONTHS = (12, 18, 24, 30, 36, 42, 48, 60, 66, 72, 84, 96, 120, 144, 180, 240, 300, 360)
_LOANS = {
    "car_loan": ("car loan", "auto loan", "vehicle loan"),
    "home_improvement_loan": ("home improvement loan", "renovation loan"),
    "mortgage": ("mortgage", "home loan"),
    "personal_loan": ("personal loan",),
}
_NOT_SOLD = {
    "boat_loan": ("boat loan",),
    "motorcycle_loan": ("motorcycle loan", "motorbike loan"),
    "student_loan": ("student loan", "college loan"),
    "business_loan": ("business loan",),
}
_PARTS = tuple(PartOfDay)


@dataclass(slots=True)
class Scene:
    """A dialogue's values while it is made.

    Attributes:
        values: what was drawn, by the name that phrasings and arguments use.
        customer: who calls; None in dialogues of the bank's tools.
    """

    random: Random
    day: date
    sheet: RateSheet
    people: tuple[SyntheticCustomer, ...]
    values: dict[str, Said] = field(default_factory=dict)
    customer: SyntheticCustomer | None = None

    def words(self) -> dict[str, str]:
        """What a caller's phrasing is filled with."""
        said = {name: value.words for name, value in self.values.items()}
        for name, other in (("months", "term"), ("months2", "term2"), ("day", "when")):
            if name in said:
                said[other] = said[name]
        return said


Draw = Callable[[Scene], None]


def _loan(scene: Scene) -> None:
    random = scene.random
    scene.values |= {
        "amount": said_money(random, nice_amount(random, 2_000, 60_000)),
        "rate": said_rate(random, Decimal(random.randrange(12, 60)) / 400),
        "months": said_term(random, random.choice(_MONTHS[:11])),
    }


def _row_loan(scene: Scene, row: RateRow) -> None:
    random = scene.random
    low, high = row.min_amount or Decimal(1_000), row.max_amount or Decimal(100_000)
    terms = _terms(row)
    scene.values |= {
        "amount": said_money(random, nice_amount(random, int(low), int(min(high, Decimal(400_000))))),
        "months": said_term(random, random.choice(terms)),
        "product": Said(row.product, random.choice(_LOANS[row.product])),
    }


def _personal_loan(scene: Scene) -> None:
    _row_loan(scene, scene.random.choice(_rows(scene, "personal_loan")))


def _product_loan(scene: Scene) -> None:
    product = scene.random.choice(["car_loan", "home_improvement_loan", "mortgage", "personal_loan"])
    _row_loan(scene, scene.random.choice(_rows(scene, product)))


def _outside_loan(scene: Scene) -> None:
    """A product with an amount that no row of it takes."""
    random = scene.random
    product = random.choice(["car_loan", "home_improvement_loan"])
    (row,) = _rows(scene, product)
    _row_loan(scene, row)
    highest = int(row.max_amount or 0)
    scene.values["amount"] = said_money(random, nice_amount(random, highest + 5_000, 3 * highest))


def _other_amount(scene: Scene) -> None:
    """Another amount that the same rows of the sheet take over the same term."""
    product, months = scene.values["product"].value, scene.values["months"].value
    amount = scene.values["amount"].value
    rows = [row for row in _rows(scene, product) if months in _terms(row)]
    row = scene.random.choice(rows)
    low, high = int(row.min_amount or 0), int(min(row.max_amount or 0, Decimal(400_000)))
    other = pick_other(lambda: nice_amount(scene.random, low, high), amount)
    scene.values["amount2"] = said_money(scene.random, other)


def _other_term(scene: Scene) -> None:
    product, amount = scene.values["product"].value, scene.values["amount"].value
    terms = [m for m in _MONTHS for row in _rows(scene, product) if row.admits(amount, m)]
    other = pick_other(lambda: scene.random.choice(terms), scene.values["months"].value)
    scene.values["months2"] = said_term(scene.random, other)


def _missing_product(scene: Scene) -> None:
    product = scene.random.choice(sorted(_NOT_SOLD))
    scene.values["product"] = Said(product, scene.random.choice(_NOT_SOLD[product]))


def _foreign_amount(scene: Scene) -> None:
    amount = nice_amount(scene.random, 2_000, 40_000)
    scene.values["foreign"] = said_money(scene.random, amount, scene.random.choice(["EUR", "GBP"]))


def _endless(scene: Scene) -> None:
    scene.values["endless"] = said_term(scene.random, 12 * scene.random.choice([55, 60, 65, 70, 75, 80, 90]))


def _extra(scene: Scene) -> None:
    scene.values["extra"] = said_money(scene.random, Decimal(scene.random.randrange(1, 13) * 25))


def _other_extra(scene: Scene) -> None:
    known = scene.values["extra"].value
    other = pick_other(lambda: Decimal(scene.random.randrange(1, 13) * 25), known)
    scene.values["extra2"] = said_money(scene.random, other)


def _steps(scene: Scene) -> None:
    _loan(scene)
    random, known = scene.random, scene.values
    other = pick_other(lambda: Decimal(random.randrange(12, 60)) / 400, known["rate"].value)
    known["rate2"] = said_rate(random, other)
    later = pick_other(lambda: random.choice(_MONTHS[:9]), known["months"].value)
    known["months2"] = said_term(random, later)


# The customers of the sandbox


def _customer(scene: Scene, fits: Callable[[SyntheticCustomer], bool] = lambda _: True) -> None:
    chosen = scene.random.choice([person for person in scene.people if fits(person)])
    scene.customer = chosen
    scene.values |= {
        "number": said_number(scene.random, chosen.number),
        "birth": said_birth(scene.random, chosen.birth_date),
    }


def _kinds(person: SyntheticCustomer) -> set[AccountKind]:
    return {account.kind for account in person.accounts}


def _overdue(person: SyntheticCustomer) -> Decimal:
    return sum((account.overdue for account in person.accounts), Decimal(0))


def _usable(person: SyntheticCustomer, kind: CardKind) -> bool:
    return any(card.kind is kind and not card.blocked for card in person.cards)


def _wrong_birth(scene: Scene) -> None:
    right = _caller(scene).birth_date
    wrong = right + timedelta(days=scene.random.choice([-400, -31, -3, 2, 29, 366]))
    scene.values["wrong_birth"] = said_birth(scene.random, wrong)


def _owned_account(scene: Scene) -> None:
    kinds = sorted(_kinds(_caller(scene)) - {AccountKind.LOAN})
    kind = scene.random.choice(kinds)
    scene.values["account"] = Said(kind.value, kind.value)


def _account(kind: AccountKind) -> Draw:
    def draw(scene: Scene) -> None:
        scene.values["account"] = Said(kind.value, kind.value)

    return draw


def _savings_account(scene: Scene) -> None:
    if AccountKind.SAVINGS not in _kinds(_caller(scene)):
        _customer(scene, lambda person: AccountKind.SAVINGS in _kinds(person))
    _account(AccountKind.SAVINGS)(scene)


def _card(kind: CardKind) -> Draw:
    def draw(scene: Scene) -> None:
        scene.values["card"] = Said(kind.value, kind.value)

    return draw


def _either_card(scene: Scene) -> None:
    _card(scene.random.choice(list(CardKind)))(scene)


def _count(scene: Scene) -> None:
    scene.values["count"] = said_count(scene.random, scene.random.randrange(2, 6))


def _payment(scene: Scene) -> None:
    scene.values["payment"] = _monthly(scene)


def _other_payment(scene: Scene) -> None:
    known = scene.values["payment"].value
    scene.values["payment2"] = pick_other(lambda: _monthly(scene), known)


def _monthly(scene: Scene) -> Said:
    most = int(_overdue(_caller(scene))) or 400
    least = max(15, -(-most // 20))
    amounts = [Decimal(n) for n in range(least, most) if n % 5 == 0] or [Decimal(most)]
    return said_money(scene.random, scene.random.choice(amounts))


def _small_payment(scene: Scene) -> None:
    scene.values["payment"] = said_money(scene.random, Decimal(scene.random.randrange(2, 8)))


def _when(scene: Scene) -> None:
    _business_day(scene)
    _part(scene)


def _business_day(scene: Scene) -> None:
    days = [scene.day + timedelta(days=n) for n in range(1, 15)]
    chosen = scene.random.choice([day for day in days if day.weekday() < 5])
    scene.values["day"] = said_day(scene.random, chosen, scene.day)


def _part(scene: Scene) -> None:
    part = scene.random.choice(_PARTS)
    scene.values["part"] = Said(part.value, part.value)


def _other_part(scene: Scene) -> None:
    known = scene.values["part"].value
    part = pick_other(lambda: scene.random.choice(_PARTS).value, known)
    scene.values["part2"] = Said(part, part)


def _weekend(scene: Scene) -> None:
    days = [scene.day + timedelta(days=n) for n in range(1, 15)]
    chosen = scene.random.choice([day for day in days if day.weekday() >= 5])
    scene.values["weekend"] = said_day(scene.random, chosen, scene.day)
    _part(scene)


DRAWS: Mapping[str, Draw] = {
    "loan": _loan,
    "personal_loan": _personal_loan,
    "product_loan": _product_loan,
    "outside_loan": _outside_loan,
    "other_amount": _other_amount,
    "other_term": _other_term,
    "missing_product": _missing_product,
    "foreign_amount": _foreign_amount,
    "endless": _endless,
    "extra": _extra,
    "other_extra": _other_extra,
    "steps": _steps,
    "customer": _customer,
    "customer_active": lambda scene: _customer(scene, lambda p: len(p.accounts[0].movements) >= 5),
    "customer_overdue": lambda scene: _customer(scene, lambda person: _overdue(person) >= 100),
    "customer_not_overdue": lambda scene: _customer(scene, lambda person: not _overdue(person)),
    "customer_without_loan": lambda scene: _customer(scene, lambda p: AccountKind.LOAN not in _kinds(p)),
    "customer_with_debit": lambda scene: _customer(scene, lambda p: _usable(p, CardKind.DEBIT)),
    "customer_with_two_cards": lambda scene: _customer(
        scene, lambda p: all(_usable(p, kind) for kind in CardKind)
    ),
    "wrong_birth": _wrong_birth,
    "owned_account": _owned_account,
    "loan_account": _account(AccountKind.LOAN),
    "savings_account": _savings_account,
    "debit_card": _card(CardKind.DEBIT),
    "either_card": _either_card,
    "count": _count,
    "payment": _payment,
    "other_payment": _other_payment,
    "small_payment": _small_payment,
    "when": _when,
    "business_day": _business_day,
    "next_business_day": _part,
    "other_part": _other_part,
    "weekend": _weekend,
}
"""By the name that situations give."""


def _terms(row: RateRow) -> list[int]:
    return [months for months in _MONTHS if (row.min_months or 1) <= months <= (row.max_months or 360)]


def _rows(scene: Scene, product: str) -> list[RateRow]:
    return [row for row in scene.sheet.rows if row.product == product and row.kind == "loan"]


def _caller(scene: Scene) -> SyntheticCustomer:
    if scene.customer is None:
        raise InvalidInputError("A situation draws a customer's matter before the customer.")
    return scene.customer

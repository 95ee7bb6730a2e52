"""What a bare number means by the words around it: an amount, a rate, a count, or nothing.

"borrow twenty thousand over five years" names no currency, "an apr of six point nine" no per cent, and
"this one" no count at all.
"""

from collections.abc import Sequence
from decimal import Decimal

from serving.spoken.amounts import reads_as_one
from serving.spoken.lexicon import AMOUNT_ENDS, OTHER_MONEY, word_set
from serving.spoken.numerals import Shape
from serving.spoken.quantities import THOUSANDTHS, Quantity, value_of, with_unit
from serving.spoken.runs import is_clock
from serving.spoken.text import Reading
from serving.spoken.units import Unit, annual_at
from serving.spoken.values import Kind

_RATE_WORDS = frozenset({"apr", "apy", "aer", "rate", "rates", "interest"})
_RATE_LINKS = frozenset({"of", "is", "at", "was", "to", "be", "around", "about", "roughly", "from", ":", "="})
_MONEY_VERBS = frozenset(
    {"borrow", "borrowing", "borrowed", "lend", "pay", "paid", "paying", "spend", "spent", "owe", "owed",
     "owes", "cost", "costs", "charged", "charge", "withdraw", "withdrew", "withdrawn", "deposit",
     "deposited", "transfer", "transferred", "send", "sent", "refund", "refunded", "finance", "worth", "save",
     "costing", "afford", "earn", "earns", "earned", "earning", "invest", "invested", "investing", "insure",
     "insured"}
)  # fmt: skip
_MONEY_NOUNS = frozenset(
    {"amount", "loan", "mortgage", "payment", "payments", "fee", "price", "bill", "balance", "total",
     "deposit", "limit", "principal", "withdrawal", "cheque", "refund", "extra", "charge", "overdraft",
     "salary", "income", "savings", "budget", "rent"}
)  # fmt: skip
_LENT = frozenset({"loan", "mortgage", "deposit", "overdraft", "limit", "salary", "budget"})
_VERB_LINKS = frozenset(
    {"me", "it", "about", "around", "only", "just", "them", "him", "her", "another", "roughly", "an", "extra",
     "additional", "approximately", "up", "say", "maybe", "uh", "um", "like", "off", "back", "out", "in"}
)  # fmt: skip
_NOUN_LINKS = _VERB_LINKS | {"of", "is", "was", "for", "to", "at", "be"}
_DETERMINERS = frozenset(
    {"this", "that", "the", "which", "no", "any", "another", "each", "every", "new", "old", "other", "right",
     "wrong", "last", "first", "next", "some", "only", "my", "same", "different", "correct", "better", "best",
     "cheapest", "second", "third", "good", "replacement"}
)  # fmt: skip
_NO_ONE_AFTER = AMOUNT_ENDS | frozenset(
    {"of", "moment", "day", "thing", "time", "s", "way", "else", "go", "about", "does", "do", "did", "just",
     "still", "will", "would", "was", "were", "has", "have", "had", "he", "she", "they", "we", "you", "the",
     "which", "who", "where", "without", "should", "could", "might", "must", "may", "also", "too", "yet",
     "work", "works", "say", "that's", "like", "either", "able", "ahead", "out", "get", "gets", "isn't"}
)  # fmt: skip
"""After these "one" stands for a thing that was named before."""
_HIGHEST_RATE = 100
"""Per cent that a number without a unit may mean."""
_MOST_YEARS = 40
_LONGEST_TERM = 600
_PERIODS = frozenset({"week", "month", "year"})
_EACH = frozenset({"a", "per", "each", "every"})
_RECURRING = frozenset({"daily", "weekly", "monthly", "quarterly", "yearly", "annually"})
_SHORT_ANSWER = 3
"""In so few words "one" answers "how many"."""
_LONGEST_REACH = 5


def settle(reading: Reading, found: Sequence[Quantity], currency: str, expect: Kind | None) -> list[Quantity]:
    """Every quantity with its final kind; what only looked like one is left out.

    A bare amount has the currency of the others in the text where they agree.
    """
    named = {quantity.code for quantity in found if quantity.kind is Kind.MONEY and quantity.unit is not None}
    if len(named) == 1:
        (currency,) = named
    settled = []
    for at, quantity in enumerate(found):
        if quantity.kind is not Kind.COUNT:
            settled.append(quantity)
        elif not _no_count(reading, quantity):
            follower = found[at + 1] if at + 1 < len(found) else None
            other = settled[-1] if settled and _is_other_end(reading, settled[-1], quantity) else None
            meant = (
                _settle(reading, quantity, follower, other.code, Kind.MONEY)
                if other is not None
                else _settle(reading, quantity, follower, currency, expect)
            )
            settled += [meant] if meant is not None else []
    return settled


def _is_other_end(reading: Reading, left: Quantity, right: Quantity) -> bool:
    """Whether a bare number ends the range that an amount begins: "borrow ten | to twelve thousand"."""
    number = right.run.number
    large = number is not None and number.shape is Shape.QUANTITY and right.value > left.value
    linked = reading.words[left.last : right.first] in (["to"], ["-"], ["or"])
    return left.kind is Kind.MONEY and large and linked and reading.words[right.last] in AMOUNT_ENDS


def _settle(
    reading: Reading, quantity: Quantity, follower: Quantity | None, currency: str, expect: Kind | None
) -> Quantity | None:
    """A bare number by what stands around it; None where it is an amount that may be one or another."""
    percent = Unit(Kind.RATE, "", 100, 1, quantity.last)
    rate = value_of(quantity.run, percent) if len(quantity.run.numbers) > 1 else quantity.value
    if expect is Kind.RATE or (rate <= _HIGHEST_RATE and _is_rate(reading, quantity, follower)):
        return with_unit(rate, percent, quantity.first, quantity.last, quantity.run)
    if expect is Kind.TERM and quantity.unit is None and (unit := _term_unit(quantity)) is not None:
        return with_unit(quantity.value, unit, quantity.first, quantity.last, quantity.run)
    if expect is Kind.MONEY or _is_money(reading, quantity, follower):
        unit = Unit(Kind.MONEY, currency, 1, 1, quantity.last)
        amount = _amount(reading, quantity, unit)
        if amount is None:
            return None
        return with_unit(amount, unit, quantity.first, quantity.last, quantity.run)
    return quantity


def _term_unit(quantity: Quantity) -> Unit | None:
    """Years or months, as loans have them: 5 and 30 are years, 12, 60 and 66 months."""
    count = quantity.value
    if count != count.to_integral_value() or not 1 <= count <= _LONGEST_TERM:
        return None
    years = count <= _MOST_YEARS and count % 12 != 0
    return Unit(Kind.TERM, "months", 1, 12 if years else 1, quantity.last)


_PRICED = frozenset({"cost", "costs", "costing", "paid", "spent", "charged", "charge", "price", "fee"})


def _amount(reading: Reading, quantity: Quantity, unit: Unit) -> Decimal | None:
    """What a bare number amounts to: "nineteen ninety nine" has cents after a word for a price.

    A payment or a loan of "two seventy five" may as well be 275; that is for the caller to say.
    """
    price = _price(quantity)
    beside = (reading.words[quantity.last], reading.words[quantity.first - 1] if quantity.first else "")
    if not OTHER_MONEY.isdisjoint(beside):
        return None
    if THOUSANDTHS.fullmatch(reading.words[quantity.run.last - 1]):
        return None
    if price is None:
        return quantity.value if reads_as_one(reading, quantity.run, unit) else None
    paid = _led_by(reading.words, quantity.first, _PRICED, _NOUN_LINKS)
    return price if paid and not _periodic(reading, quantity.last) else None


def _periodic(reading: Reading, at: int) -> bool:
    """Whether "a month", "monthly" follows."""
    words = reading.words
    return words[at] in _RECURRING or (words[at] in _EACH and words[at + 1] in _PERIODS)


def _price(quantity: Quantity) -> Decimal | None:
    """As in "nineteen ninety nine" as 19.99; "two fifty" stays 250."""
    numbers = quantity.run.numbers
    if not 2 <= len(numbers) <= 3 or any(number.value >= 100 or not number.digits for number in numbers):
        return None
    cents = "".join(number.digits for number in numbers[1:])
    zero = len(numbers) == 3 and numbers[1].digits == "0"
    if len(cents) != 2 or (len(numbers) == 3 and not zero):
        return None
    if len(numbers[0].digits) == 1 and cents.endswith("0"):
        return None
    return numbers[0].value + Decimal(cents) / 100


def _is_rate(reading: Reading, quantity: Quantity, follower: Quantity | None) -> bool:
    """After "rate of" or before "interest"; "at six nine nine" before a term or the end."""
    words, last = reading.words, quantity.last
    if _led_by(words, quantity.first, _RATE_WORDS, _RATE_LINKS) or _led_by_spelled(reading, quantity.first):
        return True
    if words[last] == "interest" and quantity.value <= _HIGHEST_RATE / 2:
        return True
    if quantity.first == 0 or words[quantity.first - 1] != "at":
        return False
    termed = follower is not None and follower.kind is Kind.TERM and words[last] in {"over", "for"}
    whole = quantity.value == quantity.value.to_integral_value()
    return (termed and len(quantity.run.numbers) > 1) or (not whole and (termed or words[last] == ""))


def _led_by_spelled(reading: Reading, first: int) -> bool:
    """As in "a p r of | six"."""
    at = first
    while at and first - at < _LONGEST_REACH and reading.words[at - 1] in _RATE_LINKS:
        at -= 1
    return at >= 3 and annual_at(reading, at - 3) == at


def _is_money(reading: Reading, quantity: Quantity, follower: Quantity | None) -> bool:
    words = reading.words
    after = words[quantity.last]
    if quantity.value >= 100 and follower is not None and follower.first <= quantity.last + 3:
        if after in {"over", "at", "for", "in", "across"} and follower.kind in {Kind.TERM, Kind.RATE}:
            return True
        if follower.first == quantity.last and quantity.value >= 1_000 and follower.kind is Kind.TERM:
            return True
    if quantity.last == quantity.first + 1 and words[quantity.first].endswith(".00"):
        return True
    if after in _EACH and words[quantity.last + 1] in _PERIODS:
        return True
    if _is_year(words, quantity):
        return False
    if _is_regular(words, quantity) or _is_lent(reading, quantity):
        return True
    if after == "extra" and words[quantity.last + 1] in AMOUNT_ENDS:
        return True
    if after not in AMOUNT_ENDS:
        return False
    return _led_by(words, quantity.first, _MONEY_VERBS, _VERB_LINKS) or _led_by(
        words, quantity.first, _MONEY_NOUNS, _NOUN_LINKS
    )


_LEAST_DAILY = 100
"""From so much on a bare number "a day" is an amount; fewer are counted things."""
_OWN = frozenset({"a", "an", "the", "my", "this", "that", "your", "our"})
_MOST_BETWEEN = 2
_YEARS = range(1900, 2100)
_BEFORE_YEARS = word_set("in for since from during before after")
_BEFORE_OTHERS = word_set(
    """at until till from by to around route bus line flight room gate account card score number pin code
    extension walk step steps"""
)
"""Before a bare number these make it a time of day, a label or a count: "open until 1900 daily"."""


def _is_year(words: Sequence[str], quantity: Quantity) -> bool:
    """As in "my income in 2022", "my two thousand nineteen mortgage"; a round two thousand is an amount."""
    first = words[quantity.first]
    if quantity.value not in _YEARS or quantity.value % 100 == 0 or "," in first:
        return False
    return (quantity.first > 0 and words[quantity.first - 1] in _BEFORE_YEARS | _OWN) or first in _OWN


def _is_regular(words: Sequence[str], quantity: Quantity) -> bool:
    """As in "a thousand five hundred | daily", "| a day", where no noun follows."""
    at, before = quantity.last, words[max(0, quantity.first - 2) : quantity.first]
    if quantity.value < _LEAST_DAILY or not _BEFORE_OTHERS.isdisjoint(before):
        return False
    if words[at] in _RECURRING:
        return words[at + 1] in AMOUNT_ENDS
    return words[at] in _EACH and words[at + 1] == "day" and words[at + 2] in AMOUNT_ENDS


def _is_lent(reading: Reading, quantity: Quantity) -> bool:
    """As in "a twenty thousand | car loan", "my half million | mortgage"; a year is none."""
    words, number = reading.words, quantity.run.number
    owned = quantity.first > 0 and words[quantity.first - 1] in _OWN
    if number is None or not (owned or words[quantity.first] in _OWN):
        return False
    if quantity.value < (1_000 if number.shape is Shape.QUANTITY else 10_000):
        return False
    for at in range(quantity.last, quantity.last + 1 + _MOST_BETWEEN):
        if words[at] in _LENT:
            return words[at + 1] in AMOUNT_ENDS
        if not words[at].isalpha() or words[at] in AMOUNT_ENDS:
            break
    return False


def _led_by(words: Sequence[str], first: int, heads: frozenset[str], links: frozenset[str]) -> bool:
    """Whether one of `heads` stands before token `first` with nothing but linking words between."""
    for at in range(first - 1, max(-1, first - 1 - _LONGEST_REACH), -1):
        if words[at] in heads:
            return True
        if words[at] not in links:
            break
    return False


def _no_count(reading: Reading, quantity: Quantity) -> bool:
    """Pronouns ("this one"), times of day, digits inside a word ("mp3")."""
    words, first, last = reading.words, quantity.first, quantity.last
    before = words[first - 1] if first else ""
    if words[last] in {"am", "pm", "o'clock"} or (words[last] in {"a", "p"} and words[last + 1] == "m"):
        return True
    if is_clock(reading, quantity.run):
        return True
    if reading.written[first] and before.isalpha() and reading.adjacent(first - 1):
        return True
    if words[first] != "one" or last != first + 1:
        return False
    return before in _DETERMINERS or (words[last] in _NO_ONE_AFTER and reading.size > _SHORT_ANSWER)

"""The one entry to all recognisers: text in, typed values out.

The order settles every conflict: what identifies a person is found before what is merely a number, and
longer forms before shorter ones. A taken token is out of play for all that follow.
"""

from collections.abc import Sequence
from datetime import date

from serving.spoken.addresses import take_addresses
from serving.spoken.calendar import Calendar
from serving.spoken.context import settle
from serving.spoken.cues import Cue, Cues, find_cues, index_phrases, match_phrase
from serving.spoken.dates import find_dates
from serving.spoken.emails import take_emails
from serving.spoken.homophones import with_homophones
from serving.spoken.identifiers import DIGIT_STRINGS, Surroundings, take_identifiers
from serving.spoken.joints import join_numbers
from serving.spoken.numbers import read_numbers
from serving.spoken.people import take_names
from serving.spoken.quantities import Quantity, find_quantities
from serving.spoken.reading_out import hush_reading_out
from serving.spoken.references import take_references
from serving.spoken.runs import find_runs
from serving.spoken.secrets import take_passwords
from serving.spoken.text import Reading, read
from serving.spoken.values import Kind, TypedValue, Value

_NO_VALUES = index_phrases(
    {
        True: (
            "401 k", "401 - k", "401 ( k )", "four oh one k", "four - oh - one - k", "four o one k", "403 b",
            "403 - b",
        )
    }
)  # fmt: skip
"""Names of things that are spelled like numbers."""


def parse(
    text: str,
    *,
    currency: str = "USD",
    today: date | None = None,
    expect: Kind | None = None,
    unsigned: bool = False,
) -> tuple[TypedValue, ...]:
    """Read every value that a text says or writes.

    Speech recogniser output (lower case, no punctuation) and written text are read alike. What each
    kind's value is, `Kind` says; which of several readings is taken, docs in `serving.spoken` say.

    Args:
        text: any text; time and memory grow linearly with it.
        currency: ISO 4217 code of amounts without one; dollars of this country if it has dollars.
        today: date that "tomorrow", "next friday" and days without a year refer to. Without it relative
            dates are not values, and a day without a year gets the year `NO_YEAR`.
        expect: what the bot has just asked for; types a bare answer ("one two three four" to the question
            for a passcode) that nothing in the text itself explains.
        unsigned: read "minus fifty dollars" as fifty dollars, for a voice that says the sign itself; without
            it nothing below zero is a value.

    Returns:
        Values in order of their start, never overlapping; spans count characters of `text`.
    """
    reading = read(text)
    for index in range(reading.size):
        found = match_phrase(reading.words, index, _NO_VALUES)
        if found is not None:
            reading.blank(index, found[0])
    take_passwords(reading)
    take_emails(reading, expected=expect is Kind.EMAIL)
    reading = join_numbers(reading)
    take_addresses(reading)
    take_names(reading, expected=expect is Kind.NAME)
    hush_reading_out(reading)
    cues = find_cues(reading)
    take_references(reading, cues)
    calendar = Calendar(today, month_first=currency == "USD")
    _take_dates(reading, cues, calendar, expect)
    numbers = with_homophones(reading, cues, read_numbers(reading))
    runs = find_runs(reading, cues, numbers, expected=expect in DIGIT_STRINGS)
    runs = take_identifiers(reading, runs, Surroundings(cues, calendar, currency, expect))
    quantities = find_quantities(reading, runs, currency, unsigned=unsigned)
    for quantity in settle(reading, quantities, currency, expect):
        reading.values.append(_typed(reading, quantity))
    return _in_order(reading.values)


def entities(text: str, *, currency: str = "USD") -> tuple[str, ...]:
    """What a recogniser must not get wrong in a text: canonical values, and digit strings as digits.

    Names, addresses and passwords are left out; digit strings keep their leading zeros ("digits:0420").
    """
    found = []
    for value in parse(text, currency=currency):
        if not value.personal:
            found.append(value.canonical())
        elif value.kind is Kind.BIRTH_DATE:
            found.append(f"{Kind.DATE}:{value.value}")
        elif value.kind not in {Kind.NAME, Kind.EMAIL, Kind.SECRET, Kind.ADDRESS}:
            found.append(f"digits:{value.value}")
    return tuple(found)


def _take_dates(reading: Reading, cues: Cues, calendar: Calendar, expect: Kind | None) -> None:
    def cue_of(first: int, last: int) -> Cue:
        if expect is Kind.BIRTH_DATE:
            return Cue.BIRTH
        cue = cues.before(reading.words, first)
        return cue if cue is not Cue.NONE else cues.after(reading.words, last)

    for found in find_dates(reading, calendar, cue_of):
        kind = Kind.BIRTH_DATE if found.birth else Kind.DATE
        reading.take(kind, found.value, found.first, found.last)


def _typed(reading: Reading, quantity: Quantity) -> TypedValue:
    number = quantity.value
    value: Value = number
    if quantity.kind in {Kind.TERM, Kind.COUNT} and number == number.to_integral_value():
        value = int(number)
    start, end = reading.starts[quantity.first], reading.ends[quantity.last - 1]
    return TypedValue(quantity.kind, value, quantity.code, start, end)


def _in_order(values: Sequence[TypedValue]) -> tuple[TypedValue, ...]:
    ordered: list[TypedValue] = []
    for value in sorted(values, key=lambda value: value.start):
        if not ordered or value.start >= ordered[-1].end:
            ordered.append(value)
    return tuple(ordered)

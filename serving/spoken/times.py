"""Times of day, spoken and written: "8:30", "half past eight", "five p.m.", "17:00", "noon".

`parse` has no kind for them, and those who call it need none: this is for whoever compares two texts. A
time without a.m. or p.m. keeps both readings, for nothing in it tells which is meant; hours beyond twelve,
figures with a leading zero ("08:30"), "noon" and "in the evening" leave no doubt.

A bare "eight thirty" is a time only after a word such as "at" or "until", and "ten to nine" as well; numbers
beside a unit or beside more digits never are.
"""

import re
from dataclasses import dataclass

from serving.spoken.lexicon import DIGITS, MAGNITUDES, MAJOR, OH, SYMBOLS, TERM_UNITS, word_set
from serving.spoken.numerals import below_hundred
from serving.spoken.text import Reading

HALF_DAY = 12 * 60
DAY = 2 * HALF_DAY
"""Minutes."""


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day in a text.

    Attributes:
        minute: minutes since midnight, below 1,440; below 720 where `certain` is false.
        certain: whether the half of the day is known; if not, the time is `minute` or twelve hours later.
        second: 0 to 59.
        start: first character in the text.
        end: one past its last character.
    """

    minute: int
    certain: bool
    second: int
    start: int
    end: int

    def canonical(self) -> str:
        """Equal for every way of saying the time: `17:00`, or `08:30|20:30` where both can be meant."""
        readings = (self.minute,) if self.certain else (self.minute, self.minute + HALF_DAY)
        seconds = f":{self.second:02d}" if self.second else ""
        return "|".join(f"{minute // 60:02d}:{minute % 60:02d}{seconds}" for minute in readings)


@dataclass(frozen=True, slots=True)
class _Hand:
    """An hour or a minute at some tokens; `padded` where a leading zero says that the clock has 24 hours."""

    value: int
    last: int
    padded: bool = False
    written: bool = False


@dataclass(frozen=True, slots=True)
class _Dial:
    """What a clock shows, and one past its last token; `padded` where the clock is sure to have 24 hours."""

    hour: int
    minute: int
    last: int
    second: int = 0
    padded: bool = False


_NOON = word_set("noon midday")
_MIDNIGHT = "midnight"
_CLOCK = word_set("o'clock oclock")
_PAST = word_set("past after")
_UNTIL = word_set("to till until before of")
_CUES = word_set("at until till by before after since from between")
_CHAIN = word_set("to until till and or through -")
"""Between two times; the second one needs no other word before it."""
_UNITS = (
    word_set("% percent per point points basis bp bps apr apy aer interest hundred over cent cents")
    | word_set("hour hours hr hrs minute minutes min mins second seconds sec secs")
    | MAGNITUDES.keys() | MAJOR.keys() | SYMBOLS.keys() | TERM_UNITS.keys()
)  # fmt: skip
_LENGTHS = word_set("minute minutes min mins")
_PARTS = {"half": 30, "quarter": 15}
_PART_OF_DAY = {"morning": "am", "afternoon": "pm", "evening": "pm"}
_NIGHTFALL = 5 * 60
"""Five at night is the evening, four at night the morning."""
_DOTTED = re.compile(r"[0-9]{1,2}\.[0-5][0-9]")


def find_times(reading: Reading) -> tuple[ClockTime, ...]:
    """All times of day of a text, in order, none overlapping; the work grows linearly with the text."""
    found: list[ClockTime] = []
    index, chained = 0, -1
    while index < reading.size:
        before = "at" if index == chained else reading.words[index - 1] if index else ""
        dial = _dial(reading, index, before if before in _CUES else "")
        time = _time(reading, index, dial) if dial is not None else None
        if time is None:
            index += 1
            continue
        found.append(time[0])
        index = time[1]
        chained = index + 1 if reading.words[index] in _CHAIN else -1
    return tuple(found)


def _dial(reading: Reading, index: int, cue: str) -> _Dial | None:
    """What a clock shows at token `index` behind a word of `_CUES` or none, read the surest way first."""
    words = reading.words
    if words[index] in _NOON or words[index] == _MIDNIGHT:
        return _Dial(12, 0, index)  # the word is read as a half of the day
    if index and reading.written[index - 1] and reading.adjacent(index - 1):
        return None
    return (
        _written(reading, index)
        or _beside_hour(reading, index, cued=bool(cue))
        or _in_words(reading, index, cue)
    )


def _hour(reading: Reading, index: int) -> _Hand | None:
    """An hour from 0 to 24 in figures or to 23 in words."""
    words, word = reading.words, reading.words[index]
    if reading.written[index]:
        plain = word.isdecimal() and len(word) <= 2 and int(word) <= 24
        return _Hand(int(word), index + 1, word.startswith("0"), written=True) if plain else None
    spoken = (0, index + 1) if word == "zero" else below_hundred(words, index)
    return _Hand(*spoken) if spoken is not None and spoken[0] < 24 else None


def _minute(reading: Reading, index: int) -> _Hand | None:
    """Minutes after an hour: "thirty", "oh five", "30"."""
    words, word = reading.words, reading.words[index]
    if reading.written[index]:
        plain = word.isdecimal() and len(word) == 2 and int(word) < 60
        return _Hand(int(word), index + 1, written=True) if plain else None
    if word in OH or word == "zero":
        digit = DIGITS.get(words[index + 1], 0)
        return _Hand(digit, index + 2) if digit else None
    spoken = below_hundred(words, index)
    return _Hand(*spoken) if spoken is not None and 10 <= spoken[0] < 60 else None


def _written(reading: Reading, index: int) -> _Dial | None:
    """8:30, 08:30:15, 8.30 pm, 5pm."""
    words, word = reading.words, reading.words[index]
    if not reading.written[index]:
        return None
    if _DOTTED.fullmatch(word) and _half(reading, index + 1)[0]:
        hour, minute = map(int, word.split("."))
        return _Dial(hour, minute, index + 1) if hour <= 12 else None
    hand = _hour(reading, index)
    if hand is None:
        return None
    numbers: list[int] = []
    at = hand.last
    while len(numbers) < 2 and words[at] == ":" and (part := _minute(reading, at + 1)) and part.written:
        numbers.append(part.value)
        at = part.last
    if not numbers or (words[at] == ":" and reading.written[at + 1]):
        return None
    return _Dial(hand.value, numbers[0], at, sum(numbers[1:]), padded=hand.padded)


def _beside_hour(reading: Reading, index: int, *, cued: bool) -> _Dial | None:
    """As in "half past eight", "a quarter to nine", "twelve minutes past ten", "at ten to five"."""
    words = reading.words
    at = index + (words[index] == "a" and words[index + 1] in _PARTS)
    named = words[at] in _PARTS
    part = _Hand(_PARTS[words[at]], at + 1) if named else _small(reading, index)
    if part is None or not 0 < part.value < 60:
        return None
    if words[at] == "half" and words[part.last] != "past":
        hour = _o_clock(reading, part.last) if cued else None
        return _Dial(hour.value, 30, hour.last) if hour is not None else None
    counted = words[part.last] in _LENGTHS
    link = part.last + counted
    hour = _o_clock(reading, link + 1) if words[link] in _PAST | _UNTIL else None
    if hour is None:
        return None
    # "five to seven" is a range as well, "a quarter of nine" a share, "two after five" an order.
    ranged = words[max(0, index - 1)] in {"from", "between"}
    rounded = cued and part.value % 5 == 0 and not ranged and words[link] != "of"
    sure = words[link] == "past" or (named and words[link] == "to")
    if not sure and not (cued if named else counted or rounded):
        return None
    minutes = hour.value * 60 + (part.value if words[link] in _PAST else -part.value)
    return _Dial(minutes // 60 % 12 or 12, minutes % 60, hour.last)


def _small(reading: Reading, index: int) -> _Hand | None:
    """A number of one or two digits, or below a hundred in words."""
    if reading.written[index]:
        word = reading.words[index]
        return _Hand(int(word), index + 1) if word.isdecimal() and len(word) <= 2 else None
    spoken = below_hundred(reading.words, index)
    return _Hand(*spoken) if spoken is not None else None


def _o_clock(reading: Reading, index: int) -> _Hand | None:
    """The hour that minutes are counted from, 1 to 12, with nothing behind it that makes it an amount.

    "Noon" and "midnight" are the twelve of their own half and are read once more as that half.
    """
    if reading.words[index] in _NOON or reading.words[index] == _MIDNIGHT:
        return _Hand(12, index)
    hour = _hour(reading, index)
    if hour is None or not 1 <= hour.value <= 12:
        return None
    return hour if reading.words[hour.last] not in _UNITS and not _is_number(reading, hour.last) else None


def _in_words(reading: Reading, index: int, cue: str) -> _Dial | None:
    """As in "eight o'clock", "five pm", "at eight thirty", "12 noon"."""
    words = reading.words
    hour = _hour(reading, index)
    if hour is None or (index and _is_number(reading, index - 1)):
        return None
    minute = _minute(reading, hour.last)
    if minute is not None and not (hour.written and reading.adjacent(hour.last - 1)):
        half = _half(reading, minute.last)[0]
        free = words[minute.last] not in _UNITS and not _is_number(reading, minute.last)
        # Beyond twelve a pair of numbers is a year as well: "by twenty thirty".
        known = cue == "at" or (cue and hour.value <= 12)
        if half or (known and free):
            return _Dial(hour.value, minute.value, minute.last)
    if words[hour.last] == "hundred" and words[hour.last + 1] in {"hours", "hrs"} and cue:
        return _Dial(hour.value, 0, hour.last + 2, padded=True)
    ranged = hour.value <= 12 and words[hour.last] in _CHAIN and _shows_time(reading, hour.last + 1)
    beside = bool(_half(reading, hour.last)[0]) or ranged
    return _Dial(hour.value, 0, hour.last) if hour.value and beside else None


def _shows_time(reading: Reading, index: int) -> bool:
    """Whether a time stands here that needs no word before it; then an hour before it is one: 5 to 7 pm."""
    hour = _hour(reading, index)
    if hour is None:
        return False
    minute = _minute(reading, hour.last)
    ends = (hour.last,) if minute is None else (hour.last, minute.last)
    return _written(reading, index) is not None or any(_half(reading, end)[0] for end in ends)


def _is_number(reading: Reading, index: int) -> bool:
    word = reading.words[index]
    return reading.written[index] or word in DIGITS or below_hundred([word, "", ""], 0) is not None


def _half(reading: Reading, index: int) -> tuple[str, int]:
    """The words behind a time that make it one, and their end; an empty text where there are none.

    `am`, `pm`, `night`, `noon`, `midnight`, or `clock` for "o'clock" alone, which is no half of the day.
    """
    words = reading.words
    spelled = words[index] == "o" and words[index + 1] == "clock"
    clock = spelled or words[index] in _CLOCK
    at = index + clock + spelled
    joined = at + (words[at] == "-")
    if words[joined] == "pm" or (words[joined] == "am" and words[joined + 1] != "i"):
        return words[joined], joined + 1
    dotted = at + 1 + (words[at + 1] == ".")
    if words[at] in {"a", "p"} and words[dotted] == "m":
        return f"{words[at]}m", dotted + 1 + (words[dotted + 1] == "." and reading.adjacent(dotted))
    if words[at] in _NOON or words[at] == _MIDNIGHT:
        return (_MIDNIGHT if words[at] == _MIDNIGHT else "noon"), at + 1
    if words[at : at + 2] == ["in", "the"] and words[at + 2] in _PART_OF_DAY:
        return _PART_OF_DAY[words[at + 2]], at + 3
    if words[at : at + 2] == ["at", "night"]:
        return "night", at + 2
    return ("clock", at) if clock else ("", index)


def _time(reading: Reading, index: int, dial: _Dial) -> tuple[ClockTime, int] | None:
    """A time and the token behind it; None where no clock shows it, as 24:30."""
    half, last = _half(reading, dial.last)
    minute = dial.hour * 60 + dial.minute
    if minute > DAY:
        return None
    certain = not 60 <= minute < 13 * 60 or (dial.padded and half in {"", "clock"})
    if not certain:
        minute, certain = _halved(minute % HALF_DAY, half)
    start, end = reading.starts[index], reading.ends[last - 1]
    return ClockTime(minute % DAY, certain, dial.second, start, end), last


def _halved(minute: int, half: str) -> tuple[int, bool]:
    """Minutes since midnight of a time on a clock of twelve hours, and whether its half is known.

    Noon and midnight are those that the time is near: "ten to noon" is in the morning.
    """
    early = minute < HALF_DAY // 2
    late = {
        "am": False,
        "pm": True,
        "night": minute >= _NIGHTFALL,
        "noon": early,
        _MIDNIGHT: not early,
    }.get(half)
    return (minute, False) if late is None else (minute + HALF_DAY * late, True)

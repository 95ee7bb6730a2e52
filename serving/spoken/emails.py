"""E-mail addresses, written and spoken ("john dot smith at gmail dot com")."""

import re

from serving.spoken.lexicon import AMOUNT_ENDS, DIGITS, FILLERS, word_set
from serving.spoken.numbers import read_number
from serving.spoken.text import Reading
from serving.spoken.values import Kind

_JOINERS = {
    "dot": ".", ".": ".", "underscore": "_", "_": "_", "dash": "-", "hyphen": "-", "-": "-",
    "plus": "+", "+": "+", "minus": "-", "'": "'",
}  # fmt: skip
_DOTS = frozenset({"dot", "."})
_SOUNDS = FILLERS - _JOINERS.keys()
_SOUND = "uh"
_HIDDEN = frozenset({"at", "dot"})
_BRACKETS = frozenset("()[]{}<>")
_PROVIDERS = word_set("gmail googlemail hotmail outlook yahoo ymail icloud aol protonmail gmx comcast msn")
"""Domains that callers name without their end: "jsmith at hotmail"."""
_ENDS = frozenset({"com", "net", "org", "edu", "gov"})
"""Ends of a domain that follow even without a "dot" that was heard."""
_ALSO_DOTS = frozenset({"point", "period", "stop"})
"""Words for a dot where the end of a domain follows."""
_REMARKS = (
    ("all", "one", "word"), ("as", "one", "word"), ("one", "word"), ("all", "in", "one"), ("all", "together"),
    ("all", "lower", "case"), ("all", "lowercase"), ("in", "lower", "case"), ("lower", "case"),
    ("lowercase",),
    ("no", "spaces"), ("no", "dots"), ("no", "space"), ("altogether",),
)  # fmt: skip
"""What callers say about an address before its "at"."""
_AT_SIGNS = (("the", "rate", "of"), ("the", "rate"), ("sign",), ("symbol",))
"""As in "at the rate", "at sign"."""
_LONGEST_LOCAL = 24
_LONGEST_DOMAIN = 12
_LOOSE_WORDS = 2
"""Words before the last one that belong to the address without a joiner: "john smith at …"."""
_NOT_LOCAL = word_set(
    """
    a about account address again am an and are at available based be because been bought buy by called check
    contact do email emails e for found from get go good got have here him i i'm in is it it's its look looked
    looking log logged mail me my of on or order ordered please purchase purchased send sent shop shopped
    shopping sign signed so spelled that that's the then there this to use used was we went with would write
    yes you your
    """
)
_NO_ACCOUNT = _NOT_LOCAL | word_set(
    "work works worked working job employed employee fraud scam phishing support address somebody someone"
)
"""What stands before the name of a provider that is a place and no part of an address."""


def take_emails(reading: Reading, *, expected: bool = False) -> None:
    """Record every e-mail address; the value is lower case without blanks.

    With `expected` the text answers the question for one, or goes on with one that was begun: what can
    only be a piece of an address is taken too.
    """
    _open_brackets(reading.words)
    for index in range(1, reading.size):
        if reading.words[index] in _ATS:
            _hush_remarks(reading, index)
            _take(reading, index)
    if expected and not reading.values:
        _take_piece(reading)


def _hush_remarks(reading: Reading, index: int) -> None:
    """Turn "at | the rate of", "smith | all one word | at" into sounds where a domain follows."""
    words = reading.words
    for sign in _AT_SIGNS:
        behind = index + 1 + len(sign)
        if tuple(words[index + 1 : behind]) == sign and _domain(reading, behind)[0]:
            words[index + 1 : behind] = [_SOUND] * len(sign)
    end = index
    while end > 0 and words[end - 1] in _SOUNDS:
        end -= 1
    for remark in _REMARKS:
        first = end - len(remark)
        if first > 0 and tuple(words[first:end]) == remark and _domain(reading, index + 1)[0]:
            words[first:end] = [_SOUND] * len(remark)


_PIECE_WORDS = 3


def _take_piece(reading: Reading) -> None:
    """As in "john dot smith", "at example dot com", "j smith"; a sentence is none."""
    words, first = reading.words, 0
    while first < reading.size and (words[first] in _SOUNDS or words[first] in _BEFORE_PIECE):
        first += 1
    at, marked = first, False
    while at < reading.size and (words[at] in _JOINERS or words[at] in _ATS or _is_part(reading, at)):
        marked = marked or words[at] in _JOINERS or words[at] in _ATS
        at += 1
    if at > first and (marked or (at == reading.size and at - first <= _PIECE_WORDS)):
        value, left = "", first
        for split in [*(spot for spot in range(first, at) if words[spot] in _ATS), at]:
            value += _render(reading, left, split) + ("@" if split < at else "")
            left = split + 1
        reading.take(Kind.EMAIL, value, first, at)


_ATS = frozenset({"at", "@"})
_BEFORE_PIECE = word_set(
    "yes yeah sure okay ok so it's its is it that's my the email e mail address and then ,"
)


def _is_part(reading: Reading, at: int) -> bool:
    word = reading.words[at]
    letter = len(word) == 1 and word.isalpha()
    return (
        letter or word in _SOUNDS or (word[:1].isalnum() and word not in _NOT_LOCAL and word not in _NO_PIECE)
    )


_NO_PIECE = word_set(
    "not no don't dont can't cannot want know why what how who sure wait moment please sorry one thing agent"
    " loan"
)


def _open_brackets(words: list[str]) -> None:
    """Turn "(at)" and "[dot]" into the bare words: the brackets become sounds, which are passed over."""
    for at in range(1, len(words) - 1):
        if words[at] in _HIDDEN and words[at - 1] in _BRACKETS and words[at + 1] in _BRACKETS:
            words[at - 1] = words[at + 1] = _SOUND


def _take(reading: Reading, index: int) -> None:
    domain, last = _domain(reading, index + 1)
    written = reading.words[index] == "@"
    named = not domain and (reading.words[index + 1] in _PROVIDERS or (written and _is_tight(reading, index)))
    if named:
        domain, last = reading.words[index + 1], index + 2
    said = "dot" in reading.words[index + 1 : last]
    if not domain or (not said and _is_clock(domain, written=written)):
        return
    local, first = _local(reading, index - 1, written=written)
    if local and not (named and (reading.words[index - 1] in _NO_ACCOUNT or local.isdecimal())):
        reading.take(Kind.EMAIL, f"{local}@{domain}", first, last)


_CLOCK = re.compile(r"(?:[0-9.]+|noon|midnight)[ap]\.m")
_CLOCK_SAID = re.compile(r"(?:[0-9.]+|noon|midnight)[ap]\.?m(?:\..*)?")
"""What "9 a.m.", "9am.then" look like as a domain; the latter may be one after a written "@"."""


def _is_clock(domain: str, *, written: bool) -> bool:
    """Whether a domain is a time or a number where a sentence ends: "open at 9 a.m.", "paid at 10.Then"."""
    if written:
        return _CLOCK.fullmatch(domain) is not None
    whole, _, end = domain.rpartition(".")
    known = end in _ENDS or (len(end) == 2 and end not in AMOUNT_ENDS and end not in _NOT_LOCAL)
    figures = whole.replace(".", "").isdecimal() and not known
    return figures or _CLOCK_SAID.fullmatch(domain) is not None


def _is_tight(reading: Reading, index: int) -> bool:
    """As in "jsmith@work", which nothing but an address looks like."""
    touched = reading.adjacent(index - 1) and reading.adjacent(index)
    return touched and reading.words[index + 1].isalpha() and reading.words[index - 1][:1].isalnum()


def _domain(reading: Reading, index: int) -> tuple[str, int]:
    """As in "gmail dot com", "mail.example.co.uk" from token `index` on; needs at least one dot."""
    words, at, last = reading.words, _past_sounds(reading.words, index), index
    parts: list[str] = []
    dotted = False
    while at < min(reading.size, index + _LONGEST_DOMAIN):
        piece, after = _part(reading, at)
        if not piece:
            break
        parts.append(piece)
        last, at = after, _past_sounds(words, after)
        dot = words[at] in _DOTS or (words[at] in _ALSO_DOTS and words[at + 1] in _ENDS)
        if not dot and words[at] in _ENDS and words[after - 1].isalpha():
            return "".join(parts) + f".{words[at]}", at + 1
        if dot and words[at] == "." and not (reading.adjacent(at) and reading.adjacent(at - 1)):
            break
        if dot or (words[at] in {"-", "dash", "hyphen"}):
            behind = _past_sounds(words, at + 1)
            following, _ = _part(reading, behind)
            if not following:
                break
            parts.append("." if dot else "-")
            dotted |= dot
            at = behind
        elif dotted or not _continues(words, at):
            break
    return ("".join(parts), last) if dotted else ("", index)


def _past_sounds(words: list[str], at: int) -> int:
    while words[at] in _SOUNDS:
        at += 1
    return at


def _continues(words: list[str], at: int) -> bool:
    """Whether a domain of several words goes on: "outlook | mail dot com", "b b c dot com"."""
    return words[at].isalpha() and (
        words[at + 1] in _DOTS or (len(words[at]) == 1 and words[at + 1].isalpha())
    )


def _part(reading: Reading, at: int) -> tuple[str, int]:
    """A word, or a number as digits."""
    word = reading.words[at]
    if len(word) > 1 or not word.isalpha():
        number = read_number(reading, at)
        if number is not None and number.digits:
            return number.digits, number.last
    return (word.replace("'", ""), at + 1) if word[:1].isalpha() else ("", at)


def _local(reading: Reading, index: int, *, written: bool) -> tuple[str, int]:
    """The part before "at", collected leftwards from token `index`: text and first token."""
    words, at = reading.words, index
    loose, first = 0, index + 1
    while at >= 0 and index - at < _LONGEST_LOCAL:
        word = words[at]
        if word in _SOUNDS:
            at -= 1
            continue
        if not word or not (word[0].isalnum() or word in _JOINERS):
            break
        joined = first <= index and (word in _JOINERS or words[first] in _JOINERS)
        touching = at < index + 1 and reading.adjacent(at)
        spelled = _is_letter(words, at) or (words[at].isalpha() and _is_digit_word(reading, at))
        if written and not touching:
            break
        if not written and not joined and not (spelled or first > index):
            loose += 1
            if loose > _LOOSE_WORDS or word.removesuffix("'s") in _NOT_LOCAL:
                break
        elif first > index and not spelled and word in _NOT_LOCAL:
            break
        first = at
        at -= 1
    return _render(reading, first, index + 1), first


def _is_letter(words: list[str], at: int) -> bool:
    """Whether a token is spelled; "a" and "i" are where they stand between letters, figures or joiners."""
    if len(words[at]) != 1 or words[at] not in {"a", "i"}:
        return len(words[at]) == 1 or (words[at] == "double" and len(words[at + 1]) == 1)
    return all(
        len(word) == 1
        or word in _JOINERS
        or word in DIGITS
        or word in _SOUNDS
        or word in {"", "at", "@", "double"}
        for word in (words[at - 1] if at else "", words[at + 1])
    )


def _is_digit_word(reading: Reading, at: int) -> bool:
    number = read_number(reading, at)
    return number is not None and bool(number.digits)


def _render(reading: Reading, first: int, last: int) -> str:
    text, at = "", first
    while at < last:
        word = reading.words[at]
        if word in _JOINERS:
            text, at = text + _JOINERS[word], at + 1
            continue
        if word == "double" and len(reading.words[at + 1]) == 1 and reading.words[at + 1].isalpha():
            letter = reading.words[at + 1]
            text, at = text + ("w" if letter == "u" else 2 * letter), at + 2
            continue
        piece, after = ("", at + 1) if word in _SOUNDS else _part(reading, at)
        text, at = text + piece, max(after, at + 1)
    return text.strip(".-_+'")

"""Phrases that say what the digits near them are: "account number", "one time code", "call me on".

A cue types a digit string that its length or checksum alone would leave open. Cues are matched
longest first and never overlap, so "sort code" is not "code".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from serving.spoken.lexicon import CONNECTIVES
from serving.spoken.numerals import digit_of
from serving.spoken.text import Reading


class Cue(StrEnum):
    """What a phrase promises."""

    CARD = "card"
    """As in "card number"."""
    SOME_CARD = "some_card"
    """As in "card" alone: four digits right after it are its last ones."""
    ACCOUNT = "account"
    """As in "account number", "reference", "sort code"."""
    SOME_ACCOUNT = "some_account"
    """As in "account" alone."""
    PHONE = "phone"
    CODE = "code"
    BIRTH = "birth"
    NONE = "none"
    """Looks like a cue and is none: "promo code"."""


_PHRASES: Mapping[Cue, tuple[str, ...]] = {
    Cue.CARD: (
        "card number", "card numbers", "debit card number", "credit card number", "card no", "long number",
        "pan", "sixteen digit number", "16 digit number", "visa", "mastercard", "master card", "amex",
    ),
    Cue.SOME_CARD: ("card",),
    Cue.ACCOUNT: (
        "account number", "account numbers", "account no", "acct", "account id", "a c number", "sort code",
        "routing number", "routing", "iban", "i b a n", "swift code", "social security number",
        "social security", "ssn", "s s n", "national insurance number", "national insurance", "tax id",
        "taxpayer id", "customer number", "customer id", "client number", "client id", "member number",
        "member id", "membership number", "user id", "reference number", "reference", "ref", "case number",
        "policy number", "loan number", "mortgage number", "passport number", "passport", "id number",
        "driver's license number", "driver's license", "drivers license", "license number",
        "driving licence number", "driving licence", "licence number", "transit number",
    ),
    Cue.SOME_ACCOUNT: ("account",),
    Cue.PHONE: (
        "phone number", "phone", "telephone number", "telephone", "mobile number", "mobile", "cell number",
        "cell", "cell phone", "cellphone", "contact number", "callback number", "call back number", "fax",
        "call me on", "call me at", "call me back on", "call me back at", "reach me on", "reach me at",
        "text me on", "text me at", "ring me on", "contact me on", "contact me at", "my number",
        "area code", "country code",
    ),
    Cue.CODE: (
        "pin", "pin number", "pin code", "passcode", "pass code", "password", "cvv", "c v v", "cvc",
        "c v c", "cv2", "csc", "security code", "security number", "one time code", "one time passcode",
        "one time password", "one time pin", "one - time code", "one - time passcode",
        "one - time password", "1 time code", "otp", "o t p", "verification code", "access code",
        "authentication code", "auth code", "confirmation code", "three digit code", "four digit code",
        "six digit code", "zip code", "zip", "postal code", "postcode", "code", "ending in", "ending with",
        "ending", "ends in", "ends with", "ends", "expiry date", "expiry", "expiration date", "expiration",
        "expires", "valid until", "valid thru",
    ),
    Cue.BIRTH: (
        "date of birth", "birth date", "birthdate", "dob", "d o b", "birthday", "born", "born on",
        "birthday is on",
    ),
    Cue.NONE: (
        "promo code", "promotion code", "discount code", "voucher code", "error code", "qr code", "bar code",
        "dress code",
    ),
}  # fmt: skip

_Rest = tuple[str, ...]
_Meaning = TypeVar("_Meaning")
PhraseIndex = dict[str, tuple[tuple[_Rest, _Meaning], ...]]


def index_phrases(phrases: Mapping[_Meaning, Sequence[str]]) -> PhraseIndex[_Meaning]:
    """Phrases by first word, longest first, for `match_phrase`."""
    found: dict[str, list[tuple[_Rest, _Meaning]]] = {}
    for meaning, texts in phrases.items():
        for text in texts:
            first, *rest = text.split()
            found.setdefault(first, []).append((tuple(rest), meaning))
    return {word: tuple(sorted(entries, key=lambda entry: -len(entry[0]))) for word, entries in found.items()}


def match_phrase(
    words: Sequence[str], index: int, phrases: PhraseIndex[_Meaning]
) -> tuple[int, _Meaning] | None:
    """End token and meaning of the longest phrase that starts at token `index`."""
    for rest, meaning in phrases.get(words[index], ()):
        if all(words[index + 1 + step] == word for step, word in enumerate(rest)):
            return index + 1 + len(rest), meaning
    return None


_INDEX = index_phrases(_PHRASES)
_LOOK_BACK = 12
_WEAK = frozenset({Cue.SOME_CARD, Cue.SOME_ACCOUNT})
_ENDS = frozenset({"", ".", "?", "!", ";", "please", "thanks", "okay", "ok"})
_LAST = ("last", "final")


@dataclass(frozen=True, slots=True)
class Cues:
    """The cues of one text: by the token after them, and by the token they start at."""

    by_end: Mapping[int, Cue]
    by_start: Mapping[int, Cue]

    def before(self, words: Sequence[str], index: int, *, reach: int = _LOOK_BACK) -> Cue:
        """The cue that leads up to token `index` with nothing but connectives between.

        "card" and "account" alone give way to what stands before them ("the last four of my card").
        """
        weak = Cue.NONE
        for step in range(min(reach, index) + 1):
            at = index - step
            cue = self.by_end.get(at, Cue.NONE)
            if cue in _WEAK:
                weak = weak if weak is not Cue.NONE else cue
            elif at in self.by_end:
                return cue
            if at == 0 or words[at - 1] not in CONNECTIVES:
                break
        return weak

    def after(self, words: Sequence[str], index: int) -> Cue:
        """The cue that follows as in "1234 | is my pin", or "1234 | , my pin" where that is all."""
        if words[index] == ",":
            index += 1
        if words[index] not in {"is", "was", "that's", "it's", "are"}:
            return self._trailing(words, index)
        for at in range(index + 1, index + 4):
            if at in self.by_start:
                return self.by_start[at]
            if words[at] not in {"my", "the", "our", "new", "is", "account", "card"}:
                break
        return Cue.NONE

    def _trailing(self, words: Sequence[str], index: int) -> Cue:
        """As in "0420 | my pin" at the end of a sentence: "300, my pin is blocked" gives none."""
        if words[index] not in {"my", "the", "our"} or index + 1 not in self.by_start:
            return Cue.NONE
        end = next(at for at in range(index + 2, len(words)) if at in self.by_end)
        return self.by_start[index + 1] if words[end] in _ENDS else Cue.NONE


def find_cues(reading: Reading) -> Cues:
    """All cues; number words that belong to one ("last four digits") are blanked."""
    by_end: dict[int, Cue] = {}
    by_start: dict[int, Cue] = {}
    index = 0
    while index < reading.size:
        found = (
            match_phrase(reading.words, index, _INDEX)
            or _with_is(reading.words, index)
            or _last_four(reading, index)
        )
        if found is None:
            index += 1
            continue
        end, cue = found
        by_start[index], by_end[end] = cue, cue
        if cue is Cue.CODE:
            reading.blank(index, end)
        index = end
    return Cues(by_end, by_start)


def _with_is(words: Sequence[str], index: int) -> tuple[int, Cue] | None:
    """As in "pin's" for "pin is"."""
    bare = words[index].removesuffix("'s")
    if bare == words[index]:
        return None
    return next(((index + 1, cue) for rest, cue in _INDEX.get(bare, ()) if not rest), None)


def _last_four(reading: Reading, index: int) -> tuple[int, Cue] | None:
    """As in "last four" when digits are meant, not the last four payments."""
    words = reading.words
    if words[index] not in _LAST or digit_of(words[index + 1]) not in {3, 4}:
        return None
    follow = words[index + 2]
    meant = follow in CONNECTIVES or digit_of(follow) is not None or follow in {"double", "triple"}
    return (index + 2, Cue.CODE) if meant or (len(follow) == 4 and follow.isdecimal()) else None

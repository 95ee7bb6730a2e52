"""The closed vocabulary of spoken values: number words, units, months, fillers.

Tables only. Cue phrases live beside the rules that read them; nothing here depends on a locale
other than English.
"""

from typing import Final


def word_set(words: str) -> frozenset[str]:
    """A set of the blank-separated words of a text."""
    return frozenset(words.split())


DIGITS: Final[dict[str, int]] = {
    "zero": 0, "nought": 0, "naught": 0, "oh": 0, "o": 0,
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5,
    "six": 6, "seven": 7, "eight": 8, "nine": 9, "niner": 9,
}  # fmt: skip
"""Words of one digit."""

OH: Final = frozenset({"oh", "o"})
"""Zero inside a digit string, an interjection outside."""

SMALL: Final[dict[str, int]] = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip

TENS: Final[dict[str, int]] = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip

MAGNITUDES: Final[dict[str, int]] = {
    "thousand": 10**3, "thousands": 10**3, "k": 10**3, "grand": 10**3, "lakh": 10**5, "lakhs": 10**5,
    "million": 10**6, "millions": 10**6, "mil": 10**6, "mn": 10**6, "crore": 10**7, "crores": 10**7,
    "billion": 10**9, "billions": 10**9, "bn": 10**9, "trillion": 10**12,
}  # fmt: skip
"""Words that multiply the number before them; `m` counts only when written against its digits."""

MONEY_MAGNITUDES: Final = frozenset({"k", "grand"})
"""Magnitudes that only money has: "twenty grand", "20k"."""

VAGUE: Final = frozenset({"odd", "something", "some", "ish"})
"""After a number they say that it is about so much: "twenty odd thousand" is no amount."""

REPEATS: Final[dict[str, int]] = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}

FRACTIONS: Final[dict[str, int]] = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10,
    "sixteenth": 16, "sixteenths": 16, "hundredth": 100, "hundredths": 100,
}  # fmt: skip
"""Word to denominator."""

VULGAR: Final[dict[str, tuple[int, int]]] = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4),
    "⅕": (1, 5), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
}  # fmt: skip

ORDINALS: Final[dict[str, int]] = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13,
    "fourteenth": 14, "fifteenth": 15, "sixteenth": 16, "seventeenth": 17, "eighteenth": 18,
    "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}  # fmt: skip
ORDINAL_ENDINGS: Final = frozenset({"st", "nd", "rd", "th"})

MONTHS: Final[dict[str, int]] = {
    "january": 1, "february": 2, "march": 3, "april": 4, "may": 5, "june": 6, "july": 7,
    "august": 8, "september": 9, "october": 10, "november": 11, "december": 12,
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "jun": 6, "jul": 7, "aug": 8, "sep": 9,
    "sept": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip

WEEKDAYS: Final[dict[str, int]] = {
    "monday": 0, "tuesday": 1, "wednesday": 2, "thursday": 3, "friday": 4, "saturday": 5, "sunday": 6,
}  # fmt: skip

TERM_UNITS: Final[dict[str, tuple[str, int]]] = {
    "year": ("months", 12), "years": ("months", 12), "yr": ("months", 12), "yrs": ("months", 12),
    "year's": ("months", 12), "years'": ("months", 12), "month": ("months", 1), "months": ("months", 1),
    "month's": ("months", 1), "mo": ("months", 1), "mos": ("months", 1), "mth": ("months", 1),
    "mths": ("months", 1), "decade": ("months", 120), "decades": ("months", 120),
    "day": ("days", 1), "days": ("days", 1), "day's": ("days", 1), "week": ("days", 7),
    "weeks": ("days", 7), "week's": ("days", 7), "wk": ("days", 7), "wks": ("days", 7),
    "fortnight": ("days", 14), "fortnights": ("days", 14),
}  # fmt: skip
"""Word to (unit of the value, how many of it)."""

WRITTEN_TERM_UNITS: Final[dict[str, tuple[str, int]]] = {
    "y": ("months", 12), "d": ("days", 1), "w": ("days", 7),
}  # fmt: skip
"""Only directly after written digits: `5y`, `90d` (two digits at least: `3D` is none)."""

TERM_ADJECTIVES: Final = frozenset(
    {"calendar", "business", "working", "full", "whole", "more", "additional", "consecutive", "straight"}
)

DOLLARS: Final = frozenset({"USD", "CAD", "AUD", "NZD", "SGD", "HKD"})
"""Currencies that callers call "dollars"; the caller's own one is meant."""

MAJOR: Final[dict[str, str]] = {
    "dollar": "$", "dollars": "$", "buck": "$", "bucks": "$", "usd": "USD", "cad": "CAD", "aud": "AUD",
    "nzd": "NZD", "sgd": "SGD", "hkd": "HKD", "pound": "GBP", "pounds": "GBP", "quid": "GBP",
    "gbp": "GBP", "sterling": "GBP", "euro": "EUR", "euros": "EUR", "eur": "EUR", "yen": "JPY",
    "jpy": "JPY", "rupee": "INR", "rupees": "INR", "inr": "INR", "franc": "CHF", "francs": "CHF",
    "chf": "CHF",
}  # fmt: skip
"""Currency word to code; `$` stands for the caller's own dollar."""

OTHER_MONEY: Final = word_set(
    """
    peso pesos mxn krona kronor krone kroner kr sek nok dkk zloty pln zar ringgit baht thb dirham dirhams aed
    riyal riyals lira shekel shekels yuan renminbi rmb cny ruble rubles naira ngn shillings forint koruna
    reais brl rs krw bitcoin bitcoins btc
    """
)
"""Money that no value here is in: what stands beside it is no amount of the caller's own."""

MINOR: Final[dict[str, str]] = {
    "cent": "¢", "cents": "¢", "pence": "GBP", "penny": "¢", "pennies": "¢", "p": "GBP",
    "paise": "INR", "centimes": "CHF",
}  # fmt: skip
"""Hundredths; `¢` stands for those of the caller's own currency."""

SYMBOLS: Final[dict[str, str]] = {"$": "$", "£": "GBP", "€": "EUR", "¥": "JPY", "₹": "INR"}
DOLLAR_PREFIXES: Final[dict[str, str]] = {
    "us": "USD", "c": "CAD", "ca": "CAD", "a": "AUD", "au": "AUD", "nz": "NZD", "s": "SGD", "hk": "HKD",
    "american": "USD", "canadian": "CAD", "australian": "AUD",
}  # fmt: skip
"""What stands before `$` or "dollars": `US$`, "canadian dollars"."""

FILLERS: Final = frozenset(
    {"uh", "um", "uhm", "er", "erm", "ah", "eh", "hmm", "hm", "mm", "dash", "hyphen", "space", "slash",
     "stroke", "pause", "sil", "noise", "breath", "cough", "laughter", "unk", "inaudible"}
)  # fmt: skip
"""Sounds and spoken separators that never end a digit string."""

SOFT_FILLERS: Final = frozenset(
    {"and", "then", "so", "okay", "ok", "yeah", "yes", "right", "well", "like", "let", "me", "see", "sorry",
     "wait", "hold", "on", "again", "followed", "by", "next", "you", "know", "actually", "i", "mean", "think",
     "just", "a", "second", "moment", "the", "rest", "is", "it's", "its", "that's", "dot", "comma", "now",
     "last", "lastly", "final", "finally", "that", "would", "be", "bit", "part", "got", "are", "there's"}
)  # fmt: skip
"""Words that may stand inside a digit string when both sides are plainly spelled digits."""

CONNECTIVES: Final = FILLERS | frozenset(
    {"is", "it's", "its", "are", "was", "be", "of", "the", "my", "number", "numbers", "digits", "digit",
     "that's", "that", "which", "would", "will", "for", "on", "in", "with", "this", "here", "here's",
     "card", "account", "code", "as", "follows", "following", "starting", "starts", "begins", "i", "think",
     "believe", "so", "okay", "ok", "yes", "should", "says", "new", "old", "current", "his", "her", "our",
     "their", "your", "no", "num", "being", "called", "equals", "well", "actually",
     ":", "#", ",", "-", "=", ".", "(", '"', "'", "…"}
)  # fmt: skip
"""What may stand between a cue ("account number") and its digits."""

AMOUNT_ENDS: Final = frozenset(
    {"", "over", "for", "at", "in", "to", "from", "with", "on", "by", "into", "onto", "and", "or", "please",
     "per", "a", "each", "every", "daily", "weekly", "monthly", "quarterly",
     "yearly", "annually", "extra", "more", "is", "i", "my", "now", "today", "towards",
     "toward", "off", "back", "out", "it", "this", "that", "as", "until", "within", "before", "after",
     "because", "but", "so", "then", "if", "can", "what", "how", "thanks", "thank", "tomorrow", "down",
     "instead", "again", "though", "there", "here", "through", "using", "via", "against", "next", "last",
     "when", ".", ",", "?", "!", ";", ")"}
)  # fmt: skip
"""What may follow an amount; a noun there would say that things were counted."""

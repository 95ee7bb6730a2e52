"""One way to write down what was said, so that WER counts mishearings and not spellings.

The profile `banking-en-1` writes every number as its digits ("seventy five", "seven five" and "75"
are `7 5`), amounts and rates as a voice says them, contractions in full, letters of an abbreviation
as one word ("A.P.R.", "a p r" are `apr`) and American spelling. Digits stay apart, so one wrong
digit of a card number is one error in sixteen words. The rules are this project's own: Whisper's
English normaliser leaves "4111 1111", "oh seven five" and "ten thirty" in several forms, and a
report must not depend on an optional package. Numbers are read by `serving.spoken`.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.spoken import figures, lexicon, numbers, numerals, say, text, values
from serving.spoken.lexicon import MAJOR, OH, SYMBOLS
from serving.spoken.numbers import read_numbers
from serving.spoken.numerals import Number, Shape
from serving.spoken.say import say_ordinal
from serving.spoken.text import Reading, read

PROFILE = "banking-en-1"

ABBREVIATIONS = frozenset(
    {"ach", "apr", "apy", "atm", "cvv", "fdic", "iban", "ira", "irs", "kyc", "nsf", "otp", "pin", "ssn"}
)
"""Single letters in a row that spell one of these become one word."""

FILLERS = frozenset({"ah", "eh", "er", "erm", "hm", "hmm", "mhm", "mm", "mmm", "uh", "uhm", "um"})
"""Sounds that are not words; dropped, as a recogniser may or may not write them."""

CONTRACTIONS: dict[str, str] = {
    "ain't": "is not", "can't": "can not", "cannot": "can not", "let's": "let us", "shan't": "shall not",
    "won't": "will not", "y'all": "you all", "gonna": "going to", "gotta": "got to", "wanna": "want to",
    "gimme": "give me", "lemme": "let me", "kinda": "kind of", "dunno": "do not know", "'cause": "because",
    "cuz": "because", "ok": "okay", "e-mail": "email", "alright": "all right", "per cent": "percent",
    "e mail": "email",
}  # fmt: skip
"""Whole words and phrases, longest first where one begins another."""

_ENDINGS = (
    ("n't", " not"),
    ("'re", " are"),
    ("'ll", " will"),
    ("'ve", " have"),
    ("'m", " am"),
    ("'d", " would"),
)
_IS_AFTER = frozenset(
    {"he", "here", "how", "it", "she", "that", "there", "what", "when", "where", "who", "why"}
)
"""Words after which 's is "is"; elsewhere it is inaudible grammar and only the apostrophe goes."""

SPELLINGS: dict[str, str] = {
    "cheque": "check", "cheques": "checks", "chequebook": "checkbook", "centre": "center", "colour": "color",
    "favour": "favor", "favourite": "favorite", "honour": "honor", "grey": "gray", "licence": "license",
    "programme": "program", "enquiry": "inquiry", "enquiries": "inquiries", "enquire": "inquire",
    "cancelled": "canceled", "cancelling": "canceling", "travelling": "traveling", "travelled": "traveled",
    "labelled": "labeled", "instalment": "installment", "instalments": "installments", "fulfil": "fulfill",
    "judgement": "judgment", "ageing": "aging", "tyre": "tire", "mum": "mom", "behaviour": "behavior",
    "catalogue": "catalog", "dialogue": "dialog", "defence": "defense", "offence": "offense",
    "neighbour": "neighbor", "labour": "labor", "learnt": "learned", "spelt": "spelled", "whilst": "while",
}  # fmt: skip
_OUR_ISE = re.compile(
    r"^(author|organ|recogn|real|final|apolog|summar|priorit|custom|personal|minim|maxim|util|national|item|"
    r"categor|critic|emphas|special|stabil|standard|capital|central|general|penal|digit|initial|legal)"
    r"is(e|ed|es|ing|ation|ations)$"
)
"""Verbs that British English writes with -ise and American English with -ize."""

_PUNCTUATION = re.compile(
    rf"(?<![0-9])[.,]|[.,](?![0-9])|[^\w\s.,/{''.join(SYMBOLS)}%{''.join(lexicon.VULGAR)}]|_"
)
"""Marks that no number needs."""
_CURRENCY_NAMES = {"$": "dollars", "GBP": "pounds", "EUR": "euros", "JPY": "yen", "INR": "rupees"}
_SIGNS = {"%": "percent", "½": "half", "¼": "quarter", "⅓": "third"}
_RULES = (figures, lexicon, numbers, numerals, say, text, values)
"""Modules whose rules the result depends on, besides this one."""


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A named profile; equal hashes mean equal rules.

    Attributes:
        name: the profile.
        sha256: of the source text of every rule, so that reports of unequal rules are never compared.
    """

    name: str
    sha256: str

    def words(self, text: str) -> list[str]:
        """Normalised words of a text; empty for a text without any."""
        return _words(text)

    def __call__(self, text: str) -> str:
        """Normalised text, words apart by one blank."""
        return " ".join(_words(text))


@functools.cache
def normaliser() -> Normaliser:
    """The profile `banking-en-1` of this version of the code."""
    digest = hashlib.sha256(PROFILE.encode())
    for path in sorted([Path(__file__), *(Path(str(module.__file__)) for module in _RULES)]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return Normaliser(PROFILE, digest.hexdigest())


def _words(raw: str) -> list[str]:
    text = _expand(_fold(raw))
    reading = read(text)
    found = _joined_letters(_written_out(reading))
    return [_spelling(word) for word in found if word not in FILLERS]


def _fold(raw: str) -> str:
    """Lower case, plain apostrophes, no accents, no `<tags>` and `[remarks]` of a transcriber."""
    lowered = re.sub(r"<[^<>]{0,80}>|\[[^\[\]]{0,80}\]", " ", raw.lower())
    lowered = re.sub(r"[‘’ʼ`´]", "'", lowered)
    # NFKD would tear ½ apart into 1/2 written against the digit before it.
    parts = (c if c in lexicon.VULGAR else unicodedata.normalize("NFKD", c) for c in lowered)
    return "".join(c for part in parts for c in part if unicodedata.category(c) != "Mn")


def _expand(text: str) -> str:
    """Contractions and letters with dots in full; punctuation gone, because nobody says it."""
    text = re.sub(r"\b401\s?\(?k\)?(?!\w)", "four oh one k", text)
    text = re.sub(r"\b((?:[a-z]\.)+[a-z])\.?(?!\w)", lambda m: m.group(1).replace(".", " "), text)
    text = re.sub(
        r"\b(?:e[ -]mail|per cent)(?=s?\b)", lambda m: CONTRACTIONS[m.group().replace("-", " ")], text
    )
    text = re.sub(r"'?[a-z]+(?:'[a-z]+)*'?", lambda m: _expand_word(m.group()), text)
    return _PUNCTUATION.sub(" ", re.sub(r"(?<![0-9])\.(?=[0-9])", "0.", text))


def _expand_word(word: str) -> str:
    if word in CONTRACTIONS:
        return CONTRACTIONS[word]
    bare = word.strip("'")
    if bare in CONTRACTIONS:
        return CONTRACTIONS[bare]
    for ending, full in _ENDINGS:
        if bare.endswith(ending) and len(bare) > len(ending):
            return bare.removesuffix(ending).replace("'", "") + full
    if bare.endswith("'s") and bare[:-2] in _IS_AFTER:
        return f"{bare[:-2]} is"
    return bare.replace("'", "")


def _written_out(reading: Reading) -> list[str]:
    """Words in order, numbers as digits, signs as words, marks dropped."""
    numbers = {number.first: number for number in _spoken_numbers(reading)}
    found: list[str] = []
    digits, index = "", 0
    while index < reading.size:
        word, number = reading.words[index], numbers.get(index)
        if number is not None and _whole(number):
            # Digits of numbers in a row are one string: "4111 1111" is "41111111".
            digits += number.digits or str(int(number.value))
            index = number.last
            continue
        if number is not None:
            found += [*_digit_words(digits), *_decimal(number, after_digits=bool(digits))]
            digits, index = "", number.last
            continue
        index += 1
        if word in SYMBOLS and index in numbers:
            found += [*_digit_words(digits), *_amount(numbers[index], _CURRENCY_NAMES.get(SYMBOLS[word], ""))]
            digits, index = "", numbers[index].last
        elif word.isalnum() or word == "%":
            found += _digit_words(digits)
            digits = ""
            cents_follow = word == "and" and found[-1:] and found[-1] in MAJOR and index in numbers
            if not cents_follow:
                found += _as_words(reading, index - 1)
    return [*found, *_digit_words(digits)]


def _spoken_numbers(reading: Reading) -> list[Number]:
    """Numbers that are digits or amounts; "a dollar", "half" and "oh" by themselves stay words."""
    found = [n for n in read_numbers(reading) if n.shape not in {Shape.ARTICLE, Shape.FRACTION}]
    found = [n for n in found if n.digits or reading.words[n.last - 1] not in {"couple", "of", "dozen"}]
    return [n for i, n in enumerate(found) if not _interjection(reading, found, i)]


def _interjection(reading: Reading, found: list[Number], index: int) -> bool:
    """Whether an "oh" or "o" is no zero: it touches no other digit (the letter o: not two of them)."""
    number = found[index]
    word = reading.words[number.first]
    if word not in OH or number.last != number.first + 1:
        return False
    before = index > 0 and found[index - 1].last == number.first
    after = index + 1 < len(found) and found[index + 1].first == number.last
    return not (before and after) if word == "o" else not (before or after)


def _digit_words(digits: str) -> list[str]:
    """A digit string as words: digits apart, round hundreds and thousands said as such."""
    if not digits:
        return []
    if digits[0] != "0":
        for zeros, name in (("000000", "million"), ("000", "thousand"), ("00", "hundred")):
            if digits.endswith(zeros) and len(digits) > len(zeros):
                return [*_digit_words(digits[: -len(zeros)]), name]
    return list(digits)


def _whole(number: Number) -> bool:
    return number.value == number.value.to_integral_value()


def _decimal(number: Number, *, after_digits: bool = False) -> list[str]:
    """Both 6.50 and "six point five" are `6 point 5`; a bare "point five" continues digits before it."""
    whole, _, decimals = format(number.value.normalize(), "f").partition(".")
    head = [] if after_digits and whole == "0" else _digit_words(whole)
    return [*head, "point", *decimals]


def _amount(number: Number, currency: str) -> list[str]:
    """Figures after a currency sign as a voice says them: $304.15 is `3 0 4 dollars 1 5 cents`."""
    whole, _, decimals = format(number.value.normalize(), "f").partition(".")
    name = [currency] if currency else []
    if not decimals:
        return [*_digit_words(number.digits or whole), *name]
    if len(decimals) > 2 or not name:
        return [*_decimal(number), *name]
    minor = [*_digit_words(str(int(decimals.ljust(2, "0")))), "pence" if currency == "pounds" else "cents"]
    return minor if whole == "0" else [*_digit_words(whole), *name, *minor]


def _as_words(reading: Reading, index: int) -> list[str]:
    """A token that is no number: % and ½ by name, "21st" as `twenty first`, anything else as it is."""
    word, follow = reading.words[index], reading.words[index + 1]
    if word in _SIGNS:
        return [_SIGNS[word]]
    if reading.written[index] and reading.adjacent(index) and follow in lexicon.ORDINAL_ENDINGS:
        reading.words[index + 1] = ""
        return say_ordinal(int(word)).split() if len(word) <= 4 and word.isdecimal() else [word]
    return [word]


def _joined_letters(words: list[str]) -> Iterator[str]:
    """Single letters that spell an abbreviation become it: `a p r` is `apr`."""
    index = 0
    while index < len(words):
        for size in (5, 4, 3):
            letters = words[index : index + size]
            if (
                len(letters) == size
                and all(len(w) == 1 for w in letters)
                and "".join(letters) in ABBREVIATIONS
            ):
                yield "".join(letters)
                index += size
                break
        else:
            yield words[index]
            index += 1


def _spelling(word: str) -> str:
    match = _OUR_ISE.match(word)
    return f"{match[1]}iz{match[2]}" if match else SPELLINGS.get(word, word)

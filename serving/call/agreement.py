"""Whether words agree to what was read back, and to nothing else: an allow-list, not a list of refusals.

What changes something at the bank rests on this, so a word that is not known to be harmless makes a yes none;
the bot then asks again. The lists are English; numbers, dates and names count only where they were read back.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation

from serving.call.dialogue import PendingTask
from serving.language.lexicon import unaccented
from serving.language.protocols import UserTurn
from serving.spoken import parse
from serving.spoken.lexicon import DIGITS, FRACTIONS, MAGNITUDES, ORDINALS, REPEATS, SMALL, TENS, word_set
from serving.spoken.text import read
from serving.spoken.values import Kind, TypedValue

_Phrase = tuple[str, ...]


def _phrases(*lines: str) -> frozenset[_Phrase]:
    return frozenset(tuple(phrase.split()) for line in lines for phrase in line.split(", "))


YES = _phrases(
    "yes, yeah, yep, yup, yea, aye, ok, okay, o k, sure, sure thing, alright, all right, right, correct",
    "exactly, absolutely, definitely, certainly, perfect, affirmative, agreed, confirmed, true, indeed",
    "of course, uh huh, by all means, go ahead, please do, do it, do that, do this, let's do it",
    "let's do that, that's right, that is right, that's correct, that is correct, it's correct, it's right",
    "it is correct, it is right, sounds good, that sounds good, sounds right, that sounds right, i agree",
    "i confirm, i confirm that, i do, i would, i will, it is, that is it, that's it, you can, you may",
)
"""Phrases that say yes; one of them at least must be there."""
HARMLESS = _phrases(
    "um, uh, er, erm, ah, oh, well, so, please, thanks, thank you, thank you very much, thanks very much",
    "many thanks, kindly, sir, ma'am, madam, now, right now, okay then, yes then, for me, i'm sure",
    "i am sure, quite right, it, that, this, the, that's, that one, this one, i'd like that, just",
    "great, good",
    "very good, fine, fine by me, that's fine, that is fine, that's good, that is good",
    "that's okay, that's ok, that is okay",
    "that's what i meant, that's the right amount, you understood me correctly, why not",
)
"""Fillers and politeness, which change nothing; "that's fine, thanks" by itself may be a no."""
_AMBIGUOUS = _phrases("correct it, correct that, correct this, right it")
"""Yes, or the wish for a change: nobody can tell."""
_MIRRORED = {"your": "my", "you": "me"}
"""A word of the bot's question → what a caller who repeats it says."""
_OUT_OF_QUESTION = word_set(
    "no not nope nah never none nothing neither nor nobody cannot without stop cancel wait hold hang leave"
    " forget but or if unless until before after first last later except instead rather only other"
    " another different"
    " wrong again back all any more most less least every each both half new old too also"
    " what which how why when who whom whose where is are am was were be been will would shall should can"
    " could may might must do does did done have has had having"
)
"""Words of a question that make no harmless answer: they deny, change or ask."""
_NUMBERS = frozenset().union(
    DIGITS, SMALL, TENS, MAGNITUDES, FRACTIONS, ORDINALS, REPEATS, {"hundred", "dozen"}
)
_DANGLING = word_set("so well just um uh er erm and the a an my your i we in on of at to with")
"""Who stops at one of these has not finished, or hesitates."""
_MARKS = frozenset(".,;:!'\"-()…")
_LONGEST = max(len(phrase) for phrase in YES | HARMLESS)


def agrees_to(user: UserTurn, pending: PendingTask, true: Mapping[str, str]) -> bool:
    """Whether a turn says yes to what was read back, and nothing besides.

    Args:
        user: the turn, redacted.
        pending: the question; its words, and the values that it read back, may be repeated.
        true: placeholder → true value.
    """
    if not all(_read_back(value, pending, true) for value in user.values):
        return False
    tokens = _tokens(_without(user.text, user.values))
    if tokens is None or not _only_yes(tokens, _echoes(pending.question)):
        return False
    ends = max((value.end for value in user.values), default=0)
    return tokens[-1] not in _DANGLING or (ends > 0 and not _tokens(user.text[ends:]))


def _tokens(text: str) -> list[str] | None:
    """Words of a text; None where it holds a mark that is neither a word nor plain punctuation."""
    tokens = [unaccented(token) for token in read(text).words if token]
    words = [token for token in tokens if token not in _MARKS]
    return words if all(word[0].isalpha() for word in words) and "<" not in text else None


def _without(text: str, values: tuple[TypedValue, ...]) -> str:
    """A text with blanks in place of its values."""
    for value in values:
        text = text[: value.start] + " " * (value.end - value.start) + text[value.end :]
    return text


def _only_yes(words: list[str], echoes: frozenset[str]) -> bool:
    """Whether phrases that say yes, harmless ones and echoes make up all the words."""
    at, agreed = 0, False
    while at < len(words):
        for length in range(_LONGEST, 0, -1):
            phrase = tuple(words[at : at + length])
            if phrase in _AMBIGUOUS:
                return False
            if phrase in YES or phrase in HARMLESS:
                agreed = agreed or phrase in YES
                at += len(phrase)
                break
        else:
            if words[at] not in echoes:
                return False
            at += 1
    return agreed


def _echoes(question: str) -> frozenset[str]:
    """Words of a question that may be repeated."""
    words = {unaccented(word) for word in read(_without(question, parse(question))).words}
    words |= {_MIRRORED[word] for word in words & _MIRRORED.keys()}
    return frozenset(word for word in words - _OUT_OF_QUESTION - _NUMBERS if word.isalpha())


def _read_back(value: TypedValue, pending: PendingTask, true: Mapping[str, str]) -> bool:
    """Whether a value is one of those that the question is about."""
    if value.canonical() in {doubt.value.canonical() for doubt in pending.doubts}:
        return True
    asked = [str(argument) for argument in pending.arguments.values()]
    said = value.value
    if value.personal:
        known = true.get(str(said), "")
        return bool(known) and known in {true.get(argument, "") for argument in asked}
    if value.kind is Kind.MONEY and isinstance(said, Decimal):
        return value.unit == "USD" and _amount(pending.arguments.get("monthly_payment")) == said
    return isinstance(said, date) and said.isoformat() in asked


def _amount(argument: object) -> Decimal | None:
    try:
        return Decimal(str(argument))
    except InvalidOperation:
        return None

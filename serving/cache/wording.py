"""Whether a text can be read at all by the rules of this cache: length, characters, script, language.

A rule that cannot read a text cannot see what sets it apart from another, so such a text is neither stored
nor answered. It knows nothing of meaning; numbers, people and injections are judged elsewhere.
"""

import unicodedata
from enum import StrEnum

from serving.cache.types import exact_key
from serving.language.lexicon import unaccented, words
from serving.spoken.lexicon import word_set

MAX_QUESTION_CHARS = 500
"""Longest question that is stored or looked up: half a minute of speech."""
MAX_ANSWER_CHARS = 2_000
"""Longest answer: more than two minutes of speech."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ENGLISH = word_set(
    """
    a about after all am an and any anything are at be because been before but by can could did do does doing
    don't each every for from get give had has have how i i'd i'll i'm i've if in into is isn't it it's its
    just may me more most much must my need new no not of off on once only open or our out over please should
    so some such take than that the their them then there these they this those to under until up us use want
    was we were what what's when where which while who whose why will with without would yes you your
    """
)
_FOREIGN = word_set(
    """
    aber al alla allo als auch aus avec beim bin c'est che ci ciao como con cuando cual cuanto cuanta dal dans
    das dei del della dello den der des dich dir donde dos du ein eine einem einen einer el ella elle en era
    eres es esta este estoy et eu faut finde fui gibt gli haben habe hay hola ich ihr il ils ist j'ai je kann
    kein keine la las le les lo los mais mas mein meine merci mi mich mir mit moi mon mucho muito nao nel
    nicht noi non nos nous nuestro oder ou oui para pas per perche pero por porque pour pourquoi puedo puis
    quand quanto quante que quel quelle qu'est questa questo qui quien quiero sa sans sera sind sobre soll
    sono su sua suis sur tiene toi tu una une uno und uns unter vom von vos votre vous wann warum was wenn
    werden wie wir wird wo y zu zum zur
    """
)
"""Frequent words of Spanish, French, German, Italian and Portuguese, without accents."""


class Fault(StrEnum):
    """What is wrong with a text; the words are those of `Reason` and `Refusal`."""

    EMPTY = "empty_text"
    TOO_LONG = "too_long"
    UNREADABLE = "unreadable"


def text_fault(text: str, longest: int = MAX_QUESTION_CHARS) -> tuple[Fault, str] | None:
    """What keeps a text from being read, with the evidence in words; None where nothing does.

    The evidence never quotes the text.

    Args:
        text: a question or an answer.
        longest: most characters.
    """
    if len(text) > longest:
        return Fault.TOO_LONG, f"{len(text)} characters, {longest} are the most"
    if not text.strip():
        return Fault.EMPTY, "no words"
    problem = _unreadable(text)
    return (Fault.UNREADABLE, problem) if problem else None


def _unreadable(text: str) -> str:
    """Why no rule can read a text; empty where they can."""
    if any(unicodedata.category(character) in _UNSEEN for character in text):
        return "it holds control or invisible characters"
    plain = unaccented(unicodedata.normalize("NFKC", text))
    if any(unicodedata.category(character) == "So" for character in plain):
        return "it holds symbols or emoji"
    if any(character.isalpha() and not character.isascii() for character in plain):
        return "it holds letters of another script"
    if any(character.isnumeric() and not character.isascii() for character in plain):
        return "it holds figures of another script"
    if not any(map(str.isalpha, plain)) or not exact_key(text):
        return "it holds no words"
    if len(text) - len(unaccented(text)) > len(plain) // 2:
        return "it holds more accents than letters"
    said = words(text)
    if sum(word in _FOREIGN for word in said) > sum(word in _ENGLISH for word in said):
        return "it is not in English"
    return ""

"""Names that callers give: after "my name is", before "speaking", spelled letter by letter.

A strong cue is followed by a name unless its first word cannot be one ("my name is on the card"). A weak
cue ("this is", "i'm", "it's for") needs more: "speaking" or "calling" after the name, capitals, or a
common given name. Whom money goes to ("pay", "send it to") needs a common given name. No list of family
names is used, so another name without any cue is not found.
"""

from enum import IntEnum

from serving.spoken.cues import index_phrases, match_phrase
from serving.spoken.given_names import GIVEN_NAMES
from serving.spoken.lexicon import DIGITS, FILLERS, MONTHS, ORDINALS, SMALL, TENS, TERM_UNITS, word_set
from serving.spoken.spelling import Spelled, is_alone, past_spelling_words, read_spelling, words_before
from serving.spoken.text import Reading
from serving.spoken.values import Kind


class _Trust(IntEnum):
    TO = -2
    """As in "to": needs a word for money before it and a known given name."""
    KNOWN = -1
    """As in "pay": needs a known given name."""
    WEAK = 0
    """As in "this is": needs a closing word, capitals or a known given name."""
    TITLE = 1
    """As in "mrs"."""
    STRONG = 2
    """As in "my name is"."""


_CUES = index_phrases(
    {
        _Trust.STRONG: (
            "name is", "name's", "name was", "names are", "full name is", "first name is", "last name is",
            "surname is", "family name is", "maiden name is", "maiden name was", "maiden name",
            "name on the account is", "name on the card is", "name on it is", "account holder is",
            "cardholder is", "card holder is", "cardholder's name is", "holder's name is", "payee is",
            "payee name is", "beneficiary is", "i'm called", "i am called", "in the name of",
            "under the name of", "under the name", "surname", "last name", "full name", "first name",
        ),
        _Trust.TITLE: ("mr", "mister", "mrs", "ms", "dr"),
        _Trust.WEAK: (
            "this is", "i'm", "im", "i am", "it's", "its", "it is", "it's for", "its for", "it is for",
            "this is for", "on behalf of", "speaking with", "speaking to", "call me", "name of",
            "husband", "wife", "son", "daughter", "brother", "sister", "mother", "father", "partner",
            "cardholder", "card holder", "account holder", "payee", "beneficiary", "recipient", "belongs to",
            "belonging to", "payable to",
        ),
        _Trust.KNOWN: ("pay", "paid", "paying", "wire", "and"),
        _Trust.TO: ("to", "from", "for", "by"),
    }
)  # fmt: skip
_CLOSING = frozenset({"speaking", "calling", "phoning", "ringing"})
_LONGEST_NAME = 4
_SHORT_NAME = 2
"""Words that go with a given name where nothing says that a name follows."""
_MONEY = word_set(
    """
    send sends sent sending transfer transfers transferred transferring pay paid paying wire wired wiring
    give gave money payment payments payee cheque check deposit refund received receive belongs standing
    """
)
_REACH = 9
_PARTICLES = frozenset(
    {"de", "la", "van", "der", "von", "bin", "al", "el", "di", "da", "dos", "mc", "mac", "st"}
)
_TITLES = frozenset({"mr", "mister", "mrs", "ms", "miss", "dr", "doctor"})
_ALSO_WORDS = frozenset({"will", "bill", "may", "june", "april"})
"""Names that a strong cue makes of everyday words."""
_NAME_PARTS = frozenset({"first", "last", "full", "family", "maiden"})
_GREETINGS = FILLERS | word_set(
    "hi hello hey yes yeah yep no oh okay ok good morning afternoon evening day sure so well there , . !"
)
_AFTER_NAME = frozenset({"", ",", ".", "!", "and", "i", "i'm", "calling", "about", "from", "here", "again"})
_NO_PART = ("ing", "ed", "ly", "able", "ible", "ful", "ous", "ive", "ment", "tion", "sion", "ness", "less",
            "n't", "'m", "'re", "'ve", "'ll")  # fmt: skip
"""Endings of everyday words."""
NO_NAMES = (
    word_set(
        """
        a about account actually afraid after again age ago all almost already also always am amazon
        american an and angry annoying another any anyone anytime apple are around as asap asking at
        australian available away awful back bad bank be because been before behind being beneficiary bill
        birth born british broken business but buy by call called calling can can't canadian cancel cannot
        car card cell change changed changing charge check child children code college company concerned
        concerning confused correct could currently customer cvc cvv date days deal debit declined dependent
        did didn't different divorce do dob does doesn't doing don't done double down due each either email
        enough even ever every everyone everything expired expires expiry express fine first for friday from
        frozen frustrated frustrating full getting glad go going gonna good google got great had happy
        harbor harbour has have having he hello help her here hey hi him his home hope hoping house how
        hundred i i'd i'll i'm i've iban if im immediately in incorrect inquiring instead interested into is
        isn't it it's its just kids kind last late later least legally let like line listed living loan
        locked looking lost many marriage mastercard matched me mine minus missing misspelled mobile mom
        monday more mortgage most much my myself name need needing never new next nice no nobody not nothing
        now number of off ok okay old on one ones only open or other our out over overseas passcode password
        payee paying payment paypal personal phone phoning pin planning please plus pretty printed probably
        problem purchase put question quick ready really reference regarding regards registered ridiculous
        right ringing routing said same saturday saying school see seeing sent she should showing since sir
        small so some someone something soon sorry sort speak speaking spelled spelling spelt ssn still
        stolen stuck student such sunday sure surname tell terrible thank thanks that that's the their them
        then there they thing things think thinking this those though thousand through thru thursday time
        tired to today told tomorrow too travel traveling travelling treble triple trying tuesday tuition
        two ugh unable uncertain unclear under unhappy unless until up updated upset urgent us use used
        using vacation very visa waiting want wanting was wasn't way we wedding wednesday were what what's
        when where which while who why will with without wondering work working worried would written wrong
        yeah yes yesterday yet you your yours zip
        """
    )
    | FILLERS
    | (DIGITS.keys() - {"o"})
    | (SMALL.keys() | TENS.keys() | TERM_UNITS.keys() | ORDINALS.keys())
    | (MONTHS.keys() - {"april", "may", "june", "august", "jan", "mar"})
)


def take_names(reading: Reading, *, expected: bool = False) -> None:
    """Record every name; with `expected` the text answers the question for one."""
    _take_spelled(reading)
    index = 0
    if expected and not any(_is_cue(reading.words, at) for at in range(reading.size)):
        while reading.words[index] in _GREETINGS or reading.words[index] in {"it's", "that's"}:
            index += 1
        index = _take(reading, index, _Trust.STRONG) or index
    _take_opening(reading)
    while index < reading.size:
        found = match_phrase(reading.words, index, _CUES)
        if found is None:
            taken = _take_unled(reading, index) or _take_before(reading, index)
        else:
            taken = _take(reading, *found)
        index = taken or index + 1


def _take_spelled(reading: Reading) -> None:
    """Record what is spelled beside the word itself, or spelled and nothing else."""
    index = 0
    while index < reading.size:
        found = read_spelling(reading.words, index)
        if found is None:
            index += 1
            continue
        first = words_before(reading.words, found)
        if first == found.first and reading.words[found.last] in {"a", "i"}:  # "… that's sofia s o f i | a"
            whole = Spelled(found.letters + reading.words[found.last], found.first, found.last + 1)
            first = words_before(reading.words, whole)
            found = whole if first < found.first else found
        if first < found.first or is_alone(reading.words, found):
            reading.take(Kind.NAME, _titled(found.letters), first, found.last)
        index = found.last


def _take_opening(reading: Reading) -> None:
    """Who calls, told first: "john smith speaking", "this is zanthia smith", "i'm zanthia smith and …"."""
    words = reading.words
    for index in range(reading.size):
        begins = index == 0 or words[index - 1] in _GREETINGS
        if begins and words[index] and words[index] not in _GREETINGS:
            _take_caller(reading, index, opening=all(word in _GREETINGS for word in words[: min(index, 9)]))


def _take_caller(reading: Reading, index: int, *, opening: bool) -> None:
    words = reading.words
    led = index
    for cue in (("this", "is"), ("i'm",), ("i", "am"), ("im",)):
        if tuple(words[index : index + len(cue)]) == cue:
            led = index + len(cue)
    last, parts = _collect(reading, led, _LONGEST_NAME)
    if not parts or any(part.endswith(_NO_PART) for part in parts):
        return
    closed = words[last] in _CLOSING and words[last + 1] in _AFTER_NAME
    closed = closed or (opening and words[last] == "here" and len(parts) == _SHORT_NAME)
    if closed or (opening and led > index and len(parts) == _SHORT_NAME and words[last] in _AFTER_NAME):
        _record(reading, led, last, parts)


def _take_before(reading: Reading, index: int) -> int:
    """As in "zanthia smith | is my name": one past its last token, or 0."""
    words = reading.words
    if words[index] != "is" or words[index + 1] not in {"my", "the"}:
        return 0
    whose = index + 2 + (words[index + 2] in _NAME_PARTS)
    if words[whose] not in {"name", "surname"}:
        return 0
    first = index
    while first > 0 and index - first < _LONGEST_NAME and _may_be_part(words[first - 1]):
        first -= 1
    last, parts = _collect(reading, first, _LONGEST_NAME)
    if not parts or last != index:
        return 0
    return _record(reading, first, last, parts)


def _may_be_part(word: str) -> bool:
    return word[:1].isalpha() and word not in NO_NAMES


def _is_cue(words: list[str], index: int) -> bool:
    found = match_phrase(words, index, _CUES)
    return found is not None and found[1] >= _Trust.WEAK


def _take(reading: Reading, index: int, trust: _Trust) -> int:
    """Record the name at token `index`, if it is one; one past its last token, or 0."""
    words, first = reading.words, index
    while words[first] in FILLERS or words[first] in _TITLES or words[first] in {":", "um"}:
        first += 1
        if words[first] == "." and words[first - 1] in _TITLES:
            first += 1
    if trust > _Trust.WEAK and read_spelling(words, past_spelling_words(words, first)) is not None:
        first = past_spelling_words(words, first)
    longest = _LONGEST_NAME if trust >= _Trust.WEAK else _SHORT_NAME
    also = _ALSO_WORDS if trust > _Trust.WEAK else frozenset[str]()
    last, parts = _collect(reading, first, longest, also=also)
    if not parts or not _trusted(reading, first, last, parts, trust):
        return 0
    last = _record(reading, first, last, parts)
    return _take_again(reading, last, parts) or last


def _record(reading: Reading, first: int, last: int, parts: list[str]) -> int:
    """Record a name and what is spelled of it behind; one past its last token."""
    reading.take(Kind.NAME, " ".join(_titled(part) for part in parts), first, last)
    found = read_spelling(reading.words, past_spelling_words(reading.words, last))
    if found is not None:
        reading.take(Kind.NAME, _titled(found.letters), found.first, found.last)
    return last


def _take_again(reading: Reading, index: int, parts: list[str]) -> int:
    """As in "my name is bond, | james bond": the whole name behind a part of it."""
    if reading.words[index] != ",":
        return 0
    last, whole = _collect(reading, index + 1, _LONGEST_NAME)
    if len(whole) <= len(parts) or whole[-len(parts) :] != parts:
        return 0
    return _record(reading, index + 1, last, whole)


def _take_unled(reading: Reading, index: int) -> int:
    """A known given name with "here" or "speaking" behind it, or written "Maria Lopez"."""
    if reading.words[index] not in GIVEN_NAMES:
        return 0
    last, parts = _collect(reading, index, _SHORT_NAME)
    closed = reading.words[last] in _CLOSING | {"here"}
    if not closed and not (len(parts) > 1 and _capital(reading, index, last)):
        return 0
    return _record(reading, index, last, parts)


def _collect(
    reading: Reading, first: int, longest: int, *, also: frozenset[str] = frozenset()
) -> tuple[int, list[str]]:
    """Words that may be a name from token `first` on: end token and parts."""
    words, at, parts = reading.words, first, list[str]()
    while at < reading.size and len(parts) - len(_PARTICLES.intersection(parts)) < longest:
        spelled = read_spelling(words, at)
        if spelled is not None:
            return spelled.last, parts or [spelled.letters]
        word = words[at]
        if not word or not word[0].isalpha() or (word in NO_NAMES and not (at == first and word in also)):
            break
        parts.append(word.removesuffix("'s"))
        at += 1
        if parts[-1] != word:
            break
        if words[at] == "." and len(word) == 1:
            at += 1
        while (
            words[at] == "-" and reading.adjacent(at - 1) and reading.adjacent(at) and words[at + 1].isalpha()
        ):
            parts[-1] += f"-{words[at + 1]}"
            at += 2
    while parts and parts[-1] in _PARTICLES:
        parts.pop()
        at -= 1
    return at, parts


def _trusted(reading: Reading, first: int, last: int, parts: list[str], trust: _Trust) -> bool:
    if trust > _Trust.WEAK:
        return True
    if trust < _Trust.WEAK:
        led = trust is _Trust.KNOWN or not _MONEY.isdisjoint(reading.words[max(0, first - _REACH) : first])
        return led and parts[0] in GIVEN_NAMES
    if reading.words[last] in _CLOSING or parts[0] in GIVEN_NAMES:
        return True
    return len(parts) > 1 and _capital(reading, first, last)


def _capital(reading: Reading, first: int, last: int) -> bool:
    """Whether words are written as names are, in a text that is not all capitals."""
    originals = [reading.text[reading.starts[at] : reading.ends[at]] for at in range(first, last)]
    return not reading.text.isupper() and all(word[0].isupper() and word[1:].islower() for word in originals)


def _titled(part: str) -> str:
    """As in "o'brien" as O'Brien, "jean-paul" as Jean-Paul."""
    pieces = part.replace("'", "'\0").replace("-", "-\0").split("\0")
    return "".join(piece[:1].upper() + piece[1:] for piece in pieces)

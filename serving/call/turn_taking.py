"""When a caller has finished, and which words take no turn: lexicons as data, rules as pure functions.

A pause after "for twenty" is not a pause after "yes". How long a silence must last before it ends a turn
goes by the words so far; without partial transcripts it is the same for all.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from serving.errors import InvalidInputError, MissingError

_FIELDS = ("backchannels", "complete", "dangling", "numbers")


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """Words that decide who speaks next.

    Attributes:
        backchannels: signal attention ("mm-hm", "okay"); said over the bot they change nothing.
        complete: whole answers; after them a short silence is enough.
        dangling: a turn that ends in one goes on ("and", "for", "my").
        numbers: spoken digits and number words; more of them may follow.
    """

    backchannels: frozenset[str]
    complete: frozenset[str]
    dangling: frozenset[str]
    numbers: frozenset[str]

    def silence_s(self, text: str, usual_s: float) -> float:
        """Silence that ends a turn, seconds.

        Half the usual after a whole answer, twice after a number or in the middle of a sentence.

        Args:
            text: recognised so far; empty where the recogniser tells nothing before the end.
            usual_s: of the installation (`Settings.end_of_turn_silence_s`).
        """
        words = plain_words(text)
        if not words:
            return usual_s
        if " ".join(words) in self.complete:
            return usual_s / 2
        last = words[-1]
        if last in self.dangling or last in self.numbers or last.isdigit():
            return usual_s * 2
        return usual_s


def plain_words(text: str) -> list[str]:
    """Lower-case words without punctuation; hyphens part them."""
    return "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()


def only_attention(text: str, known: frozenset[str]) -> bool:
    """Whether words, or their beginning, only signal attention.

    Args:
        text: what was said so far.
        known: backchannels, as `plain_words`.
    """
    words = plain_words(text)
    said = " ".join(words)
    return bool(words) and (
        all(word in known for word in words)
        or any(phrase == said or phrase.startswith(f"{said} ") for phrase in known)
    )


@functools.cache
def load_turn_taking(path: Path) -> TurnTaking:
    """Read the lexicon (data/lexicons/turn_taking.yaml).

    Raises:
        MissingError: no such file.
        InvalidInputError: it is not a mapping of the four lists.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"The turn-taking lexicon {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"The turn-taking lexicon {path} cannot be read.") from error
    if not isinstance(found, Mapping) or set(found) != set(_FIELDS):
        raise InvalidInputError(f"The turn-taking lexicon {path} needs the lists {', '.join(_FIELDS)}.")
    lists = {}
    for name in _FIELDS:
        if not isinstance(found[name], list) or not all(isinstance(word, str) for word in found[name]):
            raise InvalidInputError(f"{name!r} of {path} must be a list of words; quote yes and no.")
        lists[name] = frozenset(" ".join(plain_words(word)) for word in found[name])
    return TurnTaking(**lists)

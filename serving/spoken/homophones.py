"""Digits that a recogniser wrote as other words: "four one one FOR one one", "seven TO nine".

Only between digits that are read out one by one, and only where the whole is long enough to be an
identifier or a cue introduces it; "from … to …" between two long numbers stays two numbers.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from serving.spoken.cues import Cue, Cues
from serving.spoken.lexicon import FILLERS
from serving.spoken.numerals import Number, Shape
from serving.spoken.runs import PERSONAL_DIGITS, is_card
from serving.spoken.text import Reading
from serving.spoken.units import unit_after

_SOUNDS = {"to": "2", "too": "2", "for": "4", "fore": "4", "ate": "8", "won": "1"}
_SHORTEST_CUED = 3
_SURE = 2
"""So many digits at either end make a word between them a digit."""

_Chain = list[Number]


def with_homophones(reading: Reading, cues: Cues, numbers: Sequence[Number]) -> list[Number]:
    """The numbers of a text with those added that hide in other words, in order."""
    if not any(word in _SOUNDS for word in reading.words):
        return list(numbers)
    added: list[Number] = []
    for group in _groups(reading, _chains(reading, numbers)):
        links = [_sound(reading, left, right) for left, right in pairwise(group)]
        if links and _is_string(reading, cues, group, links):
            added.extend(links)
    return sorted([*numbers, *added], key=lambda number: number.first)


def _chains(reading: Reading, numbers: Sequence[Number]) -> list[_Chain]:
    """Numbers that are single digits with nothing but sounds between."""
    chains: list[_Chain] = []
    for number in numbers:
        if number.shape is not Shape.DIGIT:
            continue
        if chains and FILLERS.issuperset(reading.words[chains[-1][-1].last : number.first]):
            chains[-1].append(number)
        else:
            chains.append([number])
    return chains


def _groups(reading: Reading, chains: Sequence[_Chain]) -> list[list[_Chain]]:
    """Chains that one suspicious word joins; not two that are long enough by themselves."""
    groups: list[list[_Chain]] = []
    for chain in chains:
        left = groups[-1][-1] if groups else None
        joined = left is not None and chain[0].first == left[-1].last + 1
        if joined and left is not None and reading.words[left[-1].last] in _SOUNDS:
            both = min(len(_digits(left)), len(_digits(chain))) >= PERSONAL_DIGITS
            link = _SOUNDS[reading.words[left[-1].last]]
            if not both or is_card(_digits(left) + link + _digits(chain)):
                groups[-1].append(chain)
                continue
        groups.append([chain])
    return groups


def _digits(chain: Sequence[Number]) -> str:
    return "".join(number.digits for number in chain)


def _sound(reading: Reading, left: _Chain, right: _Chain) -> Number:
    digit = _SOUNDS[reading.words[left[-1].last]]
    return Number(left[-1].last, right[0].first, Decimal(digit), digit, Shape.DIGIT)


def _is_string(reading: Reading, cues: Cues, group: Sequence[_Chain], links: Sequence[Number]) -> bool:
    if unit_after(reading, group[-1][-1].last, "") is not None:
        return False
    total = sum(len(_digits(chain)) for chain in group) + len(links)
    if cues.before(reading.words, group[0][0].first) is not Cue.NONE:
        return total >= _SHORTEST_CUED
    ends = min(len(_digits(group[0])), len(_digits(group[-1])))
    return ends >= _SURE and total >= PERSONAL_DIGITS

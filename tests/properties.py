"""How many examples a property is tried on: the same ones in every run, or many random ones in a search.

A change lands or not by what is in it, so `make test` draws the same examples each time. `make search` draws
others, `PROPERTY_TIMES` times as many: that is where a counterexample nobody thought of is found.
"""

import os
from typing import Any

from hypothesis import settings

DEFAULT_EXAMPLES = 100


def times() -> int:
    """By how much a search multiplies the examples; 0 outside a search."""
    return int(os.environ.get("PROPERTY_TIMES", "0"))


def choose_examples() -> None:
    """Sets hypothesis up for this run; called before any test module is imported."""
    settings.register_profile(
        "voicebot", derandomize=not times(), deadline=None, max_examples=DEFAULT_EXAMPLES * max(1, times())
    )
    settings.load_profile("voicebot")


def examples(number: int, **others: Any) -> settings:
    """Hypothesis settings for `number` examples, more in a search."""
    return settings(max_examples=number * max(1, times()), **others)

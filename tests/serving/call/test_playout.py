"""What was heard of a speech, by the share of its sound that was played."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import AudioClip
from serving.call.playout import PlayoutLedger, heard_of
from tests.properties import examples

WORDS = st.lists(st.sampled_from(["a", "card", "<card>", "twenty"]), min_size=1, max_size=30)


@examples(100)
@given(words=WORDS, played=st.integers(0, 30))
def test_a_word_was_heard_when_its_share_of_the_sound_was(words: list[str], played: int) -> None:
    share = min(played, len(words)) / len(words)
    assert heard_of([(" ".join(words), share)]).split() == words[:played]


@examples(100)
@given(words=WORDS, shares=st.tuples(st.floats(-1, 2), st.floats(-1, 2)))
def test_what_was_heard_is_never_taken_back(words: list[str], shares: tuple[float, float]) -> None:
    less, more = (heard_of([(" ".join(words), share)]) for share in sorted(shares))
    assert more.startswith(less)


@pytest.mark.parametrize(
    ("moment", "heard"),
    [(0.5, ""), (1.0, ""), (1.5, "one"), (2.0, "one two"), (2.9, "one two"), (3.5, "one two three four")],
)
def test_a_ledger_goes_by_the_times_of_its_sounds(moment: float, heard: str) -> None:
    ledger = PlayoutLedger()
    second = AudioClip(np.zeros(16_000, np.int16), 16_000)
    ledger.add("one  two", second, 1.0)
    ledger.add("three", AudioClip(second.samples[:8_000], 16_000), 2.5)
    ledger.add("four", AudioClip(second.samples[:8_000], 16_000), 0.0)
    assert heard_of([(heard, 1.0)]) == heard
    assert ledger.heard(moment) == heard

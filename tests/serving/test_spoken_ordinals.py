"""Places in a row mean the same in words and in figures, also to the cache."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.language.lexicon import words
from serving.spoken import parse, say_ordinal
from serving.spoken.ordinals import ordinal_at
from tests.serving.cache_world import SIGNER

PLACES = st.integers(1, 99)


def written(place: int) -> str:
    teen = place % 100 in {11, 12, 13}
    return f"{place}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')}"


@given(place=PLACES, behind=st.sampled_from(["", "payment", "of the month"]))
def test_a_place_is_the_same_spoken_and_written(place: int, behind: str) -> None:
    spoken = say_ordinal(place)
    forms = [spoken, spoken.replace(" ", "-"), spoken.upper(), written(place)]
    for form in forms:
        tokens = words(f"on the {form} {behind}")
        assert [found[0] for at in range(len(tokens)) if (found := ordinal_at(tokens, at))] == [place]
    signatures = {SIGNER.sign(f"can i pay on the {form} {behind}").facets for form in forms}
    assert len(signatures) == 1
    assert ("ordinal", str(place)) in signatures.pop()


@given(one=PLACES, other=PLACES)
def test_two_places_never_share_an_answer(one: int, other: int) -> None:
    keys = [
        SIGNER.sign(f"can i pay on the {form} of the month").key
        for form in (say_ordinal(one), written(other))
    ]
    assert (keys[0] == keys[1]) == (one == other)


@given(day=st.integers(1, 31))
def test_a_day_of_this_month_is_the_same_spoken_and_written(day: int) -> None:
    today = date(2026, 8, 12)
    spoken, figures = (
        [value.canonical() for value in parse(f"pay by the {form}", today=today)]
        for form in (say_ordinal(day), written(day))
    )
    assert spoken == figures
    assert len(spoken) == 1


@pytest.mark.parametrize(
    "text",
    ["is it the first time", "is it the 1st time", "first of all can i pay", "a second please", "at first"],
)
def test_an_ordinal_that_counts_nothing_is_no_part_of_a_signature(text: str) -> None:
    assert not SIGNER.sign(text).values("ordinal")

"""Cutting a text into what a voice says in one go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.speech.sentences import speakable_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("all lower case. like a recogniser. yes", ["all lower case.", "like a recogniser.", "yes"]),
        ("Mr. Smith owes Dr. Jones. He pays.", ["Mr. Smith owes Dr. Jones.", "He pays."]),
        ("The A.P.R. is six percent.", ["The A.P.R. is six percent."]),
        ("It costs 6.99 percent.", ["It costs 6.99 percent."]),
        ('She said "no." Then "yes!" (Really.) Fine', ['She said "no."', 'Then "yes!"', "(Really.)", "Fine"]),
        ("One\nTwo\n\nThree", ["One", "Two", "Three"]),
        ("Wait... what?!", ["Wait...", "what?!"]),
        ("Great 🎉 news. 🎉 \x07", ["Great news."]),
    ],
)
def test_sentences_are_cut_where_a_speaker_pauses(text: str, expected: list[str]) -> None:
    assert speakable_sentences(text) == expected


def test_a_long_sentence_is_cut_at_a_clause_first() -> None:
    text = "if you pay on time, nothing changes, and you keep your rate"
    assert speakable_sentences(text, max_chars=40) == [
        "if you pay on time, nothing changes,",
        "and you keep your rate",
    ]


@given(st.text(max_size=400), st.integers(1, 60))
def test_no_piece_is_too_long_or_without_a_letter_or_digit(text: str, limit: int) -> None:
    for piece in speakable_sentences(text, max_chars=limit):
        assert 1 <= len(piece) <= limit
        assert any(character.isalnum() for character in piece)
        assert "\x00" not in piece


@given(st.text(alphabet="ab .,!?\n1", max_size=300))
def test_no_word_is_lost_or_added(text: str) -> None:
    kept = "".join(speakable_sentences(text)).replace(" ", "")
    letters = [character for character in text if character.isalnum()]
    assert [character for character in kept if character.isalnum()] == letters


def test_a_hundred_thousand_characters_take_no_time_worth_noticing() -> None:
    assert len(speakable_sentences("a. " * 40_000)) == 120_000 // 300
    assert len(speakable_sentences("word. " * 20_000)) == 20_000

"""What excludes each other is never taken for the same, however near the words are."""

from itertools import combinations
from pathlib import Path

import pytest
import yaml

from serving.cache.choice import project_scorer
from serving.cache.evidence import Unit, load_concepts, opposed
from serving.errors import InvalidInputError
from serving.settings import default_data_dir
from tests.serving.cache_world import SIGNER

SCORER = project_scorer(default_data_dir(), SIGNER.lexicon)
LISTS = default_data_dir() / "lexicons" / "concepts.yaml"
CLASSES = yaml.safe_load(LISTS.read_text())["exclusive"]
SURE = 3.0
"""Of the intent head: the worst case, a question that certainly has the intent."""


def score(asked: str, stored: str) -> float:
    return SCORER.score(asked, stored, 0.95, SURE).value


def unit(word: str) -> Unit:
    found = SCORER.read(word)
    return (*found.units, *found.light)[0]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_no_two_members_of_a_class_are_alike_and_each_is_like_itself(name: str) -> None:
    members = {
        member: [unit(word) for word in phrases if SCORER.read(word).units and SCORER.read(word).poles]
        for member, phrases in CLASSES[name].items()
    }
    wrong = [
        (one.words, other.words)
        for mine, theirs in combinations(members.values(), 2)
        for one in mine
        for other in theirs
        if opposed(one.poles, other.poles) and SCORER.words.alike(one, other)
    ]
    assert wrong == []
    assert all(SCORER.words.alike(it, it) == 1 for units in members.values() for it in units)


@pytest.mark.parametrize(
    ("one", "other"),
    [("logical", "illogical"), ("regular", "irregular"), ("managed", "mismanaged"), ("valid", "invalid")],
)
def test_a_prefix_turns_a_word_round(one: str, other: str) -> None:
    assert SCORER.words.alike(unit(one), unit(other)) == 0
    assert SCORER.words.alike(unit(other), unit(one)) == 0


@pytest.mark.parametrize("word", ["income", "display", "invite", "union"])
def test_a_word_that_only_looks_as_if_it_had_a_prefix_turns_nothing_round(word: str) -> None:
    assert SCORER.read(word).reverses == frozenset()


@pytest.mark.parametrize(
    ("stored", "twin", "paraphrase"),
    [
        ("Is the desk staffed in April?", "Is the desk staffed in October?", "Is there staff in April?"),
        ("Do I get a better rate in spring?", "Do I get a worse rate in spring?", "Better rate in spring?"),
        ("Is the branch in Tampa busy?", "Is the branch in Seattle busy?", "Busy branch in Tampa?"),
        ("Are cards often blocked?", "Are cards seldom blocked?", "Do cards get blocked frequently?"),
        ("May all tenants apply?", "May few tenants apply?", "May every tenant apply?"),
        ("Is a big loan slow?", "Is a small loan slow?", "Is a large loan slow?"),
        ("Is the app free?", "Is the app expensive?", "Is there no charge for the app?"),
        ("Is the desk open at lunch?", "Is the desk closed at lunch?", "At lunch, is the desk open?"),
        (
            "Is a fee due only if I travel?",
            "Is a fee due even if I travel?",
            "Only if I travel, is a fee due?",
        ),
        ("Is this offer lawful?", "Is this offer unlawful?", "Is this offer legal?"),
    ],
)
def test_an_opposite_in_the_same_sentence_is_not_served_and_a_paraphrase_scores_higher(
    stored: str, twin: str, paraphrase: str
) -> None:
    assert score(twin, stored) < 0.2
    assert score(twin, stored) < score(paraphrase, stored)


@pytest.mark.parametrize(
    ("stored", "twin"),
    [
        ("May a teacher open an account for a pupil?", "May a pupil open an account for a teacher?"),
        ("How long does a payment from you to Acme take?", "How long does a payment from Acme to you take?"),
        ("Why do I have to confirm the order?", "Why do you have to confirm the order?"),
        ("When does the money I sent arrive?", "When does the money sent to me arrive?"),
        ("Is a wire by my firm free?", "Is a wire for my firm free?"),
    ],
)
def test_who_does_what_to_whom_counts_where_the_words_are_the_same(stored: str, twin: str) -> None:
    assert score(twin, stored) < 0.3
    assert score(twin, stored) < score(stored, stored) - 0.5


@pytest.mark.parametrize(
    ("stored", "twin"),
    [
        ("What are your loan rates?", "Can I contest your loan rates?"),
        ("How do I get a virtual card?", "How do I blorgify a virtual card?"),
        ("Where is your nearest branch?", "Who decorates your nearest branch?"),
        ("When does a transfer arrive?", "When does a transfer evaporate?"),
        ("How much is the account fee?", "How petty is the account fee?"),
    ],
)
def test_a_generic_question_does_not_answer_another_verb_or_attribute(stored: str, twin: str) -> None:
    assert score(twin, stored) < 0.3


@pytest.mark.parametrize("exclusive", ["[a]", "{a: [b]}", "{a: {b: c}}", "{a: {b: [on]}}"])
def test_exclusive_classes_of_another_shape_are_refused(tmp_path: Path, exclusive: str) -> None:
    lines = LISTS.read_text().partition("\nexclusive:")
    path = tmp_path / "concepts.yaml"
    path.write_text(f"{lines[0]}\nexclusive: {exclusive}\n{lines[2][lines[2].index('reversing:') :]}")
    with pytest.raises(InvalidInputError, match="exclusive"):
        load_concepts(path)

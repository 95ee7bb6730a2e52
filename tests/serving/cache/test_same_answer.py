"""Two answers that say the same in other words, and two that only look alike."""

import pytest

from serving.cache.same_answer import AnswerJudge
from serving.language.encoder import SentenceEncoder
from tests.serving.cache_world import SIGNER, WordEmbedder

WIRE = "A wire transfer costs 25 dollars and takes two days."


@pytest.fixture(scope="module")
def judge(encoder: SentenceEncoder) -> AnswerJudge:
    return AnswerJudge(SIGNER, encoder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (WIRE, WIRE.upper()),
        (WIRE, "It costs $25 to send a wire transfer, and it takes 2 days."),
        (WIRE, "A wire transfer costs twenty-five dollars."),
        (
            "Yes, Apple Pay works for paying and for topping up. A top-up starts at $10.",
            "Sure, you can use Apple Pay to pay and to top up, from ten dollars on.",
        ),
        (
            "You can open an account on your own from the age of 18.",
            "You need to be at least 18 years old to open an account by yourself.",
        ),
    ],
)
def test_rewordings_agree(judge: AnswerJudge, one: str, other: str) -> None:
    assert judge.compare(one, other).agrees, judge.compare(one, other)
    assert judge.compare(other, one).agrees


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (WIRE, "A wire transfer costs 30 dollars and takes two days.", "money"),
        (WIRE, "A wire transfer costs 25 dollars and takes two months.", "term"),
        (WIRE, "A wire transfer is not free.", "negated"),
        ("Yes, you can pay it off early.", "No, you can not pay it off early.", "yes"),
        ("You can freeze the card in the app.", "You can unfreeze the card in the app.", "polarity"),
        ("The mortgage has no fee.", "The car loan has no fee.", "product"),
        ("Open the app and tap freeze.", "Our branches are open from nine to five.", "cosine"),
    ],
)
def test_answers_that_contradict_each_other_do_not(
    judge: AnswerJudge, one: str, other: str, told: str
) -> None:
    for found in (judge.compare(one, other), judge.compare(other, one)):
        assert not found.agrees
        assert told in found.detail


def test_vectors_that_are_no_numbers_are_no_agreement() -> None:
    class Broken(WordEmbedder):
        def embed(self, texts):  # type: ignore[no-untyped-def]  # as the one it breaks
            return super().embed(texts) * float("nan")

    assert not AnswerJudge(SIGNER, Broken()).compare("open the app", "open the app now").agrees

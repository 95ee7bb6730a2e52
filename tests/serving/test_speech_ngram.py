"""The trigram: a true probability distribution, and the one that the decoder computes with."""

import io
import math
from pathlib import Path

import pocketsphinx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.speech.ngram import BEGIN, END, NgramModel, train_ngram
from tests.properties import examples

TEXT = [
    line.split()
    for line in [
        "my card was stolen",
        "my card is lost",
        "my wallet was stolen",
        "i want to block my card",
        "block my card please",
        "what is the rate",
        "what is the fee",
        "the fee is too high",
        "the rate is too high",
        "yes",
        "yes please",
        "no",
    ]
] * 2 + [["two", "hundred", "dollars"], ["five", "hundred", "dollars"], ["yes"]]

sentences = st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=30)


def total(model: NgramModel, history: list[str]) -> float:
    return sum(model.probability(word, history) for word in [*model.vocabulary, END])


@examples(60)
@given(sentences, st.lists(st.sampled_from("abcdefz"), max_size=2), st.booleans())
def test_probabilities_after_any_history_sum_to_one(
    text: list[list[str]], history: list[str], at_begin: bool
) -> None:
    model = train_ngram(text, extra_words=["extra"])
    assert total(model, [BEGIN, *history] if at_begin else history) == pytest.approx(1.0, abs=1e-9)


@examples(60)
@given(sentences)
def test_every_known_word_is_possible_after_everything(text: list[list[str]]) -> None:
    model = train_ngram(text, extra_words=["extra"])
    for word in model.vocabulary:
        assert 0.0 < model.probability(word, ["a", "b"]) < 1.0


def test_what_was_often_said_is_likelier() -> None:
    model = train_ngram(TEXT)
    assert model.probability("card", ["block", "my"]) > model.probability("wallet", ["block", "my"])
    assert model.probability("dollars", ["five", "hundred"]) > 0.5
    assert model.probability("nonsense", ["my"]) == 0.0


def test_a_word_of_one_phrase_is_not_thought_likely_elsewhere() -> None:
    """Kneser-Ney's point: "dollars" is frequent, but only ever after "hundred"."""
    text = [*TEXT, *[["pay", "hundred", "dollars"]] * 30]
    model = train_ngram(text)
    assert model.probability("dollars", ["is", "lost"]) < model.probability("my", ["is", "lost"])


def test_the_decoder_computes_the_same_probabilities(tmp_path: Path) -> None:
    model = train_ngram(TEXT)
    path = tmp_path / "model.arpa"
    with path.open("w", encoding="utf-8") as stream:
        model.write(stream)
    logs = pocketsphinx.LogMath(1.0001)
    read = pocketsphinx.NGramModel(pocketsphinx.Config(lm=None, hmm=None, dict=None), logs, str(path))
    for words in (
        ["my", "card", "was"],
        ["is", "the", "fee"],
        ["too", "high", "dollars"],
        ["no", "no", "no"],
    ):
        *history, word = words
        theirs = read.prob([word, *reversed(history)])
        assert logs.exp(theirs) == pytest.approx(model.probability(word, history), rel=0.02)


def test_equal_text_gives_equal_bytes() -> None:
    first, second = io.StringIO(), io.StringIO()
    train_ngram(TEXT).write(first)
    train_ngram(list(reversed(TEXT))).write(second)
    assert first.getvalue() == second.getvalue()


def test_text_of_the_domain_has_the_lower_perplexity() -> None:
    model = train_ngram(TEXT)
    known = model.perplexity([["my", "card", "was", "lost"]])
    assert known < model.perplexity([["lost", "was", "card", "my"]])
    assert math.isnan(model.perplexity([]))


def test_no_text_gives_no_model() -> None:
    with pytest.raises(ValueError, match="at least one sentence"):
        train_ngram([[], []])

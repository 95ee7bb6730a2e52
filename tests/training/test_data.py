"""Rows, splits and hashes."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidInputError
from training.data import Dataset, Splits, canonical, comparable, hold_out, make_dataset

labelled = st.lists(
    st.tuples(st.text("abc d", min_size=1).filter(str.strip), st.sampled_from(["x", "y"])), min_size=1
)


def dataset(rows: list[tuple[str, str]], split: str = "train") -> Dataset:
    return make_dataset(rows, split, "rows.csv")


@given(labelled, st.randoms())
def test_the_hash_does_not_depend_on_the_order_of_rows(rows: list[tuple[str, str]], random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert dataset(rows).sha256 == dataset(shuffled).sha256


def test_the_hash_changes_with_any_text_label_or_repetition() -> None:
    rows = [("where is my card", "x"), ("block it", "y")]
    variants = [
        rows,
        [("where is my card?", "x"), ("block it", "y")],
        [("where is my card", "y"), ("block it", "y")],
        [*rows, rows[0]],
    ]
    assert len({dataset(variant).sha256 for variant in variants}) == 4


def test_line_ends_unicode_form_and_outer_space_make_no_difference() -> None:
    composed = "caf\u00e9\nbill"
    assert canonical("  " + unicodedata.normalize("NFD", "café").replace("\n", "") + "\r\nbill ") == composed
    assert dataset([(" hello\r\nthere ", "x")]).sha256 == dataset([("hello\nthere", "x")]).sha256


def test_texts_that_sound_alike_are_comparable() -> None:
    assert comparable("Where's my CARD?!") == comparable("wheres  my card")
    assert comparable("pay-off") == comparable("pay off")
    assert comparable("block card") != comparable("unblock card")


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(2, 30), min_size=2),
    st.floats(0.05, 0.5),
    st.integers(0, 5),
)
def test_held_out_rows_cover_every_label_and_leave_some_to_train(
    sizes: dict[str, int], share: float, seed: int
) -> None:
    rows = [(f"{label} {i}", label) for label, size in sizes.items() for i in range(size)]
    train, validation = hold_out(dataset(rows), share, seed)
    both = train.plus(validation)
    assert sorted(zip(both.texts, both.labels, strict=True)) == sorted(rows)
    for label, size in sizes.items():
        assert train.counts[label] >= 1
        assert validation.counts[label] == min(max(1, round(share * size)), size - 1)


def test_the_same_seed_holds_out_the_same_rows() -> None:
    data = dataset([(f"text {i}", "xy"[i % 2]) for i in range(40)])
    assert hold_out(data, 0.2, 1) == hold_out(data, 0.2, 1)
    assert hold_out(data, 0.2, 1) != hold_out(data, 0.2, 2)


def test_copies_of_a_text_stay_on_one_side() -> None:
    data = dataset(
        [("Same text!", "x")] * 10 + [("same text", "x")] * 10 + [("other", "x"), ("b", "y"), ("c", "y")]
    )
    train, validation = hold_out(data, 0.5)
    seen = {comparable(text) for text in train.texts}
    assert not any(comparable(text) in seen for text in validation.texts)


def test_a_label_with_one_distinct_text_cannot_be_split_and_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"rows\.csv.*'y'"):
        hold_out(dataset([("a", "x"), ("b", "x"), ("c", "y"), ("C!", "y")]), 0.1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("", "x"), "text of 'x' is empty"),
        ((" \n ?!", "x"), "text of 'x' is empty"),
        (("hello", " "), "label is empty"),
        (("a" * 2_001, "x"), "2001 characters"),
        (("hello", "z"), "'z' is unknown"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_file(row: tuple[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=r"rows\.csv, train row 2: ") as caught:
        make_dataset([("fine", "x"), row], "train", "rows.csv", known=["x", "y"])
    assert said in caught.value.message


def test_an_unknown_label_in_another_split_is_named_with_its_file() -> None:
    train = dataset([("a", "x"), ("b", "y")])
    test = make_dataset([("c", "card_arival")], "test", "test.csv")
    with pytest.raises(InvalidInputError, match=r"test\.csv.*'card_arival'"):
        Splits(train, replace(train, split="validation"), test, "rows.csv")


def test_one_label_is_nothing_to_learn() -> None:
    train = dataset([("a", "x"), ("b", "x")])
    with pytest.raises(InvalidInputError, match="two labels"):
        Splits(train, train, None, "rows.csv")


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        dataset([])


def test_test_texts_that_stand_in_train_are_counted_whatever_their_case() -> None:
    train = dataset([("Where is it?", "x"), ("b", "y")])
    test = make_dataset([("where is it", "x"), ("new", "y")], "test", "t")
    assert Splits(train, train, test, "s").shared_with_test() == 1


def few() -> Splits:
    train = dataset([(f"{label} {i}", label) for label in "zya" for i in range(9)])
    return Splits(train, make_dataset([("v", "z")], "validation", "v"), None, "rows.csv")


@pytest.mark.parametrize("seed", [0, 1])
def test_few_shot_keeps_so_many_texts_of_each_label_and_all_of_validation(seed: int) -> None:
    cut = few().few_shot(4, seed)
    assert set(cut.train.counts.values()) == {4}
    assert set(zip(cut.train.texts, cut.train.labels, strict=True)) <= set(
        zip(few().train.texts, few().train.labels, strict=True)
    )
    assert cut.validation == few().validation
    assert cut.few_shot(4, seed).train == cut.train
    assert cut.train == few().few_shot(4, seed).train
    assert cut.train != few().few_shot(4, seed + 1).train
    assert few().few_shot(0) == few()


def test_more_shots_than_a_label_has_are_refused_with_its_name() -> None:
    with pytest.raises(InvalidInputError, match="10 texts per intent are asked for; 'a' has 9"):
        few().few_shot(10)


def test_texts_under_two_labels_and_texts_shared_with_validation_are_counted() -> None:
    train = dataset([("Pay now!", "x"), ("pay now", "y"), ("b", "y"), ("b", "y")])
    validation = make_dataset([("PAY NOW", "x"), ("c", "y")], "validation", "v")
    splits = Splits(train, validation, None, "s")
    assert (splits.contradictions(), splits.shared_with_validation()) == (1, 1)


def test_the_data_hash_covers_train_and_validation_but_not_test() -> None:
    train, other = dataset([("a", "x"), ("b", "y")]), make_dataset([("c", "x")], "validation", "v")
    test = make_dataset([("d", "x")], "test", "t")
    whole = Splits(train, other, test, "s")
    assert whole.sha256 == Splits(train, other, None, "elsewhere").sha256
    assert whole.sha256 != Splits(train, train, test, "s").sha256


def test_labels_are_alphabetical_whatever_the_order_of_rows() -> None:
    train = dataset([("a", "zebra"), ("b", "ant")])
    assert Splits(train, train, None, "s").labels == ("ant", "zebra")

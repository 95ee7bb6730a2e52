"""Sweeps: which combinations are tried, on what they are compared, and what the page says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import wilson
from serving.errors import EngineError, InvalidInputError
from training.config import TrainConfig, read_changes, read_values
from training.data import Splits
from training.sweep import Bin, Trial, best_trial, points, reliability, run_sweep
from training.sweep_page import markdown, page, rows

BAR = Trial(1, {"rank": 4}, wilson(90, 100), 0.9, 0.05, 2, 1_000, 10.0, reliability=(Bin(100, 0.8, 0.9),))


def test_a_grid_is_every_combination_in_order() -> None:
    found = points({"rank": [4, 8], "epochs": [1, 2]})
    assert found == [
        {"rank": 4, "epochs": 1},
        {"rank": 4, "epochs": 2},
        {"rank": 8, "epochs": 1},
        {"rank": 8, "epochs": 2},
    ]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=5, unique=True)),
    st.integers(1, 30),
    st.integers(0, 3),
)
def test_drawn_combinations_differ_are_of_the_grid_and_repeat_with_the_seed(
    space: dict[str, list[int]], trials: int, seed: int
) -> None:
    if not space:
        return
    grid, drawn = points(space), points(space, trials, seed)
    assert len(drawn) == min(trials, len(grid))
    assert len({tuple(point.items()) for point in drawn}) == len(drawn)
    assert all(point in grid for point in drawn)
    assert drawn == points(space, trials, seed)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "no setting"),
        ({"rank": []}, "'rank' has no values"),
        ({"seed": list(range(1_001))}, "1,001 trials"),
    ],
)
def test_a_space_that_cannot_be_swept_is_refused(space: dict[str, list[int]], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        points(space)


def test_settings_are_read_as_people_type_them() -> None:
    assert read_changes(["epochs=2", "refit=false", "balance=loss"]) == {
        "epochs": 2,
        "refit": False,
        "balance": "loss",
    }
    assert read_values(["rank=4, 8", "balance=none,loss"]) == {"rank": [4, 8], "balance": ["none", "loss"]}
    for read in (read_changes, read_values):
        with pytest.raises(InvalidInputError, match="NAME=VALUE"):
            read(["rank"])


def test_the_best_trial_is_chosen_by_accuracy_then_size_then_time() -> None:
    better = replace(BAR, number=2, accuracy=wilson(91, 100))
    smaller = replace(BAR, number=3, parameters=900)
    faster = replace(BAR, number=4, seconds=9.0)
    assert best_trial([BAR, better, smaller]).number == 2
    assert best_trial([BAR, smaller, faster]).number == 3
    assert best_trial([BAR, faster]).number == 4
    with pytest.raises(EngineError, match="it burnt"):
        best_trial([Trial(1, {}, failure="it burnt")])


def test_bins_of_reliability_hold_every_answer_once() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4)).astype(np.float32) * 3
    bins = reliability("abcd", [str(x) for x in rng.choice(list("abcd"), 200)], logits)
    assert sum(own.items for own in bins) == 200
    assert [own.confidence for own in bins] == sorted(own.confidence for own in bins)
    assert all(0 <= own.accuracy <= 1 for own in bins)


def test_nothing_is_trained_where_one_recipe_is_out_of_its_limits(
    tmp_path: Path, splits: Splits, config: TrainConfig
) -> None:
    for changes, said in (({"rank": 0}, "rank=0"), ({"refit": True}, "refit"), ({"shots": 2}, "shots")):
        with pytest.raises(InvalidInputError, match=said):
            run_sweep(tmp_path / "nowhere", splits, config, [{"rank": 2}, changes], jobs=1)


def test_the_page_shows_every_trial_best_first_and_failures_last_whatever_their_names() -> None:
    hostile = replace(BAR, number=2, changes={"x|y": "<script>"}, accuracy=wilson(95, 100))
    failed = Trial(3, {"rank": 99}, failure="loss became nan")
    trials = [BAR, hostile, failed]
    assert [row[0] for row in rows(trials)] == ["2", "1", "3"]
    shown, text = page(trials, "<b>"), markdown(trials, "a|b")
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "failed: loss became nan" in shown
    assert "x\\|y=<script>" in text
    assert text.count("data:image/png;base64,") == shown.count("data:image/png;base64,") == 1

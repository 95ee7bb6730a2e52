"""Opinions of people, predictions of a network, and the wall between them."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluation.mos import Rating, human_mos, predict_mos, read_ratings
from serving.audio import AudioClip, add_noise, concatenate, silence
from serving.errors import InvalidInputError
from serving.speech.espeak_tts import EspeakTts


@pytest.fixture(scope="module")
def speech() -> AudioClip:
    tts = EspeakTts(repeatable=True)
    return concatenate(list(tts.synthesise("your payment is due on the first of may")), tts.rate)


def row(clip: str, rater: str, rating: float, condition: str = "espeak") -> Rating:
    return Rating(clip, rater, condition, rating)


# Predicted


def test_noise_lowers_the_prediction(speech: AudioClip) -> None:
    clean = predict_mos([speech])
    noisy = predict_mos([add_noise(speech, 5.0, seed=1)])
    assert 1.0 <= noisy.overall.estimate < clean.overall.estimate <= 5.0
    assert noisy.background.estimate < clean.background.estimate
    assert "not naturalness" in clean.label


def test_at_most_the_asked_number_of_clips_is_scored(speech: AudioClip) -> None:
    found = predict_mos([speech] * 5, max_clips=2)
    assert (found.scored, found.left_out, found.unusable) == (2, 3, 0)


def test_empty_silent_and_tiny_clips_are_left_out_and_counted(speech: AudioClip) -> None:
    blink = AudioClip(speech.samples[:2_000], speech.rate)
    found = predict_mos([silence(0, 16_000), silence(3, 16_000), blink, speech])
    assert (found.scored, found.unusable) == (1, 3)


def test_without_a_usable_clip_there_is_no_prediction() -> None:
    with pytest.raises(InvalidInputError, match="half a second"):
        predict_mos([silence(0, 16_000)])
    with pytest.raises(InvalidInputError, match="half a second"):
        predict_mos([])


def test_nothing_to_score_is_refused(speech: AudioClip) -> None:
    with pytest.raises(InvalidInputError, match="At least one clip"):
        predict_mos([speech], max_clips=0)


def test_telephone_sound_is_flagged(speech: AudioClip) -> None:
    assert predict_mos([speech.resampled(8_000)]).narrowband == 1
    assert predict_mos([speech]).narrowband == 0


# Human


def test_the_t_interval_is_students() -> None:
    values = [4.0, 5.0, 3.0, 4.0, 5.0]
    found = human_mos([row("c", f"r{i}", v) for i, v in enumerate(values)])[0]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean.estimate == pytest.approx(4.2)
    assert (found.mean.low, found.mean.high) == (pytest.approx(low), pytest.approx(min(high, 5.0)))


def test_conditions_are_judged_apart_and_sorted() -> None:
    ratings = [row("a", "x", 5, "kokoro"), row("b", "x", 4, "kokoro"), row("a2", "x", 2), row("b2", "x", 3)]
    found = human_mos(ratings)
    assert [(f.condition, f.mean.estimate, f.clips, f.raters) for f in found] == [
        ("espeak", 2.5, 2, 1),
        ("kokoro", 4.5, 2, 1),
    ]


def test_a_strict_rater_widens_the_clustered_interval() -> None:
    """Many ratings of few people: a t interval over ratings pretends to know more than it does."""
    ratings = [row(f"c{c}", f"r{r}", 2.0 if r == 0 else 4.0) for c in range(30) for r in range(3)]
    found = human_mos(ratings)[0]
    assert found.clustered.high - found.clustered.low > 3 * (found.mean.high - found.mean.low)
    assert found.clustered.estimate == pytest.approx(found.mean.estimate)


def test_raters_need_not_rate_every_clip() -> None:
    ratings = [row(f"c{i}", f"r{i % 4}", 1 + i % 5) for i in range(20)]
    found = human_mos(ratings)[0]
    assert 1.0 <= found.clustered.low <= found.clustered.estimate <= found.clustered.high <= 5.0


def test_a_single_rating_knows_nothing_beyond_the_scale() -> None:
    found = human_mos([row("c", "r", 4)])[0]
    assert (found.mean.low, found.mean.high) == (1.0, 5.0)
    assert math.isfinite(found.clustered.low)


def test_no_ratings_give_no_mean() -> None:
    with pytest.raises(InvalidInputError, match="at least one rating"):
        human_mos([])


# CSV


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "ratings.csv"
    path.write_bytes(text.encode("utf-8"))
    return path


def test_ratings_are_read_in_any_column_order_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path, "\ufeffrater,clip, condition ,rating,comment\nann,c1,espeak,4,nice\nbob,c1,espeak,3.5,\n"
    )
    assert read_ratings(path) == [Rating("c1", "ann", "espeak", 4.0), Rating("c1", "bob", "espeak", 3.5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'clip'"),
        ("clip,rater,rating\nc,r,4\n", "no column 'condition'"),
        ("clip,rater,condition,rating\n", "holds no rating"),
        (
            "clip,rater,condition,rating\nc,r,e,4\nc2,r,e,6\n",
            r"line 3: a rating is a number from 1 to 5, not '6'",
        ),
        ("clip,rater,condition,rating\nc,r,e,good\n", "line 2: a rating is a number"),
        ("clip,rater,condition,rating\nc,r,e,nan\n", "line 2: a rating is a number"),
        ("clip,rater,condition,rating\nc,r,e,0\n", "line 2: a rating is a number"),
        ("clip,rater,condition,rating\nc,,e,4\n", "line 2: the rater is empty"),
        ("clip,rater,condition,rating\nc,r\n", "line 2: the condition is empty"),
        ("clip,rater,condition,rating\nc,r,e,4\nc,r,e,5\n", "rater 'r' rated clip 'c' twice"),
        ('clip,rater,condition,rating\n"c,r,e,4\n', "cannot be read as a CSV"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_ratings(csv_file(tmp_path, text))


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_ratings(tmp_path / "absent.csv")
    (tmp_path / "ratings.csv").write_bytes(b"\xff\xfe\x00clip")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_ratings(tmp_path / "ratings.csv")

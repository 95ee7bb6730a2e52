"""Mean opinion scores: what people said, and what a network predicts; never mixed.

Human ratings (a CSV of clip, rater, condition, rating) give a mean with Student's t interval and a
bootstrap over raters and clips. Predicted scores are DNSMOS (Reddy et al., 2021 and 2022, weights in
the wheel speechmos): it hears noise and distortion, not naturalness, and ranks a robotic voice
without noise above people, so it is labelled, and kept in a type of its own.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.statistics import RESAMPLES, Interval, bootstrap_mean, mean_interval
from serving.audio import SPEECH_RATE, AudioClip
from serving.errors import InvalidInputError, MissingError

PREDICTED_LABEL = "predicted by DNSMOS: hears noise and distortion, not naturalness"
MAX_CLIPS = 10
"""Clips scored by default; each costs about a second of a CPU core."""
_MIN_SECONDS = 0.5
"""Shorter sound is no speech to judge; the predictor repeats a clip until it fills nine seconds."""
_MAX_SECONDS = 10.0
"""Only this much of a clip is scored: every further second is another run of the network."""
_COLUMNS = ("clip", "rater", "condition", "rating")


@dataclass(frozen=True, slots=True)
class PredictedMos:
    """DNSMOS over some clips.

    Attributes:
        overall: quality as a whole (OVRL), 1 to 5, with a bootstrap interval over clips; in practice
            clean speech reaches about 3.3.
        signal: distortion of the voice (SIG).
        background: intrusiveness of noise (BAK).
        p808: prediction of an ITU-T P.808 rating.
        scored: clips behind the means.
        left_out: clips beyond the limit, chosen evenly, not by content.
        unusable: clips that are empty, silent or shorter than half a second.
        narrowband: scored clips of less than 16 kHz, which the predictor takes for distortion.
        label: what these numbers are, to be printed wherever they are.
    """

    overall: Interval
    signal: Interval
    background: Interval
    p808: Interval
    scored: int
    left_out: int
    unusable: int
    narrowband: int
    label: str = PREDICTED_LABEL


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's opinion of one clip: 1 (bad) to 5 (excellent)."""

    clip: str
    rater: str
    condition: str
    rating: float


@dataclass(frozen=True, slots=True)
class HumanMos:
    """Opinions about one condition (a voice, an engine).

    Attributes:
        condition: its name.
        mean: mean rating with Student's t interval over all ratings, as if they were independent.
        clustered: the same mean with an interval that draws raters and clips anew; the one to trust,
            because a strict rater and a hard clip each colour many ratings.
        ratings: number of ratings.
        raters: different people.
        clips: different clips.
    """

    condition: str
    mean: Interval
    clustered: Interval
    ratings: int
    raters: int
    clips: int


def predict_mos(clips: Sequence[AudioClip], *, max_clips: int = MAX_CLIPS, seed: int = 0) -> PredictedMos:
    """Predict the quality of clips of any rate.

    Args:
        clips: at most `max_clips` of the usable ones are scored, evenly spaced over the list.
        max_clips: limit, at least 1.
        seed: seed of the bootstrap.

    Raises:
        InvalidInputError: no clip is usable.
        MissingError: speechmos is not installed.
    """
    if max_clips < 1:
        raise InvalidInputError(f"At least one clip must be scored; {max_clips} were asked for.")
    usable = [c for c in clips if c.seconds >= _MIN_SECONDS and c.samples.any()]
    if not usable:
        raise InvalidInputError(
            f"None of {len(clips)} clips holds half a second of sound to predict a quality for."
        )
    chosen = [usable[i] for i in _evenly(len(usable), max_clips)]
    scores = np.array([_dnsmos(clip) for clip in chosen])
    intervals = [bootstrap_mean(column, seed=seed) for column in scores.T]
    return PredictedMos(
        overall=intervals[0],
        signal=intervals[1],
        background=intervals[2],
        p808=intervals[3],
        scored=len(chosen),
        left_out=len(usable) - len(chosen),
        unusable=len(clips) - len(usable),
        narrowband=sum(clip.rate < SPEECH_RATE for clip in chosen),
    )


def read_ratings(path: Path) -> list[Rating]:
    """Ratings from a CSV with the columns clip, rater, condition and rating (1 to 5).

    Raises:
        InvalidInputError: the file or one of its rows is not usable; the row is named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            if missing := [name for name in _COLUMNS if name not in header]:
                raise InvalidInputError(
                    f"{path} has no column {missing[0]!r}; needed are {', '.join(_COLUMNS)}."
                )
            reader.fieldnames = header
            ratings = [_rating(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} cannot be read as a CSV file ({error}).") from error
    if not ratings:
        raise InvalidInputError(f"{path} holds no rating.")
    seen: dict[tuple[str, str], Rating] = {}
    for rating in ratings:
        if (rating.clip, rating.rater) in seen:
            raise InvalidInputError(
                f"{path}: rater {rating.rater!r} rated clip {rating.clip!r} twice.",
                advice="Keep one of the rows.",
            )
        seen[rating.clip, rating.rater] = rating
    return ratings


def human_mos(
    ratings: Sequence[Rating], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[HumanMos]:
    """Mean opinion per condition, sorted by name.

    Raises:
        InvalidInputError: no ratings.
    """
    if not ratings:
        raise InvalidInputError("A mean opinion score needs at least one rating.")
    found = []
    for condition in sorted({rating.condition for rating in ratings}):
        own = [rating for rating in ratings if rating.condition == condition]
        found.append(
            HumanMos(
                condition=condition,
                mean=_within_scale(mean_interval([rating.rating for rating in own], level)),
                clustered=_crossed_bootstrap(own, level, resamples, seed),
                ratings=len(own),
                raters=len({rating.rater for rating in own}),
                clips=len({rating.clip for rating in own}),
            )
        )
    return found


def _within_scale(interval: Interval) -> Interval:
    """No mean lies outside 1 to 5, however few the ratings."""
    return replace(interval, low=max(1.0, interval.low), high=min(5.0, interval.high))


def _dnsmos(clip: AudioClip) -> tuple[float, float, float, float]:
    """OVRL, SIG, BAK and P.808 of a clip that is neither empty nor silent."""
    try:
        from speechmos import dnsmos
    except ImportError as error:
        raise MissingError(
            "Predicted MOS is not installed.", advice="Install the package speechmos."
        ) from error
    values = clip.resampled(SPEECH_RATE).floats()[: round(_MAX_SECONDS * SPEECH_RATE)]
    found = dnsmos.run(np.clip(values, -1.0, 1.0), SPEECH_RATE)
    return tuple(float(found[name]) for name in ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos"))  # type: ignore[return-value]  # four names


def _evenly(items: int, limit: int) -> list[int]:
    """At most `limit` indices spread over `items`, the first one included."""
    return [index * items // min(items, limit) for index in range(min(items, limit))]


def _rating(path: Path, line: int, row: dict[str, str | None]) -> Rating:
    """One row, checked."""
    texts = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    for name in _COLUMNS:
        if not texts[name]:
            raise InvalidInputError(f"{path}, line {line}: the {name} is empty.")
    try:
        value = float(texts["rating"])
    except ValueError:
        value = math.nan
    if not 1.0 <= value <= 5.0:
        raise InvalidInputError(
            f"{path}, line {line}: a rating is a number from 1 to 5, not {texts['rating']!r}."
        )
    return Rating(texts["clip"], texts["rater"], texts["condition"], value)


def _crossed_bootstrap(ratings: Sequence[Rating], level: float, resamples: int, seed: int) -> Interval:
    """Mean rating with raters and clips drawn anew, each with replacement and independently.

    A rating counts as often as its rater was drawn times its clip was drawn (Owen, "The pigeonhole
    bootstrap", 2007). Draws that meet no rating are left out.
    """
    raters = {name: index for index, name in enumerate(dict.fromkeys(r.rater for r in ratings))}
    clips = {name: index for index, name in enumerate(dict.fromkeys(r.clip for r in ratings))}
    sums, counts = np.zeros((len(raters), len(clips))), np.zeros((len(raters), len(clips)))
    for rating in ratings:
        sums[raters[rating.rater], clips[rating.clip]] += rating.rating
        counts[raters[rating.rater], clips[rating.clip]] += 1
    random = np.random.default_rng(seed)
    rater_weights = random.multinomial(len(raters), np.full(len(raters), 1 / len(raters)), size=resamples)
    clip_weights = random.multinomial(len(clips), np.full(len(clips), 1 / len(clips)), size=resamples)
    totals = ((rater_weights @ sums) * clip_weights).sum(axis=1)
    weights = ((rater_weights @ counts) * clip_weights).sum(axis=1)
    draws = totals[weights > 0] / weights[weights > 0]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        float(sums.sum() / counts.sum()), float(low), float(high), level, len(raters) * len(clips)
    )

"""Word error rate with what a bank must know beside it: intervals by call, and wrong values.

Counts come from jiwer on texts of one normaliser profile, whose name and hash every report carries.
Utterances of one call share a voice and a line, so resamples draw whole calls. Utterances in which
nothing was said are counted apart: an error rate over no words is no number. Entity errors compare
the typed values of `serving.spoken`, because "fifteen" for "fifty" is one word and a wrong loan.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.statistics import RESAMPLES, Interval, bootstrap_ratio
from evaluation.wer_normaliser import normaliser
from serving.errors import InvalidInputError
from serving.spoken.parser import entities
from serving.spoken.values import Kind

_CHUNK_CELLS = 4_000_000
"""Cells of one chunk of resampling weights, which bounds memory."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said and what was heard.

    Attributes:
        call_id: the call (or speaker) that the utterance belongs to.
        reference: the words that were really said; empty where nothing was.
        hypothesis: the words that the recogniser gave.
    """

    call_id: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class SilentUtterances:
    """Utterances without a spoken word.

    Attributes:
        utterances: how many there were.
        answered: how many of them the recogniser gave words for.
        words: how many words it gave for them in all.
    """

    utterances: int
    answered: int
    words: int


@dataclass(frozen=True, slots=True)
class EntityErrors:
    """Amounts, rates, terms, dates and digit strings, compared as values.

    Attributes:
        spoken: values in the references.
        missed: of these, how many no value of the hypothesis equals.
        invented: values of the hypotheses that nobody said.
        error_rate: missed / spoken with its interval; None where no value was spoken.
    """

    spoken: int
    missed: int
    invented: int
    error_rate: Interval | None


@dataclass(frozen=True, slots=True)
class WerReport:
    """Recognition quality over a set of utterances.

    Attributes:
        wer: (substitutions + deletions + insertions) / words, over all words together.
        cer: the same over characters of the normalised texts, blanks included.
        words: words said, after normalisation.
        substitutions: words heard as others.
        deletions: words not heard.
        insertions: words heard that nobody said.
        exact: share of utterances without any error.
        utterances: utterances with words.
        calls: different calls among them.
        silent: utterances without words, in none of the numbers above.
        entities: typed values.
        resampled_by: what resamples draw, `call` unless said otherwise; `utterance` where there is only one.
        normaliser: name of the profile.
        normaliser_sha256: hash of its rules.
    """

    wer: Interval
    cer: float
    words: int
    substitutions: int
    deletions: int
    insertions: int
    exact: float
    utterances: int
    calls: int
    silent: SilentUtterances
    entities: EntityErrors
    resampled_by: str
    normaliser: str
    normaliser_sha256: str

    def summary(self) -> str:
        """One line for people."""
        unit = {"call": "", "utterance": ", by utterance: only one call"}.get(
            self.resampled_by, f", by {self.resampled_by}"
        )
        return (
            f"WER {self.wer.estimate:.3f} [{self.wer.low:.3f}, {self.wer.high:.3f}] over {self.words} words, "
            f"{self.utterances} utterances, {self.calls} call(s){unit}; values wrong: "
            f"{self.entities.missed} of {self.entities.spoken}"
        )


@dataclass(frozen=True, slots=True)
class WerComparison:
    """Two recognisers on the same utterances.

    Attributes:
        difference: WER of the new one minus WER of the old one; below zero is better.
        probability_of_improvement: share of resamples in which the new one has fewer errors (a tie
            counts half); Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR", 2004.
        resampled_by: `call`, or `utterance` where there is only one call.
    """

    difference: Interval
    probability_of_improvement: float
    resampled_by: str


@dataclass(frozen=True, slots=True)
class _Counts:
    """Errors of one utterance."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def score(
    utterances: Sequence[Utterance],
    *,
    unit: str = "call",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> WerReport:
    """Score a recogniser.

    Args:
        utterances: any order; those of one call need not stand together.
        unit: what `call_id` stands for, for the report; such as `script` where calls repeat scripts.
        level: confidence of the intervals.
        resamples: bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        InvalidInputError: no utterance has a word in its reference.
    """
    import jiwer

    rules = normaliser()
    spoken, silent = _split(utterances)
    if not spoken:
        raise InvalidInputError("WER needs at least one utterance in which something was said.")
    references = [rules(u.reference) for u in spoken]
    hypotheses = [rules(u.hypothesis) for u in spoken]
    counts = _count(references, hypotheses)
    calls = [u.call_id for u in spoken]
    clusters = calls if len(set(calls)) > 1 else None
    wer = bootstrap_ratio(
        [c.errors for c in counts],
        [c.words for c in counts],
        clusters=clusters,
        level=level,
        resamples=resamples,
        seed=seed,
    )
    return WerReport(
        wer=wer,
        cer=float(jiwer.process_characters(references, hypotheses).cer),
        words=sum(c.words for c in counts),
        substitutions=sum(c.substitutions for c in counts),
        deletions=sum(c.deletions for c in counts),
        insertions=sum(c.insertions for c in counts),
        exact=sum(c.errors == 0 for c in counts) / len(counts),
        utterances=len(spoken),
        calls=len(set(calls)),
        silent=silent,
        entities=_entity_errors(spoken, clusters, level, resamples, seed),
        resampled_by=unit if clusters else "utterance",
        normaliser=rules.name,
        normaliser_sha256=rules.sha256,
    )


def compare(
    new: Sequence[Utterance],
    old: Sequence[Utterance],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> WerComparison:
    """Compare two recognisers that heard the same utterances, in the same order.

    Both are resampled together, so what makes a call hard for both cancels out.

    Raises:
        InvalidInputError: the utterances differ, or none has a word.
    """
    if [(u.call_id, u.reference) for u in new] != [(u.call_id, u.reference) for u in old]:
        raise InvalidInputError(
            "Two recognisers can be compared only on the same utterances in the same order."
        )
    if not 0 < level < 1 or resamples < 1:
        raise InvalidInputError("A comparison needs a level between 0 and 1 and at least one resample.")
    first, second = _split(new)[0], _split(old)[0]
    if not first:
        raise InvalidInputError("WER needs at least one utterance in which something was said.")
    rules = normaliser()
    references = [rules(u.reference) for u in first]
    ours = _count(references, [rules(u.hypothesis) for u in first])
    theirs = _count(references, [rules(u.hypothesis) for u in second])
    calls = [u.call_id for u in first]
    by_call = len(set(calls)) > 1
    groups: Sequence[object] = calls if by_call else range(len(calls))
    position = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    index = np.array([position[name] for name in groups])
    change = np.bincount(index, weights=[a.errors - b.errors for a, b in zip(ours, theirs, strict=True)])
    words = np.bincount(index, weights=[c.words for c in ours])
    draws = _resampled(change, words, resamples, np.random.default_rng(seed))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    estimate = float(change.sum() / words.sum())
    return WerComparison(
        Interval(estimate, float(low), float(high), level, len(position)),
        float(np.mean(draws < 0) + 0.5 * np.mean(draws == 0)),
        "call" if by_call else "utterance",
    )


def _split(utterances: Sequence[Utterance]) -> tuple[list[Utterance], SilentUtterances]:
    rules = normaliser()
    spoken = [u for u in utterances if rules.words(u.reference)]
    heard = [len(rules.words(u.hypothesis)) for u in utterances if not rules.words(u.reference)]
    return spoken, SilentUtterances(len(heard), sum(n > 0 for n in heard), sum(heard))


def _count(references: Sequence[str], hypotheses: Sequence[str]) -> list[_Counts]:
    """Errors of each pair of normalised texts; no reference may be empty."""
    import jiwer

    output = jiwer.process_words(list(references), list(hypotheses))
    found = []
    for reference, alignment in zip(output.references, output.alignments, strict=True):
        kinds: Counter[str] = Counter()
        for chunk in alignment:
            kinds[chunk.type] += max(
                chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
            )
        found.append(_Counts(len(reference), kinds["substitute"], kinds["delete"], kinds["insert"]))
    return found


def _entity_errors(
    utterances: Sequence[Utterance], clusters: Sequence[str] | None, level: float, resamples: int, seed: int
) -> EntityErrors:
    spoken, missed, invented = [], [], 0
    for utterance in utterances:
        said, heard = _values(utterance.reference), _values(utterance.hypothesis)
        spoken.append(said.total())
        missed.append((said - heard).total())
        invented += (heard - said).total()
    rate = None
    if sum(spoken):
        rate = bootstrap_ratio(missed, spoken, clusters=clusters, level=level, resamples=resamples, seed=seed)
    return EntityErrors(sum(spoken), sum(missed), invented, rate)


def _values(text: str) -> Counter[str]:
    """Values that decide an answer; a bare count ("one card") is a word like others."""
    return Counter(value for value in entities(text) if not value.startswith(f"{Kind.COUNT}:"))


def _resampled(change: Any, words: Any, resamples: int, rng: np.random.Generator) -> Any:
    """Differences of WER over resampled groups, shape (resamples,)."""
    units = len(words)
    draws = np.empty(resamples)
    step = max(1, _CHUNK_CELLS // units)
    for start in range(0, resamples, step):
        weights = rng.multinomial(units, np.full(units, 1 / units), size=min(step, resamples - start))
        draws[start : start + len(weights)] = (weights @ change) / (weights @ words)
    return draws

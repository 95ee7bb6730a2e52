"""How often the cache's rule gives a wrong answer, and a right one, on labelled pairs of questions.

Each pair is replayed as the cache would decide it: `stored` is the only entry, `probe` the caller's words,
both of one intent. That is the worst case for a hard negative, because the tagger may still part them. The
pairs are those of data/cache_pairs; nothing here is tuned. A rule that weighs more than the cosine is
given as `PairRule`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evaluation.statistics import Interval, clopper_pearson, clopper_pearson_upper
from serving.cache.signature import Signer
from serving.cache.types import bucket
from serving.errors import InvalidInputError
from serving.language.knowledge import Cacheability, Knowledge
from serving.language.protocols import Embedder, Embeddings

SPLITS = ("train", "calibration", "test")
_TEXTS = ("id", "stored", "probe", "kind", "intent", "split")


@dataclass(frozen=True, slots=True)
class CachePair:
    """Two questions and whether the answer to one is the right answer to the other.

    Attributes:
        kind: `paraphrase`, or what sets the two apart.
        intent: of the stored question.
        split: `train` to develop word lists and weights on, `calibration` to choose and certify a
            threshold on, `test` to report.
    """

    id: str
    stored: str
    probe: str
    same: bool
    kind: str
    intent: str
    split: str


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """A pair after the replay.

    Attributes:
        eligible: the intent may be answered for other words at all.
        agreed: the two signatures are equal.
        similarity: cosine of the two questions.
        served: the probe would get the stored answer.
    """

    pair: CachePair
    eligible: bool
    agreed: bool
    similarity: float
    served: bool


@dataclass(frozen=True, slots=True)
class KindRow:
    """Pairs of one kind in one split.

    Attributes:
        same: whether to serve them is right (paraphrases) or wrong (hard negatives).
        pairs: all of them.
        eligible: those of intents that may be answered for other words; the rest is never served.
        served: share of the eligible that is served, with its exact 95 % interval; None where none is.
    """

    split: str
    kind: str
    same: bool
    pairs: int
    eligible: int
    served: Interval | None


@dataclass(frozen=True, slots=True)
class SplitRow:
    """One split as a whole; shares with exact 95 % intervals, None where nothing is eligible.

    Attributes:
        right: share of the eligible paraphrases that are served.
        wrong: share of the eligible hard negatives that are served.
        wrong_of_served_upper: one-sided 95 % upper bound of wrong answers among all that is served on these
            pairs; 1 where nothing is.
    """

    split: str
    right: Interval | None
    wrong: Interval | None
    wrong_of_served_upper: float


@dataclass(frozen=True, slots=True)
class PairReport:
    """All pairs at one threshold."""

    threshold: float
    splits: tuple[SplitRow, ...]
    kinds: tuple[KindRow, ...]
    outcomes: tuple[PairOutcome, ...]

    def wrong(self, split: str) -> tuple[PairOutcome, ...]:
        """Hard negatives of a split that are served."""
        return tuple(o for o in self.outcomes if o.pair.split == split and o.served and not o.pair.same)


def load_pairs(path: Path) -> tuple[CachePair, ...]:
    """Read pairs, one JSON object a line.

    Raises:
        InvalidInputError: absent, or a line that is no pair; the message names the first.
    """
    pairs, problems = read_pairs(path)
    if problems:
        raise InvalidInputError(problems[0])
    return pairs


def read_pairs(path: Path) -> tuple[tuple[CachePair, ...], tuple[str, ...]]:
    """Read the lines that are pairs, and say of every other one what is wrong with it.

    Raises:
        InvalidInputError: the file is absent or cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"Cache pairs {path} cannot be read: {error}.") from error
    pairs, problems = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                pairs.append(_pair(path, number, line))
            except InvalidInputError as error:
                problems.append(error.message)
    return tuple(pairs), tuple(problems)


class PairRule(Protocol):
    """Whether a probe whose signature is the stored question's gets its answer."""

    def __call__(self, pair: CachePair, probe: Embeddings, cosine: float) -> bool:
        """Decide, given the probe's vector and its cosine to the stored question."""
        ...


def measure_pairs(
    pairs: Sequence[CachePair],
    signer: Signer,
    embedder: Embedder,
    knowledge: Knowledge,
    threshold: float,
    rule: PairRule | None = None,
) -> PairReport:
    """Replay pairs through the cache's rule and count.

    Args:
        pairs: labelled pairs of any splits and kinds.
        signer: as serving uses it.
        embedder: as serving uses it; every distinct text is embedded once.
        knowledge: says which intents may be answered for other words.
        threshold: least cosine of a hit, 0 to 1.
        rule: decides instead of the threshold.

    Raises:
        InvalidInputError: no pairs, or a threshold that is no cosine from 0 to 1.
    """
    if not pairs or not 0 <= threshold <= 1:
        raise InvalidInputError(
            "Cache pairs are measured with at least one pair and a threshold from 0 to 1."
        )
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.stored, pair.probe)))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    signatures = {text: signer.sign(text) for text in texts}
    outcomes = []
    for pair in pairs:
        eligible = knowledge.cacheability(pair.intent) is Cacheability.SEMANTIC
        stored, probe = (bucket(pair.intent, signatures[text]) for text in (pair.stored, pair.probe))
        similarity = float(vectors[pair.stored] @ vectors[pair.probe])
        agreed = stored == probe
        right = rule(pair, vectors[pair.probe], similarity) if rule else similarity >= threshold
        served = eligible and agreed and right
        outcomes.append(PairOutcome(pair, eligible, agreed, similarity, served))
    return PairReport(threshold, _split_rows(outcomes), _kind_rows(outcomes), tuple(outcomes))


def _split_rows(outcomes: Sequence[PairOutcome]) -> tuple[SplitRow, ...]:
    rows = []
    for split in dict.fromkeys(outcome.pair.split for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.pair.split == split]
        served = [outcome for outcome in own if outcome.served]
        wrong = sum(not outcome.pair.same for outcome in served)
        upper = clopper_pearson_upper(wrong, len(served)) if served else 1.0
        rights, wrongs = ([o for o in own if o.pair.same is same] for same in (True, False))
        rows.append(SplitRow(split, _served(rights), _served(wrongs), upper))
    return tuple(rows)


def _kind_rows(outcomes: Sequence[PairOutcome]) -> tuple[KindRow, ...]:
    groups: dict[tuple[str, str, bool], list[PairOutcome]] = {}
    for outcome in outcomes:
        pair = outcome.pair
        groups.setdefault((pair.split, pair.kind, pair.same), []).append(outcome)
    return tuple(
        KindRow(split, kind, same, len(group), sum(o.eligible for o in group), _served(group))
        for (split, kind, same), group in groups.items()
    )


def _served(outcomes: Iterable[PairOutcome]) -> Interval | None:
    eligible = [outcome.served for outcome in outcomes if outcome.eligible]
    return clopper_pearson(sum(eligible), len(eligible)) if eligible else None


def _pair(path: Path, number: int, line: str) -> CachePair:
    try:
        found = json.loads(line)
        texts = {name: found[name] for name in _TEXTS}
        same = found["same"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"Cache pairs {path}, line {number}: {error!r}.") from error
    if not isinstance(same, bool) or not all(isinstance(t, str) and t.strip() for t in texts.values()):
        raise InvalidInputError(f"Cache pairs {path}, line {number}: `same` is true or false, the rest text.")
    if texts["split"] not in SPLITS:
        raise InvalidInputError(f"Cache pairs {path}, line {number}: split {texts['split']!r} is unknown.")
    return CachePair(same=same, **texts)

"""From which score on the cache may answer other words, certified on split `calibration` with a bound.

Every pair is replayed as serving decides it: against the approved answers and the stored question,
through the signature, with the same score. A threshold is certified where the exact (Clopper-Pearson
1934) upper bound of wrong answers among those served is at most alpha. Thresholds are tested in one order
that is fixed beforehand, from a strict one down, until the first one fails: all before it then hold
together at the stated confidence although many were looked at (fixed-sequence testing; Angelopoulos et
al., "Learn then Test", 2021). Where the order begins is decided on split `train`, which is independent of
the pairs that decide. The levels of alpha share the confidence evenly (Bonferroni).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from evaluation.cache_pairs import CachePair
from evaluation.cache_rule import embed_all
from evaluation.statistics import Interval, clopper_pearson, clopper_pearson_upper
from serving.cache.calibration import Calibration, Certificate
from serving.cache.rule import weigh
from serving.cache.scorer import EvidenceScorer
from serving.cache.signature import RULES, Signer
from serving.cache.types import bucket
from serving.errors import InvalidInputError
from serving.language.knowledge import Cacheability, Knowledge
from serving.language.protocols import Embedder, Embeddings

LADDER = (0.01, 0.02, 0.05, 0.1)
"""Shares of wrong answers that can be certified."""
AIM = 0.4
"""Of the thresholds certified for alpha, the lowest is served at which this part of alpha is not exceeded
by the share of wrong answers that was seen: a bound says what may happen at worst, not what one should
aim for."""
LEAST_COVERAGE = 0.6
"""Share of the paraphrases that a level has to answer to be preferred to a laxer one; where none does, the
strictest is taken. All certified levels hold together, so any of them may be chosen."""
CONFIDENCE = 0.95
"""With which everything certified holds together."""
GRID = tuple(round(1 - step / 100, 2) for step in range(1, 91))
"""Thresholds in the order in which they are tested."""
LEAST_PAIRS = 10
"""Pairs of split `calibration` that an intent needs to share in the pool's bound. That bound speaks of what
it was measured on, so the pairs of split `train` are no evidence for an intent. Of one that is wrong in three
of ten pairs or more, ten show it in 97 cases of 100; fewer would let an intent that the rule cannot read
hide behind the others."""
TRAIN_FLATTERS = 0.1
"""The order begins at the lowest threshold at which the share of wrong answers on split `train`, where
word lists and weights were developed, is at most this part of alpha."""
_NO_DAY = date.min
"""Approved answers are taken whatever their last day: the pairs know none."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What serving would do with a pair.

    Attributes:
        score: from which threshold on down it is served; None where it never is.
        right: whether what is served is a right answer; a near-twin has none in the cache.
    """

    pair: CachePair
    score: float | None
    right: bool


@dataclass(frozen=True, slots=True)
class Rung:
    """What came of one level of alpha.

    Attributes:
        certificate: the threshold to serve at; None where none passed.
        lowest: the lowest threshold that passed.
        coverage: share of the paraphrases that are served right at it.
        reached: the least upper bound at any threshold that was tested; 1 where none was worth a test.
    """

    alpha: float
    certificate: Certificate | None
    lowest: float | None
    coverage: Interval | None
    reached: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Served pairs of a range of scores: how many, and the share that was right."""

    low: float
    high: float
    right: Interval


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """A calibration and what led to it.

    Attributes:
        calibration: what serving reads.
        rungs: every level of alpha, the strictest first.
        reliability: by score.
        curve: (threshold, served, wrong) over the whole grid.
        left_out: SEMANTIC intents with too few pairs, which stay EXACT.
    """

    calibration: Calibration
    rungs: tuple[Rung, ...]
    reliability: tuple[Bin, ...]
    curve: tuple[tuple[float, int, int], ...]
    left_out: tuple[str, ...]


def calibrate(
    pairs: Sequence[CachePair],
    knowledge: Knowledge,
    signer: Signer,
    scorer: EvidenceScorer,
    embedder: Embedder,
    *,
    pairs_sha256: str,
    alpha: float,
) -> CalibrationReport:
    """Certify the strictest useful level of the ladder that is at most `alpha` and that the evidence carries.

    Useful is one that answers `LEAST_COVERAGE` of the paraphrases, or the strictest where none does.

    Args:
        pairs: labelled pairs; those of other splits are left out.
        knowledge: approved answers, which the replay holds in the cache.
        signer: as serving uses it.
        scorer: as serving uses it.
        embedder: as serving uses it.
        pairs_sha256: of the file that the pairs are from.
        alpha: largest share of wrong answers that the operator accepts.

    Raises:
        InvalidInputError: no pairs of split calibration, or an alpha under the ladder's least.
    """
    levels = tuple(level for level in LADDER if level <= alpha)
    if not levels:
        raise InvalidInputError(f"The least share of wrong answers that can be certified is {LADDER[0]:g}.")
    own = [pair for pair in pairs if pair.split == "calibration"]
    covered = _with_evidence(own, knowledge)
    found = replay([pair for pair in own if pair.intent in covered], knowledge, signer, scorer, embedder)
    if not found:
        raise InvalidInputError("A calibration needs labelled pairs of split calibration.")
    level = 1 - (1 - CONFIDENCE) / len(LADDER)
    seen = [pair for pair in pairs if pair.split == "train" and pair.intent in covered]
    train = replay(seen, knowledge, signer, scorer, embedder)
    rungs = tuple(certify(found, rung, level, starting_threshold(train, rung)) for rung in levels)
    best = preferred(rungs)
    semantic = {answer.intent for answer in knowledge.answers if answer.cacheability is Cacheability.SEMANTIC}
    calibration = Calibration(
        embedder=embedder.fingerprint,
        rules=RULES,
        rule=scorer.fingerprint,
        pairs=pairs_sha256,
        alpha=best.alpha if best is not None else levels[-1],
        confidence=CONFIDENCE,
        pooled=best.certificate if best is not None else None,
        covered=covered,
        intents=refine(found, best.alpha, starting_threshold(train, best.alpha)) if best is not None else {},
    )
    curve = tuple((threshold, *_served(found, threshold)) for threshold in GRID)
    return CalibrationReport(
        calibration, rungs, reliability(found), curve, tuple(sorted(semantic - covered.keys()))
    )


def _with_evidence(own: Sequence[CachePair], knowledge: Knowledge) -> dict[str, int]:
    """Intents that may be answered for other words and have enough pairs among these → how many."""
    counts = Counter(pair.intent for pair in own)
    return {
        intent: count
        for intent, count in sorted(counts.items())
        if count >= LEAST_PAIRS and knowledge.cacheability(intent) is Cacheability.SEMANTIC
    }


def preferred(rungs: Sequence[Rung]) -> Rung | None:
    """The strictest certified level that answers enough; else the strictest; None where none is certified."""
    certified = [rung for rung in rungs if rung.certificate is not None]
    useful = [
        rung for rung in certified if rung.coverage is not None and rung.coverage.estimate >= LEAST_COVERAGE
    ]
    return next(iter([*useful, *certified]), None)


def replay(
    pairs: Sequence[CachePair],
    knowledge: Knowledge,
    signer: Signer,
    scorer: EvidenceScorer,
    embedder: Embedder,
) -> tuple[Replayed, ...]:
    """Ask a cache of all approved answers and the stored question for each probe, in the pair's intent.

    That the intent is the stored question's is the worst case for a near-twin: the tagger may still part
    them. A probe that gets another answer than the stored question's, and the one that the knowledge has
    for its words ("premium" instead of "basic"), tells nothing of the rule and is left out; any other
    answer is wrong.
    """
    shelf = _shelf(knowledge, signer)
    texts = [text for pair in pairs for text in (pair.stored, pair.probe)]
    vectors = embed_all(
        [*texts, *(question for entries in shelf.values() for question, _ in entries)], embedder
    )
    outcomes = []
    for pair in pairs:
        facets = {text: signer.lexicon.found(text) for text in (pair.stored, pair.probe)}
        own, asked = (_answer(knowledge, pair, facets[text]) for text in (pair.stored, pair.probe))
        key = bucket(pair.intent, signer.sign(pair.probe))
        entries = dict(shelf.get(key, ()))
        if bucket(pair.intent, signer.sign(pair.stored)) == key:
            entries[pair.stored] = own
        weighed = _ask(pair, entries, vectors, scorer)
        if weighed is None:
            outcomes.append(Replayed(pair, None, right=False))
        elif weighed[1] == own or weighed[1] != asked:
            outcomes.append(Replayed(pair, weighed[0], right=pair.same and weighed[1] == own))
    return tuple(outcomes)


def _answer(knowledge: Knowledge, pair: CachePair, facets: dict[str, tuple[str, ...]]) -> str:
    """What the knowledge answers to words with these facets; itself for words that it has no answer to."""
    found = knowledge.best(pair.intent, facets, _NO_DAY)
    return found.text if found is not None else f"no answer to {pair.id}"


def _shelf(knowledge: Knowledge, signer: Signer) -> dict[str, list[tuple[str, str]]]:
    """Bucket → (question, answer) of everything that may be answered for other words."""
    shelf: dict[str, list[tuple[str, str]]] = {}
    for answer in knowledge.answers:
        if answer.cacheability is Cacheability.SEMANTIC:
            for question in answer.questions:
                key = bucket(answer.intent, signer.sign(question))
                shelf.setdefault(key, []).append((question, answer.text))
    return shelf


def _ask(
    pair: CachePair, entries: dict[str, str], vectors: dict[str, Embeddings], scorer: EvidenceScorer
) -> tuple[float, str] | None:
    """Score and text of the answer that the rule would give, whatever the threshold; None for none."""
    asked = vectors[pair.probe]
    near = sorted(
        ((question, answer, float(asked @ vectors[question])) for question, answer in entries.items()),
        key=lambda entry: -entry[2],
    )
    if not near:
        return None
    weighed = weigh(scorer, pair.probe, near, scorer.intent(asked, pair.intent))
    return None if weighed.rival else (weighed.value, near[0][1])


def certify(found: Sequence[Replayed], alpha: float, level: float, start: float | None) -> Rung:
    """Test thresholds from `start` down until the first failure; choose among those passed (see `AIM`)."""
    passed: list[Certificate] = []
    reached = 1.0
    for threshold in GRID:
        if start is None or threshold > start:
            continue
        served, wrong = _served(found, threshold)
        upper = clopper_pearson_upper(wrong, served, level) if served else 1.0
        reached = min(reached, upper)
        if upper > alpha:
            break
        passed.append(Certificate(threshold, served, wrong, round(upper, 6)))
    aimed = [item for item in passed if item.wrong <= AIM * alpha * item.served]
    certificate = next(reversed(aimed or passed), None)
    lowest = passed[-1].threshold if passed else None
    return Rung(alpha, certificate, lowest, _coverage(found, certificate), reached)


def starting_threshold(train: Sequence[Replayed], alpha: float) -> float | None:
    """Where the order of tests begins; None where every threshold is too wrong on split train."""
    fit: float | None = None
    for threshold in GRID:
        served, wrong = _served(train, threshold)
        if served and wrong <= TRAIN_FLATTERS * alpha * served:
            fit = threshold
    return fit


def refine(found: Sequence[Replayed], alpha: float, start: float | None) -> dict[str, Certificate]:
    """Thresholds of single intents, where an intent's own pairs certify one; they replace the pooled one.

    Only intents with so many pairs are tested that they could pass without a mistake; the number of pairs
    says nothing of the outcome, so the choice costs no confidence. Those tested share it evenly
    (Bonferroni): at `CONFIDENCE`, all thresholds of single intents hold together.

    Args:
        found: pairs of split calibration, replayed.
        alpha: level of the pooled certificate.
        start: threshold at which the order of tests begins.
    """
    own: dict[str, list[Replayed]] = {}
    for outcome in found:
        own.setdefault(outcome.pair.intent, []).append(outcome)
    enough = {
        intent: outcomes
        for intent, outcomes in sorted(own.items())
        if clopper_pearson_upper(0, len(outcomes), CONFIDENCE) <= alpha
    }
    level = 1 - (1 - CONFIDENCE) / max(len(enough), 1)
    rungs = {intent: certify(outcomes, alpha, level, start) for intent, outcomes in enough.items()}
    return {intent: rung.certificate for intent, rung in rungs.items() if rung.certificate is not None}


def _served(found: Sequence[Replayed], threshold: float) -> tuple[int, int]:
    """How many are served at a threshold, and how many of them wrong."""
    served = [outcome for outcome in found if outcome.score is not None and outcome.score >= threshold]
    return len(served), sum(not outcome.right for outcome in served)


def _coverage(found: Sequence[Replayed], certificate: Certificate | None) -> Interval | None:
    if certificate is None:
        return None
    same = [outcome for outcome in found if outcome.pair.same]
    right = sum(o.right and o.score is not None and o.score >= certificate.threshold for o in same)
    return clopper_pearson(right, len(same))


def reliability(found: Sequence[Replayed]) -> tuple[Bin, ...]:
    """The reliability curve: of ten ranges of score those with pairs, each with the share that was right.

    A score belongs to the range that begins at it; 1 belongs to the last one.
    """
    bins = []
    for low, high in pairwise(edge / 10 for edge in range(11)):
        inside = [o for o in found if o.score is not None and low <= o.score < high + (high == 1)]
        if inside:
            bins.append(Bin(low, high, clopper_pearson(sum(o.right for o in inside), len(inside))))
    return tuple(bins)

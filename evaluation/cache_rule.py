"""Fitting the score of the cache's rule on split `train` of the labelled pairs, and what it is worth.

A logistic regression whose weights may only have the sign that makes sense (`RAISING`): the pairs of
split `train` hold near-twins that copy the stored question and paraphrases that do not, so that a free
fit would learn that copied words are a bad sign, and refuse the very question that is stored. Every step
is deterministic.
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.cache_pairs import CachePair
from serving.cache.comparison import FEATURES, Floats, WordWeights
from serving.cache.evidence import Concepts, read_evidence
from serving.cache.scorer import EvidenceScorer, IntentHead, Regression, dump_scorer
from serving.cache.signature import Signer
from serving.cache.types import bucket
from serving.errors import InvalidInputError
from serving.language.knowledge import Cacheability, Knowledge
from serving.language.protocols import Embedder, Embeddings

RAISING = frozenset({"cosine", "intent", "asked_covered", "stored_covered", "focus_shared", "words_shared"})
"""Features that may only raise the score; all others may only lower it."""
WORD_DIMENSION = 32
RIDGE = 10.0
NEAR_TWIN_WEIGHT = 2.0
"""A wrong answer weighs twice a missed one."""
FOLDS, SHUFFLES = 8, 3
_INVERSE_RIDGE_OF_HEAD = 20.0
_LEAST_IDEA, _LEAST_WORD = 0.8, 0.5
"""Least weight of a unit that the lexicon knows, and of one that it does not."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A rule, and what it was worth where it had not been fitted.

    Attributes:
        content: of data/cache_rule.json.
        same: whether each pair used has the same answer.
        scores: out of fold, by stored question, averaged over shuffles: log-odds.
        cosines: of the same pairs.
    """

    content: dict[str, Any]
    same: npt.NDArray[np.bool_]
    scores: Floats
    cosines: Floats

    def right_at(self, wrong: int) -> tuple[int, int]:
        """Paraphrases served where a threshold lets so many near-twins pass: by score, by cosine."""
        return _right_at(self.scores, self.same, wrong), _right_at(self.cosines, self.same, wrong)


def fit_rule(
    pairs: Sequence[CachePair],
    knowledge: Knowledge,
    signer: Signer,
    concepts: Concepts,
    embedder: Embedder,
    texts: Mapping[str, Sequence[str]],
    vocabulary: Sequence[str],
) -> Fitted:
    """Fit everything on split `train`.

    Args:
        pairs: labelled pairs; those of other splits are left out.
        knowledge: says which intents may be answered for other words; its questions belong to their intents.
        signer: pairs that it parts by a value alone are not learned from; what the rule is worth is asked
            of the pairs that it does not part.
        concepts: the lexicon of ideas.
        embedder: of sentences and of single words.
        texts: intent → sentences that train its tagger.
        vocabulary: words that get a vector.

    Raises:
        InvalidInputError: no pair to learn from.
    """
    head = _fit_head(knowledge, embedder, texts)
    words = _fit_words(knowledge, signer, concepts, embedder, texts, vocabulary)
    blank = Regression(np.zeros(len(FEATURES)), np.ones(len(FEATURES)), np.zeros(len(FEATURES)), 0.0)
    scorer = EvidenceScorer(concepts, signer.lexicon, words, head, blank, "")
    used = [pair for pair in pairs if pair.split == "train" and _telling(pair, knowledge, signer)]
    open_ = np.array([_undecided(pair, knowledge, signer) for pair in used], np.bool_)
    if len({pair.same for pair in used}) < 2:
        raise InvalidInputError("The rule needs paraphrases and near-twins of split train to learn from.")
    features = pair_features(used, scorer, embedder)
    same = np.array([pair.same for pair in used])
    regression = _fit_regression(features, same)
    content = dump_scorer(concepts, signer.lexicon, words, head, regression)
    out_of_fold = _cross_validated(features, same, [pair.stored for pair in used])
    return Fitted(content, same[open_], out_of_fold[open_], features[open_, FEATURES.index("cosine")])


def pair_features(pairs: Sequence[CachePair], scorer: EvidenceScorer, embedder: Embedder) -> Floats:
    """Features of each pair, float64 of shape (pairs, features)."""
    vectors = embed_all([text for pair in pairs for text in (pair.stored, pair.probe)], embedder)
    rows = []
    for pair in pairs:
        asked, stored = vectors[pair.probe], vectors[pair.stored]
        intent = scorer.intent(asked, pair.intent)
        rows.append(scorer.features(pair.probe, pair.stored, float(asked @ stored), intent))
    return np.array(rows)


def embed_all(texts: Sequence[str], embedder: Embedder) -> dict[str, Embeddings]:
    """Every distinct text with its vector."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, embedder.embed(distinct), strict=True)) if distinct else {}


VALUES = frozenset(
    {"money", "rate", "term", "date", "count", "bound", "ordinal", "multiple", "person", "unreadable"}
    | {"time", "length", "figure", "things", "month", "weekday"}
)
"""Facets of a signature that no feature sees: pairs that differ in nothing else teach nothing."""


def _telling(pair: CachePair, knowledge: Knowledge, signer: Signer) -> bool:
    """Whether the words of a pair show what the label says, with the signature's help or without."""
    if knowledge.cacheability(pair.intent) is not Cacheability.SEMANTIC:
        return False
    stored, probe = (set(signer.sign(text).facets) for text in (pair.stored, pair.probe))
    apart = {facet for facet, _ in stored ^ probe}
    return not apart or not all(facet in VALUES or facet.startswith("personal_") for facet in apart)


def _undecided(pair: CachePair, knowledge: Knowledge, signer: Signer) -> bool:
    """Whether the signature leaves the pair to the score."""
    if knowledge.cacheability(pair.intent) is not Cacheability.SEMANTIC:
        return False
    stored, probe = (bucket(pair.intent, signer.sign(text)) for text in (pair.stored, pair.probe))
    return stored == probe


def _fit_head(knowledge: Knowledge, embedder: Embedder, texts: Mapping[str, Sequence[str]]) -> IntentHead:
    from sklearn.linear_model import LogisticRegression

    labelled = [(text, intent) for intent in sorted(texts) for text in texts[intent]]
    labelled += [(text, answer.intent) for answer in knowledge.answers for text in answer.questions]
    vectors = embedder.embed([text for text, _ in labelled])
    labels = np.array([intent for _, intent in labelled])
    fitted = LogisticRegression(C=_INVERSE_RIDGE_OF_HEAD, max_iter=300).fit(vectors, labels)
    names = tuple(str(label) for label in fitted.classes_)
    return IntentHead(names, fitted.coef_.astype(np.float32), fitted.intercept_.astype(np.float32))


def _fit_words(
    knowledge: Knowledge,
    signer: Signer,
    concepts: Concepts,
    embedder: Embedder,
    texts: Mapping[str, Sequence[str]],
    vocabulary: Sequence[str],
) -> WordWeights:
    """Weights by how many sentences hold a unit; vectors in the main directions of the encoder's own."""
    sentences = [text for intent in sorted(texts) for text in texts[intent]]
    sentences += [text for answer in knowledge.answers for text in answer.questions]
    held: Counter[str] = Counter()
    for text in sentences:
        held.update({unit.key for unit in read_evidence(text, concepts, signer.lexicon).units})
    ideas = {*concepts.ideas.values(), *concepts.split_ideas.values()}
    most = math.log(len(sentences))
    weights = {
        key: max(math.log(len(sentences) / count) / most, _LEAST_IDEA if key in ideas else _LEAST_WORD)
        for key, count in held.items()
    }
    names = sorted(set(vocabulary))
    vectors = embedder.embed(names).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :WORD_DIMENSION]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    short = centred @ axes
    short /= np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-9)
    return WordWeights(weights, {name: row for row, name in enumerate(names)}, short.astype(np.float32))


def _fit_regression(features: Floats, same: npt.NDArray[np.bool_]) -> Regression:
    """Ridge logistic regression with signs, by L-BFGS-B (Byrd et al. 1995)."""
    from scipy.optimize import minimize

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    target = same.astype(np.float64)
    importance = np.where(same, 1.0, NEAR_TWIN_WEIGHT)

    def loss(at: Floats) -> tuple[float, Floats]:
        logits = design @ at
        value = float((importance * (np.logaddexp(0, logits) - target * logits)).sum())
        slope = design.T @ (importance * (1 / (1 + np.exp(-logits)) - target))
        slope[:-1] += RIDGE * at[:-1]
        return value + RIDGE / 2 * float((at[:-1] ** 2).sum()), slope

    signs = [(0.0, None) if name in RAISING else (None, 0.0) for name in FEATURES]
    found = minimize(
        loss,
        np.zeros(design.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=[*signs, (None, None)],
        options={"maxiter": 1_000, "ftol": 1e-12, "gtol": 1e-8},
    )
    return Regression(mean, scale, np.asarray(found.x[:-1], np.float64), float(found.x[-1]))


def _cross_validated(features: Floats, same: npt.NDArray[np.bool_], groups: Sequence[str]) -> Floats:
    """Log-odds of each pair by fits that saw nothing of its stored question."""
    total = np.zeros(len(same))
    names = sorted(set(groups))
    for shuffle in range(SHUFFLES):
        order = names[:]
        random.Random(shuffle).shuffle(order)  # noqa: S311  # folds, no secret
        fold_of = {name: at % FOLDS for at, name in enumerate(order)}
        folds = np.array([fold_of[group] for group in groups])
        for fold in range(FOLDS):
            inside = folds == fold
            fitted = _fit_regression(features[~inside], same[~inside])
            total[inside] += [float(fitted.parts(row).sum()) + fitted.bias for row in features[inside]]
    return total / SHUFFLES


def _right_at(scores: Floats, same: npt.NDArray[np.bool_], wrong: int) -> int:
    twins = np.sort(scores[~same])[::-1]
    least = twins[wrong] if wrong < len(twins) else -np.inf
    return int((scores[same] > least).sum())

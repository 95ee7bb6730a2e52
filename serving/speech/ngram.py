"""A trigram language model from sentences, written as an ARPA file.

Interpolated modified Kneser-Ney smoothing (Chen and Goodman, "An Empirical Study of Smoothing
Techniques for Language Modeling", 1999, section 3): the discounts come from the counts of counts
of each order, lower orders count contexts instead of occurrences. Every probability distribution
sums to one; a test checks it. No library on PyPI builds such a file without a compiled tool.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

BEGIN = "<s>"
END = "</s>"
ORDER = 3
_LOG_ZERO = -99.0
"""How ARPA files write the probability of what is never predicted (the begin mark)."""

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NgramModel:
    """Probabilities by n-gram, history first.

    Attributes:
        probabilities: P(last word | the words before it) of every n-gram seen, orders 1 to 3.
        backoffs: share of probability that each history leaves to its shorter history.
    """

    probabilities: dict[Gram, float]
    backoffs: dict[Gram, float]

    @property
    def vocabulary(self) -> list[str]:
        """All words, sorted, without the sentence marks."""
        return sorted(g[0] for g in self.probabilities if len(g) == 1 and g[0] not in {BEGIN, END})

    def probability(self, word: str, history: Sequence[str]) -> float:
        """P(word | history), backing off as a decoder does; 0 for an unknown word."""
        context = tuple(history)[-(ORDER - 1) :]
        weight = 1.0
        while True:
            found = self.probabilities.get((*context, word))
            if found is not None:
                return weight * found
            if not context:
                return 0.0
            weight *= self.backoffs.get(context, 1.0)
            context = context[1:]

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Per word (sentence ends included); words outside the vocabulary are left out."""
        total, words = 0.0, 0
        for sentence in sentences:
            history = [BEGIN]
            for word in [*sentence, END]:
                p = self.probability(word, history)
                history.append(word)
                if p > 0.0:
                    total += math.log(p)
                    words += 1
        return math.exp(-total / words) if words else math.nan

    def write(self, stream: TextIO) -> None:
        """Write in ARPA format, n-grams sorted, so that equal text gives equal bytes."""
        by_order: list[list[Gram]] = [[] for _ in range(ORDER)]
        for gram in self.probabilities:
            by_order[len(gram) - 1].append(gram)
        stream.write("\\data\\\n")
        for order, grams in enumerate(by_order, start=1):
            stream.write(f"ngram {order}={len(grams)}\n")
        for order, grams in enumerate(by_order, start=1):
            stream.write(f"\n\\{order}-grams:\n")
            for gram in sorted(grams):
                p = self.probabilities[gram]
                line = f"{math.log10(p) if p > 0.0 else _LOG_ZERO:.5f}\t{' '.join(gram)}"
                if order < ORDER:
                    line += f"\t{math.log10(self.backoffs.get(gram, 1.0)):.5f}"
                stream.write(line + "\n")
        stream.write("\n\\end\\\n")


def train_ngram(sentences: Iterable[Sequence[str]], extra_words: Iterable[str] = ()) -> NgramModel:
    """Estimate a trigram model.

    Args:
        sentences: words of each sentence; repetitions count. Empty ones are skipped.
        extra_words: words that must be possible even where no sentence holds them.

    Raises:
        ValueError: no sentence has a word.
    """
    occurrences = _count(sentences)
    if not occurrences[0]:
        raise ValueError("A language model needs at least one sentence with a word")
    words = {gram[0] for gram in occurrences[0]} | set(extra_words) | {END}
    words.discard(BEGIN)
    lower: dict[Gram, float] = {(): 1.0 / len(words)}
    probabilities: dict[Gram, float] = {(BEGIN,): 0.0}
    backoffs: dict[Gram, float] = {}
    for order in range(1, ORDER + 1):
        counts = occurrences[order - 1] if order == ORDER else _contexts(occurrences, order)
        level, shares = _interpolate(counts, lower)
        if order == 1:
            rest = shares[()] / len(words)
            level = {(word,): level.get((word,), rest) for word in words}
        probabilities.update(level)
        if order > 1:
            backoffs.update(shares)
        lower = level
    return NgramModel(probabilities, backoffs)


def _count(sentences: Iterable[Sequence[str]]) -> list[Counter[Gram]]:
    """Occurrences of every n-gram by order; each sentence stands between its two marks."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(ORDER)]
    for sentence in sentences:
        if not sentence:
            continue
        padded = (BEGIN, *sentence, END)
        for order in range(1, ORDER + 1):
            counts[order - 1].update(padded[i : i + order] for i in range(len(padded) - order + 1))
    counts[0].pop((BEGIN,), None)
    return counts


def _contexts(occurrences: list[Counter[Gram]], order: int) -> Counter[Gram]:
    """Kneser-Ney's lower-order counts: in how many different left contexts an n-gram stands.

    An n-gram at the begin of a sentence has only that context, so it keeps its occurrences.
    """
    counts: Counter[Gram] = Counter(gram[1:] for gram in occurrences[order])
    for gram, count in occurrences[order - 1].items():
        if gram[0] == BEGIN:
            counts[gram] = count
    return counts


def _interpolate(
    counts: Counter[Gram], lower: dict[Gram, float]
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """Discounted shares plus what the history leaves to the shorter one.

    Returns:
        probabilities of the n-grams, and the share that each history leaves.
    """
    discounts = _discounts(counts)
    totals: dict[Gram, float] = defaultdict(float)
    freed: dict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        freed[gram[:-1]] += discounts[min(count, 3) - 1]
    shares = {history: freed[history] / total for history, total in totals.items()}
    probabilities = {
        gram: (count - discounts[min(count, 3) - 1]) / totals[gram[:-1]]
        + shares[gram[:-1]] * lower[gram[1:] if len(gram) > 1 else ()]
        for gram, count in counts.items()
    }
    return probabilities, shares


def _discounts(counts: Counter[Gram]) -> tuple[float, float, float]:
    """Discounts of counts 1, 2 and 3 or more; absolute discounting where data is too thin."""
    n1, n2, n3, n4 = (sum(1 for c in counts.values() if c == k) for k in (1, 2, 3, 4))
    if not n1 or not n2:
        return 0.5, 0.5, 0.5
    y = n1 / (n1 + 2 * n2)
    if not n3 or not n4:
        return y, y, y
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if any(not 0.0 < d < limit for d, limit in zip(found, (1.0, 2.0, 3.0), strict=True)):
        return y, y, y
    return found

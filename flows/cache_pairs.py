"""The cache's rule on data/cache_pairs: how often it is right, how often wrong, by kind of near-twin."""

from typing import TYPE_CHECKING

from evaluation.cache_pairs import CachePair, PairReport, PairRule, load_pairs, measure_pairs
from evaluation.statistics import Interval
from serving.cache.choice import choose_rule
from serving.cache.rule import CertifiedRule, weigh
from serving.cli.console import print_json, print_table
from serving.language.encoder import reference_of
from serving.plain import plain
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.language.protocols import Embeddings


def report_pairs(settings: Settings, threshold: float | None, *, as_json: bool) -> None:
    """Replay all pairs as this home's cache would decide them, and print the table beside a plain cosine's.

    Args:
        settings: data, encoder and rule.
        threshold: least cosine of a hit, 0 to 1, in place of the home's rule; None for the rule.
        as_json: print one JSON document instead, with every pair that was served wrongly.

    Raises:
        InvalidInputError: a file of the data cannot be used, or the threshold is no cosine.
    """
    from serving.call.runtime import Runtime

    pairs = load_pairs(settings.data / "cache_pairs" / "pairs.jsonl")
    runtime = Runtime(settings, voice=False)
    try:
        rule = choose_rule(settings, runtime.signer.lexicon, reference_of(runtime.encoder))
        certified = rule if threshold is None and isinstance(rule, CertifiedRule) else None
        least = _cosine(settings, threshold)
        parts = (pairs, runtime.signer, runtime.encoder, runtime.knowledge, least)
        plain_cosine = measure_pairs(*parts)
        found = measure_pairs(*parts, pair_rule(certified)) if certified is not None else plain_cosine
    finally:
        runtime.close()
    told = _told(certified, least)
    if as_json:
        wrong = [outcome for row in found.splits for outcome in found.wrong(row.split)]
        missed = [o for o in found.outcomes if o.eligible and o.pair.same and not o.served]
        print_json(
            {
                "rule": told,
                "threshold": least,
                "splits": plain(found.splits),
                "kinds": plain(found.kinds),
                "cosine": plain(plain_cosine.splits),
                "wrong": plain(wrong),
                "missed": plain(missed),
            }
        )
    else:
        _show(told, found, plain_cosine)


def pair_rule(rule: CertifiedRule) -> PairRule:
    """The rule, asked about a pair whose stored question is the only one."""
    scorer, calibration = rule.scorer, rule.calibration

    def decide(pair: CachePair, probe: "Embeddings", cosine: float) -> bool:
        least = calibration.threshold(pair.intent) if calibration is not None else None
        intent = scorer.intent(probe, pair.intent)
        weighed = weigh(scorer, pair.probe, [(pair.stored, "its answer", cosine)], intent)
        return least is not None and weighed.value >= least

    return decide


def _cosine(settings: Settings, threshold: float | None) -> float:
    """The plain cosine that the rule is shown beside."""
    if threshold is not None:
        return threshold
    return PLAIN_COSINE if settings.cache_threshold is None else settings.cache_threshold


PLAIN_COSINE = 0.75
"""The usual threshold for this encoder; with the signature in front of it."""


def _told(rule: CertifiedRule | None, least: float) -> str:
    if rule is None:
        return f"cosine {least:g}"
    pooled = rule.calibration.pooled if rule.calibration is not None else None
    return f"certified score {pooled.threshold:g}" if pooled is not None else "nothing certified"


def _show(told: str, found: PairReport, beside: PairReport) -> None:
    cosine = {(row.split, row.kind, row.same): row.served for row in beside.kinds}
    totals = {row.split: row for row in beside.splits}
    rows = [
        (
            row.split,
            row.kind,
            "yes" if row.same else "no",
            str(row.pairs),
            str(row.eligible),
            _share(row.served),
            _share(cosine[(row.split, row.kind, row.same)]),
        )
        for row in sorted(found.kinds, key=lambda row: (row.split, row.kind))
    ]
    for split in found.splits:
        other = totals[split.split]
        rows.append((split.split, "all paraphrases", "yes", "", "", _share(split.right), _share(other.right)))
        rows.append((split.split, "all near-twins", "no", "", "", _share(split.wrong), _share(other.wrong)))
    print_table(
        f"Cache pairs, {told}",
        [
            "split",
            "kind",
            "same answer",
            "pairs",
            "eligible",
            "served (exact 95 %)",
            f"cosine {beside.threshold:g}",
        ],
        rows,
        right=["pairs", "eligible"],
    )


def _share(served: Interval | None) -> str:
    if served is None:
        return "-"
    count = round(served.estimate * served.items)
    return f"{count} of {served.items}  [{served.low:.1%}, {served.high:.1%}]"

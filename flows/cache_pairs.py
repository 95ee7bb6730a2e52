"""The cache's rule on data/cache_pairs: how often it is right, how often wrong, by kind of near-twin."""

from evaluation.cache_pairs import PairReport, load_pairs, measure_pairs
from evaluation.statistics import Interval
from serving.cli.console import print_json, print_table
from serving.plain import plain
from serving.settings import Settings


def report_pairs(settings: Settings, threshold: float | None, *, as_json: bool) -> None:
    """Replay all pairs as this home's cache would decide them, and print the table.

    Args:
        settings: data, encoder and default threshold.
        threshold: least cosine of a hit, 0 to 1; None for the setting `cache_threshold`.
        as_json: print one JSON document instead, with every pair that was served wrongly.

    Raises:
        InvalidInputError: a file of the data cannot be used, or the threshold is no cosine.
    """
    from serving.call.runtime import Runtime

    pairs = load_pairs(settings.data / "cache_pairs" / "pairs.jsonl")
    runtime = Runtime(settings, voice=False)
    try:
        least = settings.cache_threshold if threshold is None else threshold
        found = measure_pairs(pairs, runtime.signer, runtime.encoder, runtime.knowledge, least)
    finally:
        runtime.close()
    if as_json:
        wrong = [outcome for row in found.splits for outcome in found.wrong(row.split)]
        print_json(
            {
                "threshold": least,
                "splits": plain(found.splits),
                "kinds": plain(found.kinds),
                "wrong": plain(wrong),
            }
        )
    else:
        _show(found)


def _show(found: PairReport) -> None:
    rows = [
        (
            row.split,
            row.kind,
            "yes" if row.same else "no",
            str(row.pairs),
            str(row.eligible),
            _share(row.served),
        )
        for row in sorted(found.kinds, key=lambda row: (row.split, row.kind))
    ]
    for split in found.splits:
        rows.append((split.split, "all paraphrases", "yes", "", "", _share(split.right)))
        rows.append((split.split, "all near-twins", "no", "", "", _share(split.wrong)))
    print_table(
        f"Cache pairs at cosine {found.threshold:g}",
        ["split", "kind", "same answer", "pairs", "eligible", "served (exact 95 %)"],
        rows,
        right=["pairs", "eligible"],
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _share(served: Interval | None) -> str:
    if served is None:
        return "-"
    count = round(served.estimate * served.items)
    return f"{count} of {served.items}  [{served.low:.1%}, {served.high:.1%}]"

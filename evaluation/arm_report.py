"""An A/B comparison for people and machines: one HTML page with plots, and the same as JSON beside it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.arm_metrics import Metric
from evaluation.arm_plots import arm_plots
from evaluation.arms import ArmsReport, Compared, Ratio, Side, Verdict
from evaluation.pages import page_templates
from serving.files import make_folder, write_atomically, writing_to
from serving.plain import plain

PAGE, DATA = "arms.html", "arms.json"
_SENTENCES = {
    Verdict.BETTER: "The challenger is better: the whole interval of {title} is in its favour.",
    Verdict.WORSE: "The challenger is worse: the whole interval of {title} is against it.",
    Verdict.UNDECIDED: "Undecided: the interval of {title} holds zero. Wait for more callers, or accept that "
    "the difference is smaller than the interval.",
    Verdict.REFUSED: "No verdict: callers were not split as planned (sample-ratio alarm), so a difference "
    "need not come from the adapters. Find out why before looking at any figure below.",
}


def write_arms_report(report: ArmsReport, folder: Path, *, title: str = "Phone agent") -> Path:
    """Write page and JSON into a folder; returns the page.

    Args:
        report: figures to show.
        folder: made where missing; files of an earlier report are replaced.
        title: whose calls these are, such as the bank's name.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    text = json.dumps(document(report), ensure_ascii=False, indent=2, allow_nan=False)
    with writing_to(folder):
        make_folder(folder)
        write_atomically(folder / DATA, f"{text}\n")
        write_atomically(folder / PAGE, render_arms_page(report, title=title))
    return folder / PAGE


def render_arms_page(report: ArmsReport, *, title: str = "Phone agent") -> str:
    """The whole page as HTML."""
    pages = page_templates()
    pages.filters |= {"side": _side, "amount": amount, "change": change}
    return pages.get_template("arms.html").render(
        title=title,
        report=report,
        verdict=sentence(report),
        plots=arm_plots(report),
        data=DATA,
        refused=Verdict.REFUSED,
    )


def document(report: ArmsReport) -> dict[str, Any]:
    """The report as JSON types, without the points of the plots."""
    short = replace(report, looks=(), ratios=tuple(replace(ratio, shares=()) for ratio in report.ratios))
    found: dict[str, Any] = plain(short)
    del found["looks"]
    for ratio in found["ratios"]:
        del ratio["shares"]
    for row, item in zip(found["metrics"], report.metrics, strict=True):
        row |= {"metric": item.metric.key, "difference": item.difference}
    return found


def sentence(report: ArmsReport) -> str:
    """The verdict in words."""
    return _SENTENCES[report.verdict].format(title=report.primary.metric.title.lower())


def rows(report: ArmsReport) -> list[tuple[str, ...]]:
    """The metrics as a table: name, both arms, difference, interval, verdict."""
    return [_row(item) for item in report.metrics]


def ratio_words(ratio: Ratio) -> str:
    """A sample-ratio check in one line."""
    total = ratio.champion + ratio.challenger
    share = f"{ratio.challenger / total:.1%}" if total else "-"
    state = "ALARM" if ratio.alarm_at is not None else "sound"
    return (
        f"{ratio.what}: {ratio.challenger:,} of {total:,} with the challenger ({share}, planned "
        f"{ratio.planned:.1%}), {state}: e-value {ratio.e_value:.3g}, alarm from {ratio.limit:,.0f}"
    )


def amount(value: float | None, metric: Metric) -> str:
    """A mean in the metric's unit."""
    if value is None:
        return "-"
    if metric.unit == "share":
        return f"{value:.1%}"
    return f"{value:.2f}{' s' if metric.unit == 's' else ''}"


def change(value: float | None, metric: Metric) -> str:
    """A difference in the metric's unit, with its sign."""
    if value is None:
        return "-"
    if metric.unit == "share":
        return f"{100 * value:+.1f} pp"
    return f"{value:+.2f}{' s' if metric.unit == 's' else ''}"


def _row(item: Compared) -> tuple[str, ...]:
    known = item.champion.callers and item.challenger.callers
    interval = f"{change(item.low, item.metric)} to {change(item.high, item.metric)}" if known else "-"
    return (
        f"{item.metric.title}{' (primary)' if item.primary else ''}",
        _side(item.champion, item.metric),
        _side(item.challenger, item.metric),
        change(item.difference, item.metric),
        interval,
        item.verdict.value if known else "no data",
    )


def _side(side: Side, metric: Metric) -> str:
    return f"{amount(side.mean, metric)} of {side.callers:,}" if side.callers else "-"

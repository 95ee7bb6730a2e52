"""A drift report for people: a Markdown page and a plot of what moved most. It adds no number of its own."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.drift import DriftReport, DriftVerdict, Measure, Share
from serving.files import make_folder, write_atomically, writing_to

MOST_INTENTS = 15
"""Intents with the largest change that the table and the plot show."""
PAGE, PLOT = "drift.md", "drift.svg"
_THEN, _NOW = "#94a0ae", "#2f6fb3"


def write_drift_report(report: DriftReport, folder: Path, title: str) -> Path:
    """Write the page and the plot beside it; returns the page.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    with writing_to(folder):
        make_folder(folder)
        write_atomically(folder / PLOT, plot(report))
        write_atomically(folder / PAGE, f"{markdown(report, title)}\n![What moved]({PLOT})\n")
    return folder / PAGE


def markdown(report: DriftReport, title: str) -> str:
    """The verdict, its measures and the intents that moved most."""
    parts = [
        f"# {title}: {report.verdict}",
        _explained(report),
        _table(
            ("measure", "estimate", "interval", "limit", "drifted"), [_row(item) for item in report.measures]
        ),
        f"Intervals hold together at {report.policy.level:.0%}; they draw whole calls.",
        *(
            f"Not judged: {item.name}; {item.missing}. The other measures decide."
            for item in report.measures
            if item.missing
        ),
        f"## The {min(MOST_INTENTS, len(report.intents))} intents that moved most",
        _table(("intent", "training", "calls", "change"), [_share(s) for s in report.intents[:MOST_INTENTS]]),
        "## Confidence",
        _table(("probability", "held-out texts", "calls", "change"), [_share(s) for s in report.confidence]),
    ]
    if report.energy:
        columns = ("energy", "held-out texts", "calls", "change")
        parts += ["## Energy", _table(columns, [_share(s) for s in report.energy])]
    return "\n\n".join(parts) + "\n"


def plot(report: DriftReport) -> str:
    """Both halves as one SVG: shares of the intents that moved most, and of the confidence deciles."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "voicebot", "svg.fonttype": "none", "text.parse_math": False}):
        figure = Figure(figsize=(11, 5), layout="constrained")
        intents, confidence = figure.subplots(1, 2)
        _bars(intents, report.intents[:MOST_INTENTS], "intents that moved most")
        _bars(confidence, report.confidence, "probability of the best intent")
        handles, names = intents.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _explained(report: DriftReport) -> str:
    policy, seen = report.policy, f"{report.turns:,} turns of {report.calls:,} calls"
    if report.verdict is DriftVerdict.NOT_ENOUGH:
        return (
            f"{seen}; a verdict needs {policy.min_turns:,} turns of {policy.min_calls:,} calls. "
            "The shares below are shown, not judged."
        )
    if report.drifted:
        return f"{seen}. Drifted: {', '.join(report.drifted)}."
    return f"{seen}. Nothing has moved by more than its limit."


def _row(measure: Measure) -> tuple[str, ...]:
    found = measure.interval
    if found is None:
        return measure.name, "-", "-", f"{measure.limit:.2f}", "-"
    shown = f"[{found.low:+.3f}, {found.high:+.3f}]"
    drifted = "yes" if measure.drifted else "no"
    return measure.name, f"{found.estimate:+.3f}", shown, f"{measure.limit:.2f}", drifted


def _share(share: Share) -> tuple[str, ...]:
    return share.name, f"{share.reference:.1%}", f"{share.calls:.1%}", f"{100 * share.change:+.1f} pp"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"

    return "\n".join([line(columns), "|" + " --- |" * len(columns), *(line(row) for row in rows)])


def _bars(axes: Any, shares: Sequence[Share], title: str) -> None:
    places = range(len(shares))
    axes.barh([p - 0.2 for p in places], [s.reference for s in shares], 0.4, color=_THEN, label="reference")
    axes.barh([p + 0.2 for p in places], [s.calls for s in shares], 0.4, color=_NOW, label="calls")
    axes.set_yticks(list(places), [share.name.replace("_", " ") for share in shares])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)

"""A sweep as one page: table, plots, weakest intents. Everything on it is about validation texts.

The same Markdown serves Prefect's artifact; the page in HTML needs no other file and no network.
"""

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from training.sweep import Trial, best_trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADINGS = ("trial", "changes", "accuracy", "95 %", "macro F1", "calibration", "epochs", "parameters", "s")
_STYLE = "body{font:15px sans-serif;margin:2em;max-width:75em}td,th{padding:.2em .8em;text-align:left}"


def rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """A row per trial, best first, failures last; cells as in `HEADINGS`."""
    scored = [(trial.accuracy, trial) for trial in trials if trial.accuracy is not None]
    scored.sort(key=lambda pair: (-pair[0].estimate, pair[1].parameters, pair[1].seconds))
    found = [
        (
            str(trial.number),
            trial.name,
            f"{accuracy.estimate:.2%}",
            f"{accuracy.low:.2%} to {accuracy.high:.2%}",
            f"{trial.macro_f1:.4f}",
            f"{trial.calibration_error:.4f}",
            str(trial.epochs),
            f"{trial.parameters:,}",
            f"{trial.seconds:.0f}",
        )
        for accuracy, trial in scored
    ]
    empty = ("",) * (len(HEADINGS) - 3)
    failed = [(str(t.number), t.name, f"failed: {t.failure[:200]}", *empty) for t in trials if t.failure]
    return found + failed


def markdown(trials: Sequence[Trial], source: str) -> str:
    """The page for Prefect."""
    best = best_trial(trials)
    return "\n\n".join(
        [
            f"# Sweep on {_cell(source)}\n\n{_summary(trials)}",
            _table(HEADINGS, rows(trials)),
            f"![accuracy, parameters, seconds, reliability](data:image/png;base64,{plots_base64(trials)})",
            f"## Weakest intents of trial {best.number}",
            _table(("intent", "texts", "F1"), _weakest(best)),
            _table(("meant", "answered", "texts"), _confused(best)),
        ]
    )


def page(trials: Sequence[Trial], source: str) -> str:
    """The page in HTML."""
    best = best_trial(trials)
    picture = f'<img alt="plots" src="data:image/png;base64,{plots_base64(trials)}">'
    parts = [
        f"<h1>Sweep on {html.escape(source)}</h1><p>{html.escape(_summary(trials))}</p>",
        _html_table(HEADINGS, rows(trials)),
        picture,
        f"<h2>Weakest intents of trial {best.number}</h2>",
        _html_table(("intent", "texts", "F1"), _weakest(best)),
        _html_table(("meant", "answered", "texts"), _confused(best)),
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sweep</title><style>{_STYLE}</style>'
    return head + "\n".join(parts) + "</html>\n"


def plots_base64(trials: Sequence[Trial]) -> str:
    """Accuracy over parameters and over seconds, and the best trial's reliability, as a PNG in base64."""
    out = io.BytesIO()
    _figure(trials).savefig(out, format="png", dpi=80)
    return base64.b64encode(out.getvalue()).decode()


def _figure(trials: Sequence[Trial]) -> "Figure":
    from matplotlib.figure import Figure

    scored = [(trial.accuracy, trial) for trial in trials if trial.accuracy is not None]
    accuracy = [own.estimate for own, _ in scored]
    bars = [[own.estimate - own.low for own, _ in scored], [own.high - own.estimate for own, _ in scored]]
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, values, what in (
        (left, [trial.parameters for _, trial in scored], "trained parameters"),
        (middle, [trial.seconds for _, trial in scored], "seconds"),
    ):
        axes.errorbar(values, accuracy, yerr=bars, fmt="o", capsize=3)
        for x, y, (_, trial) in zip(values, accuracy, scored, strict=True):
            axes.annotate(str(trial.number), (x, y), xytext=(5, 5), textcoords="offset points")
        axes.set(xlabel=what, ylabel="validation accuracy")
    best = best_trial(trials)
    right.plot([0, 1], [0, 1], linestyle=":", color="grey")
    bins = best.reliability
    right.plot([own.confidence for own in bins], [own.accuracy for own in bins], marker="o")
    right.set(xlabel="confidence", ylabel="share right", title=f"reliability of trial {best.number}")
    return figure


def _summary(trials: Sequence[Trial]) -> str:
    best = best_trial(trials)
    return (
        f"{len(trials)} trials. Best on validation: trial {best.number} ({best.name}). The best of many "
        "looks better than it is; no test text was scored."
    )


def _weakest(best: Trial) -> list[tuple[str, ...]]:
    return [(row.label, str(row.items), f"{row.f1:.2f}") for row in best.worst]


def _confused(best: Trial) -> list[tuple[str, ...]]:
    return [(pair.gold, pair.predicted, str(pair.items)) for pair in best.confusions]


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *([_cell(value) for value in row] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _html_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(value)}</th>" for value in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(v)}</td>" for v in row) + "</tr>" for row in cells)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())

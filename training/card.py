"""The model card of an adapter, generated from the numbers of its run and never typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.intents import IntentReport
from evaluation.statistics import Interval
from training.measure import SHOWN_INTENTS, Comparison

_LIMITS = (
    "English only; trained on short utterances as they are spoken to a bank's phone line. Longer texts are "
    "cut.",
    "It names an intent. It does not extract amounts, check identity or decide what the bank does.",
    "Out of scope is a threshold on energy, set on validation texts; other traffic than those needs it "
    "checked again.",
    "Accuracy on written test texts is not accuracy on recognised speech; recognition errors come on top.",
)


def render_card(
    name: str,
    base: str,
    dataset: Mapping[str, Any],
    recipe: Mapping[str, Any],
    training: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    hashes: Mapping[str, str],
) -> str:
    """The card as Markdown.

    Args:
        name: registered model's name.
        base: the encoder's name.
        dataset: source, sizes and notes on the data.
        recipe: the configuration.
        training: epochs, parameters, seconds and the like.
        comparisons: adapter beside baseline, a split each.
        hashes: what identifies data, base, labels and code.
    """
    parts = [
        f"# {name}",
        f"Intent adapter: LoRA and a linear head on the frozen encoder `{base}`. This card was generated "
        "by the training run.",
        "## Results",
        *(_results(comparison) for comparison in comparisons),
        "## Data",
        _table(("what", "value"), list(dataset.items())),
        "## Training",
        _table(("what", "value"), list(training.items())),
        "## Recipe",
        _table(("setting", "value"), list(recipe.items())),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _LIMITS),
        "## Identity",
        _table(("what", "sha256 or version"), list(hashes.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _results(comparison: Comparison) -> str:
    adapter, baseline = comparison.adapter, comparison.baseline
    rows = [
        ("accuracy", _interval(adapter.accuracy), _interval(baseline.accuracy)),
        ("macro F1", f"{adapter.macro_f1:.4f}", f"{baseline.macro_f1:.4f}"),
        (
            "expected calibration error",
            f"{adapter.calibration_error:.4f}",
            f"{baseline.calibration_error:.4f}",
        ),
    ]
    if adapter.out_of_scope and baseline.out_of_scope:
        ours, theirs = adapter.out_of_scope, baseline.out_of_scope
        rows += [
            ("out of scope turned away", _interval(ours.recall), _interval(theirs.recall)),
            (
                "in scope turned away",
                _interval(ours.in_scope_rejection),
                _interval(theirs.in_scope_rejection),
            ),
        ]
    difference = comparison.difference
    parts = [
        f"### {comparison.split}, {adapter.accuracy.items} texts",
        _table(("", "adapter", "frozen baseline"), rows),
        f"Adapter minus baseline: {difference.interval.estimate:+.4f} "
        f"[{difference.interval.low:+.4f}, {difference.interval.high:+.4f}], paired bootstrap; "
        f"{comparison.gained} texts gained, {comparison.lost} lost, McNemar p = {comparison.mcnemar_p:.3g}.",
    ]
    if comparison.split == "test":
        parts += [_worst(adapter), _confused(adapter)]
    return "\n\n".join(parts)


def _worst(report: IntentReport) -> str:
    rows = [
        (row.label, row.items, f"{row.recall:.2f}", f"{row.precision:.2f}", f"{row.f1:.2f}")
        for row in report.intents[:SHOWN_INTENTS]
    ]
    return "Weakest intents:\n\n" + _table(("intent", "texts", "recall", "precision", "F1"), rows)


def _confused(report: IntentReport) -> str:
    rows = [(row.gold, row.predicted, row.items) for row in report.confusions[:SHOWN_INTENTS]]
    if not rows:
        return "No confusions."
    return "Most frequent confusions:\n\n" + _table(("meant", "answered", "texts"), rows)


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return "\n".join([line(columns), "|" + " --- |" * len(columns), *(line(row) for row in rows)])


def _cell(value: object) -> str:
    """A value that cannot break the table: a source's name or a setting may hold anything."""
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(shown.replace("|", "\\|").split())

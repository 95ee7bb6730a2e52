"""Plots of a calibration: what a score means, and what a threshold costs."""

from typing import Any

from evaluation.cache_calibration import CalibrationReport
from evaluation.pages import INK, MUTED, Plot, drawn, percent_axis

_RIGHT, _WRONG = "#2f6fb3", "#b3472f"


def calibration_plots(report: CalibrationReport) -> dict[str, Plot]:
    """The plots by name."""
    return {
        "reliability": drawn(
            3.2,
            lambda axes: _reliability(axes, report),
            "Share of right answers by score, with exact intervals.",
        ),
        "thresholds": drawn(
            3.2,
            lambda axes: _thresholds(axes, report),
            "Served and wrong pairs by threshold; the line is the one chosen.",
        ),
    }


def _reliability(axes: Any, report: CalibrationReport) -> None:
    middles = [(item.low + item.high) / 2 for item in report.reliability]
    rights = [item.right for item in report.reliability]
    below = [right.estimate - right.low for right in rights]
    above = [right.high - right.estimate for right in rights]
    axes.errorbar(middles, [right.estimate for right in rights], yerr=[below, above], fmt="o", color=_RIGHT)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="a score that is a probability")
    axes.set_xlabel("score")
    axes.set_ylabel("right")
    axes.yaxis.set_major_formatter(percent_axis())


def _thresholds(axes: Any, report: CalibrationReport) -> None:
    thresholds = [threshold for threshold, _, _ in report.curve]
    axes.plot(thresholds, [served for _, served, _ in report.curve], color=_RIGHT, label="served")
    axes.plot(thresholds, [wrong for _, _, wrong in report.curve], color=_WRONG, label="of these wrong")
    pooled = report.calibration.pooled
    if pooled is not None:
        axes.axvline(pooled.threshold, color=INK, linewidth=1)
    axes.set_xlabel("threshold")
    axes.set_ylabel("pairs")

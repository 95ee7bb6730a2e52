"""Plots of an A/B comparison: the primary metric's interval over time, and the share of callers.

A plot shows what the page also says; it adds no number of its own.
"""

from datetime import datetime
from typing import Any

from evaluation.arms import ArmsReport, Ratio
from evaluation.pages import INK, MUTED, Plot, drawn, percent_axis

_CHALLENGER, _PLANNED = "#2f6fb3", "#d98e1f"


def arm_plots(report: ArmsReport) -> dict[str, Plot]:
    """The plots that there is data for, by name."""
    found: dict[str, Plot] = {}
    if report.looks:
        title = report.primary.metric.title
        found["primary"] = drawn(
            3.2,
            lambda axes: _primary(axes, report),
            f"{title}: challenger minus champion with its always-valid interval, by callers.",
        )
    if report.ratios[0].shares:
        found["ratio"] = drawn(
            2.4,
            lambda axes: _ratio(axes, report.ratios[0]),
            "The challenger's share of callers over time, beside the planned one.",
        )
    return found


def _primary(axes: Any, report: ArmsReport) -> None:
    callers = [look.callers for look in report.looks]
    axes.fill_between(
        callers,
        [look.low for look in report.looks],
        [look.high for look in report.looks],
        color=_CHALLENGER,
        alpha=0.22,
        linewidth=0,
        label="always-valid interval",
    )
    known = [(look.callers, look.difference) for look in report.looks if look.difference is not None]
    axes.plot(
        [size for size, _ in known],
        [difference for _, difference in known],
        color=_CHALLENGER,
        linewidth=2,
        label="challenger minus champion",
    )
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlabel(f"callers of both arms whose {report.primary.metric.title.lower()} is known, in order")
    if report.primary.metric.unit == "share":
        axes.yaxis.set_major_formatter(percent_axis())
    # The first callers' intervals fill the whole range; what comes after is what one wants to see.
    late = report.looks[len(report.looks) // 8 :]
    reach = 1.15 * max(max(abs(look.low), abs(look.high)) for look in late)
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0, callers[-1])
    axes.grid(axis="y")


def _ratio(axes: Any, ratio: Ratio) -> None:
    start = ratio.shares[0][0]
    days = [_days(start, at) for at, _ in ratio.shares]
    axes.plot(days, [share for _, share in ratio.shares], color=_CHALLENGER, linewidth=2, label="so far")
    axes.axhline(ratio.planned, color=_PLANNED, linewidth=1.6, label="planned")
    if ratio.alarm_at is not None:
        axes.axvline(_days(start, ratio.alarm_at), color="#c0482f", linewidth=1.6, label="alarm")
    axes.set_xlabel(f"days since {start:%Y-%m-%d %H:%M} UTC")
    axes.yaxis.set_major_formatter(percent_axis())
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.set_ylim(0, min(1.0, 2.5 * ratio.planned))
    axes.grid(axis="y")


def _days(start: datetime, at: datetime) -> float:
    return (at - start).total_seconds() / 86_400

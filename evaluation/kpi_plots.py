"""Plots of a KPI report as small SVG texts, each for light and for dark pages.

A plot shows what a table beside it also says; it adds no number of its own.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from evaluation.kpi import KpiReport, Slice
from evaluation.kpi_figures import Status
from evaluation.kpi_latency import ALL, Medium
from evaluation.pages import BAND, INK, MUTED, Plot, drawn, percent_axis

_MOST_INTENTS = 15
_DECISIONS = {
    "cache_hit": "#0f7b6c", "answer": "#2f6fb3", "tool": "#7a4fb5", "clarify": "#6aa6c8",
    "disclosure": "#7fb069", "control": "#94a0ae", "out_of_scope": "#c9b37e", "reprompt": "#d98e1f",
    "transfer": "#c0482f", "apology": "#8c2f4b",
}  # fmt: skip
_OUTCOMES = {
    "confirmed": "#0f7b6c", "unconfirmed": "#6aa6c8", "abandoned": "#d98e1f", "transferred": "#c0482f",
}  # fmt: skip
_ROW_NAMES = {ALL: "all turns"}
_LOOKUPS = {"hit": "#0f7b6c", "miss": "#d98e1f", "bypass": "#94a0ae"}
_CYCLE = (
    "#94a0ae", "#2f6fb3", "#6aa6c8", "#7a4fb5", "#0f7b6c", "#7fb069", "#d98e1f", "#c0482f", "#8c2f4b",
    "#c9b37e",
)  # fmt: skip
_P50: dict[str, Any] = {"color": INK, "linewidth": 2.2}
_P95: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (2, 1.5))}


def plots(report: KpiReport) -> dict[str, Plot]:
    """All plots that the report has data for, by name."""
    found: dict[str, Plot] = {}
    if report.days:
        found["containment"] = drawn(
            3.0,
            lambda axes: _containment(axes, report.days),
            "Raw and resolved containment of each day, with 95 % intervals.",
        )
        found["calls"] = drawn(
            2.6, lambda axes: _calls(axes, report.days), "Engaged calls of each day by outcome."
        )
    for medium in Medium:
        if report.latency.of(medium).items:
            found[f"waiting_{medium}"] = _waiting(report, medium)
        if any(row.medium is medium for row in report.latency.breakdown):
            found[f"stages_{medium}"] = _stages(report, medium)
    if report.cache:
        found["cache"] = drawn(
            _height(len(report.cache)),
            lambda axes: _cache(axes, report),
            "Turns by outcome and reason of the cache lookup.",
        )
    if report.intents:
        found["intents"] = drawn(
            _height(min(len(report.intents), _MOST_INTENTS)),
            lambda axes: _intents(axes, report.intents[:_MOST_INTENTS]),
            "What the bot decided, for each of the most frequent intents.",
        )
    return found


def _containment(axes: Any, days: Sequence[Slice]) -> None:
    series = (
        ("raw", "raw_containment", "#94a0ae", -0.12),
        ("resolved", "resolved_containment", "#0f7b6c", 0.12),
    )
    for name, attribute, colour, shift in series:
        points = [(_ordinal(day), getattr(day, attribute).interval) for day in days]
        known = [(x + shift, interval) for x, interval in points if interval is not None]
        middle = [interval.estimate for _, interval in known]
        reach = [
            [interval.estimate - interval.low for _, interval in known],
            [interval.high - interval.estimate for _, interval in known],
        ]
        axes.errorbar(
            [x for x, _ in known], middle, yerr=reach, fmt="o", markersize=5, color=colour, linewidth=1.6,
            label=name,
        )  # fmt: skip
    waiting = [_ordinal(day) for day in days if day.resolved_containment.status is Status.NOT_MATURE]
    if waiting:
        axes.axvspan(min(waiting) - 0.5, max(waiting) + 0.5, color=BAND, linewidth=0, label="not mature")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(percent_axis())
    axes.grid(axis="y")
    _date_axis(axes, days)


def _calls(axes: Any, days: Sequence[Slice]) -> None:
    base = [0] * len(days)
    for outcome, colour in _OUTCOMES.items():
        counts = [day.outcomes[outcome] for day in days]
        axes.bar([_ordinal(day) for day in days], counts, 0.72, bottom=base, color=colour, label=outcome)
        base = [low + count for low, count in zip(base, counts, strict=True)]
    axes.set_ylabel("calls")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")
    _date_axis(axes, days)


def _waiting(report: KpiReport, medium: Medium) -> Plot:
    rows = [row for row in report.latency.waiting if row.medium is medium]
    longest = max(row.seconds.p99 or 0.0 for row in rows)
    scale, unit = _time_unit(longest)

    def draw(axes: Any) -> None:
        for place, row in enumerate(rows):
            times = [scale * seconds for seconds in row.seconds.curve]
            # Multiples of the golden ratio spread dots evenly without chance.
            spread = [place + 0.26 * (((step * 0.618034) % 1) * 2 - 1) for step in range(len(times))]
            axes.scatter(times, spread, s=11, color=_colour(row.decision), alpha=0.55, linewidths=0)
            _tick(axes, place, scale * (row.seconds.p50 or 0.0), _P50)
            if "p95" not in row.seconds.few:
                _tick(axes, place, scale * (row.seconds.p95 or 0.0), _P95)
        axes.plot([], [], label="p50", **_P50)
        axes.plot([], [], label="p95 (where turns are enough)", **_P95)
        _rows(axes, [_ROW_NAMES.get(row.decision, row.decision) for row in rows])
        axes.set_xlim(0, 1.05 * scale * longest or 1)
        axes.set_xlabel(f"{unit}; the slowest hundredth may lie outside")

    return drawn(_height(len(rows)), draw, f"Waiting times of {medium} turns by decision, with p50 and p95.")


def _stages(report: KpiReport, medium: Medium) -> Plot:
    rows = [row for row in report.latency.breakdown if row.medium is medium]
    names = [row.stage for row in report.latency.stages if row.medium is medium]
    scale, unit = _time_unit(max(row.total_s for row in rows))

    def draw(axes: Any) -> None:
        left = [0.0] * len(rows)
        for place, name in enumerate(names):
            widths = [scale * dict(row.stages).get(name, 0.0) for row in rows]
            colour = _CYCLE[place % len(_CYCLE)]
            axes.barh(range(len(rows)), widths, 0.66, left=left, color=colour, label=_words(name))
            left = [start + width for start, width in zip(left, widths, strict=True)]
        _rows(axes, [_ROW_NAMES.get(row.decision, row.decision) for row in rows])
        axes.set_xlim(0, 1.03 * max(left) or 1)
        axes.set_xlabel(f"mean {unit}; a bar is the mean wait of its turns")

    return drawn(_height(len(rows)), draw, f"Where the mean wait of {medium} turns goes, stage by stage.")


def _cache(axes: Any, report: KpiReport) -> None:
    for outcome in dict.fromkeys(row.outcome for row in report.cache):
        rows = [(place, row.turns) for place, row in enumerate(report.cache) if row.outcome == outcome]
        axes.barh(
            [place for place, _ in rows], [turns for _, turns in rows], 0.66,
            color=_LOOKUPS.get(outcome, MUTED), label=_words(outcome),
        )  # fmt: skip
    _rows(axes, [row.reason for row in report.cache])
    axes.set_xlabel("turns")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _intents(axes: Any, intents: Sequence[Slice]) -> None:
    left = [0] * len(intents)
    for decision, colour in _DECISIONS.items():
        counts = [item.decisions.get(decision, 0) for item in intents]
        if any(counts):
            axes.barh(range(len(intents)), counts, 0.7, left=left, color=colour, label=_words(decision))
        left = [start + count for start, count in zip(left, counts, strict=True)]
    _rows(axes, [item.name for item in intents])
    axes.set_xlabel("turns")
    axes.xaxis.get_major_locator().set_params(integer=True)


def _rows(axes: Any, names: Sequence[str]) -> None:
    labels = [_words(name) for name in names]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _date_axis(axes: Any, days: Sequence[Slice]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    first, last = _ordinal(days[0]), _ordinal(days[-1])
    axes.set_xlim(first - 0.6, last + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(min(10, last - first + 1), integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_day_label))
    if first == last:
        axes.set_xlim(first - 3, last + 3)
        axes.set_xticks([first])


def _day_label(value: float, _position: int) -> str:
    day = date(1970, 1, 1) + timedelta(days=round(value))
    return f"{day:%b} {day.day}"


def _ordinal(day: Slice) -> int:
    return (date.fromisoformat(day.name) - date(1970, 1, 1)).days


def _tick(axes: Any, place: int, at: float, style: dict[str, Any]) -> None:
    axes.plot([at, at], [place - 0.36, place + 0.36], **style)


def _time_unit(longest_s: float) -> tuple[float, str]:
    return (1000.0, "milliseconds") if longest_s < 1 else (1.0, "seconds")


def _colour(decision: str) -> str:
    return MUTED if decision == ALL else _DECISIONS.get(decision, MUTED)


def _height(rows: int) -> float:
    return 1.15 + 0.33 * rows


def _words(name: str) -> str:
    """A label that any font can draw, short enough for a margin."""
    plain = "".join(mark if mark.isascii() and mark.isprintable() else "?" for mark in name)
    words = plain.replace("_", " ")
    return words if len(words) <= 38 else f"{words[:37]}."

"""Writes a KPI report: one self-contained HTML page, and CSV files for those who calculate on.

The page is a pure function of the report; it loads nothing from anywhere, runs no script and escapes
every text. Files are written beside their place and renamed, the page last, so that a reader never
sees half of one.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.kpi import KpiReport
from evaluation.kpi_definitions import GROUPS, Definition, definitions, general
from evaluation.kpi_figures import Mean, Percentiles, Rate, Status
from evaluation.kpi_latency import ALL, Medium
from evaluation.kpi_plots import plots
from evaluation.kpi_tables import Table, call_table, figure_table, turn_table
from evaluation.pages import page_templates
from serving.call.record import CallRecord
from serving.errors import InvalidInputError, UnavailableError

PAGE, FIGURES, CALLS, TURNS = "kpis.html", "kpis.csv", "calls.csv", "turns.csv"


@dataclass(frozen=True, slots=True)
class KpiFiles:
    """Where a report was written."""

    page: Path
    figures: Path
    calls: Path
    turns: Path


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure as the page shows it.

    Attributes:
        value: the figure, or why there is none.
        stated: whether `value` is a figure.
        interval: its interval in words; empty where it has none.
        counted: what it rests on.
        response: its response rate in words; empty where it rests on no answers.
        bar: low, estimate and high in percent of the bar's width; None without an interval.
        few: rests on too little.
    """

    definition: Definition
    value: str
    stated: bool
    interval: str = ""
    counted: str = ""
    response: str = ""
    bar: tuple[float, float, float] | None = None
    few: bool = False


def write_kpi_report(
    report: KpiReport, calls: Sequence[CallRecord], folder: Path, *, title: str = "Phone agent"
) -> KpiFiles:
    """Write page and CSV files into a folder; what else lies there stays.

    Args:
        report: figures to show.
        calls: the records that the report was made from.
        folder: made where missing; files of an earlier report are replaced.
        title: whose calls these are, such as the bank's name.

    Raises:
        InvalidInputError: the folder is a file.
        UnavailableError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file; a report needs a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".kpi-", dir=folder))
        try:
            _write_csv(draft / FIGURES, figure_table(report))
            _write_csv(draft / CALLS, call_table(report, calls))
            _write_csv(draft / TURNS, turn_table(report, calls))
            page = render_page(report, title=title)
            (draft / PAGE).write_text(page, encoding="utf-8", errors="replace")
            for name in (FIGURES, CALLS, TURNS, PAGE):
                (draft / name).replace(folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UnavailableError(
            f"The report cannot be written to {folder}: {error.strerror}.",
            advice="Check the folder's permissions and the free space.",
        ) from error
    return KpiFiles(folder / PAGE, folder / FIGURES, folder / CALLS, folder / TURNS)


def render_page(report: KpiReport, *, title: str = "Phone agent") -> str:
    """The whole page as HTML."""
    pages = page_templates()
    pages.filters |= {"percent": percent, "seconds": seconds, "words": _words, "span": _interval_words}
    return pages.get_template("kpi.html").render(
        title=title,
        report=report,
        groups=[(group, cards(report, group)) for group in GROUPS],
        plots=plots(report),
        media=[medium for medium in Medium if report.latency.of(medium).items],
        all=ALL,
        stages=_stage_names(report),
        general=general(report.maturity_days),
        definitions=definitions(report.maturity_days),
        notes=notes(report),
        files=(FIGURES, CALLS, TURNS),
    )


def cards(report: KpiReport, group: str) -> list[Card]:
    """Headline figures of a group; typed ones only where there were typed calls or turns."""
    found = []
    for item in definitions(report.maturity_days):
        if item.group != group:
            continue
        if item.key in report.rates:
            found.append(_rate_card(item, report.rates[item.key]))
        elif item.key in report.means:
            if report.means[item.key].items or not item.key.startswith("typed"):
                found.append(_mean_card(item, report.means[item.key]))
        else:
            medium = Medium.SPOKEN if item.key == "voice_to_voice" else Medium.TYPED
            if report.latency.of(medium).items or medium is Medium.SPOKEN:
                found.append(_waiting_card(item, report.latency.of(medium)))
    return found


def notes(report: KpiReport) -> list[str]:
    """What a reader must know before trusting the figures."""
    found = []
    if report.not_mature:
        found.append(
            f"{_count(report.not_mature, 'call is', 'calls are')} not mature: younger than "
            f"{report.maturity_days:g} days, so callers may still come back. They are in neither side of "
            "resolved containment and first contact resolution."
        )
    if report.untraceable:
        found.append(
            f"{_count(report.untraceable, 'call carries', 'calls carry')} no caller hash and cannot be "
            "followed up; resolved containment and first contact resolution leave them out."
        )
    if report.open_calls:
        found.append(
            f"{_count(report.open_calls, 'call has', 'calls have')} no recorded end: still going on, or lost."
        )
    if report.latency.unheard:
        found.append(f"{_count(report.latency.unheard, 'turn', 'turns')} ended before any sound was played.")
    if report.latency.uneven:
        found.append(
            f"The stages of {_count(report.latency.uneven, 'turn', 'turns')} do not add up to the waiting "
            "time; the stage breakdown leaves them out."
        )
    found += [f"Left out as unusable: {what} ({count})." for what, count in report.ignored.items()]
    return found


def percent(value: float | None) -> str:
    """A share in percent with one decimal; figure and sign stay on one line."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def seconds(value: float | None) -> str:
    """A time: milliseconds below a second, minutes from 100 seconds on."""
    if value is None:
        return "–"
    if 0 < value < 0.0005:
        return "<1 ms"
    if value < 0.9995:
        return f"{1000 * value:.0f} ms"
    if value < 99.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02d} min"


def _rate_card(item: Definition, rate: Rate) -> Card:
    response = ""
    if rate.response and rate.response.denominator and item.asked:
        answers = f"{rate.response.numerator:,} of {rate.response.denominator:,}"
        response = f"{item.answer}: {answers} ({percent(rate.response.value)})"
    if rate.interval is None:
        return Card(item, rate.status.value, stated=False, response=response)
    interval = rate.interval
    return Card(
        item,
        percent(rate.value),
        stated=True,
        interval=_interval_words(rate),
        counted=f"{rate.numerator:,} of {rate.denominator:,} {item.unit}",
        response=response,
        bar=(100 * interval.low, 100 * interval.estimate, 100 * interval.high),
        few=rate.few,
    )


def _mean_card(item: Definition, mean: Mean) -> Card:
    if mean.seconds is None:
        return Card(item, Status.NO_DATA.value, stated=False)
    interval = f"{seconds(mean.interval.low)} to {seconds(mean.interval.high)}" if mean.interval else ""
    counted = _count(mean.items, "call", "calls")
    return Card(item, seconds(mean.seconds), stated=True, interval=interval, counted=counted, few=mean.few)


def _waiting_card(item: Definition, found: Percentiles) -> Card:
    if not found.items:
        return Card(item, Status.NO_DATA.value, stated=False)
    tail = " · ".join(
        f"{name} {seconds(getattr(found, name))}{'*' if name in found.few else ''}"
        for name in ("p90", "p95", "p99")
    )
    counted = f"{tail} · {_count(found.items, 'turn', 'turns')}"
    return Card(item, f"p50 {seconds(found.p50)}", stated=True, counted=counted, few="p50" in found.few)


def _interval_words(rate: Rate) -> str:
    if rate.interval is None:
        return ""
    return f"{100 * rate.interval.low:.1f} to {percent(rate.interval.high)}"


def _stage_names(report: KpiReport) -> Mapping[Medium, list[str]]:
    return {medium: [row.stage for row in report.latency.stages if row.medium is medium] for medium in Medium}


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _write_csv(path: Path, table: Table) -> None:
    import pandas as pd

    frame = pd.DataFrame(table.rows, columns=list(table.columns))
    frame.to_csv(path, index=False, lineterminator="\n")

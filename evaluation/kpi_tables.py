"""Rows of the CSV files beside a KPI page: all figures, all calls, all turns.

Nothing that a caller said, nobody's hash and no typed value goes into these files: an export travels
further than the database. Text that a spreadsheet would run as a formula is defused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.kpi import KpiReport, Slice
from evaluation.kpi_contacts import ended, engaged, in_window, outcome
from evaluation.kpi_definitions import definitions
from evaluation.kpi_figures import PERCENTILES, Mean, Percentiles, Rate, Status
from evaluation.kpi_latency import ALL, Medium
from serving.call.record import CallRecord, TurnRecord

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of one file; the columns hold also without rows."""

    columns: tuple[str, ...]
    rows: list[Row]


FIGURE_COLUMNS = (
    "scope", "name", "figure", "status", "value", "unit", "low", "high", "level", "numerator", "denominator",
    "few", "answered", "asked", "definition",
)  # fmt: skip
_SLICE_RATES = ("raw_containment", "resolved_containment", "hit_rate", "reprompt_rate", "csat")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def figure_table(report: KpiReport) -> Table:
    """Every figure of a report, one a row.

    `scope` says what the figure is of (`all`, `day`, `adapter`, `arm`, `intent`, `decision`, `stage`,
    `tool`), `name` which one. Times are seconds, shares 0 to 1.
    """
    meaning = {item.key: item.meaning for item in definitions(report.maturity_days)}
    rows: list[Row] = []
    for key, rate in report.rates.items():
        rows.append(_rate_row(ALL, "", key, rate) | {"definition": meaning[key]})
    for key, mean in report.means.items():
        rows.append(_mean_row(key, mean) | {"definition": meaning[key]})
    by_scope = {
        "day": report.days,
        "adapter": report.adapters,
        "arm": report.arms,
        "intent": report.intents,
    }
    for scope, slices in by_scope.items():
        for item in slices:
            rows += _slice_rows(scope, item)
    for wait in report.latency.waiting:
        figure = "voice_to_voice" if wait.medium is Medium.SPOKEN else "response_time"
        scope = ALL if wait.decision == ALL else "decision"
        name = "" if wait.decision == ALL else wait.decision
        rows += [
            row | {"definition": meaning[figure]}
            for row in _percentile_rows(scope, name, figure, wait.seconds)
        ]
    for stage in report.latency.stages:
        rows += _percentile_rows("stage", stage.stage, f"{stage.medium}_stage", stage.seconds)
    for tool in report.tools:
        rows.append(_count_row("tool", tool.name, "runs", tool.runs))
        rows.append(_count_row("tool", tool.name, "failed", tool.failed))
        rows += _percentile_rows("tool", tool.name, "tool_time", tool.seconds)
    return Table(
        FIGURE_COLUMNS, [{column: _safe(row.get(column)) for column in FIGURE_COLUMNS} for row in rows]
    )


def call_table(report: KpiReport, calls: Iterable[CallRecord]) -> Table:
    """The calls of the report's period, one a row, without the caller."""
    return _table(_CALL, _period(report, calls))


def turn_table(report: KpiReport, calls: Iterable[CallRecord]) -> Table:
    """The turns of the report's period, one a row, without what was said; stages as columns."""
    turns = [turn for call in _period(report, calls) for turn in call.turns]
    stages = dict.fromkeys(stage for turn in turns for stage in turn.stages)
    return _table(_TURN | {f"stage_{stage}_s": _stage(stage) for stage in stages}, turns)


def _period(report: KpiReport, calls: Iterable[CallRecord]) -> list[CallRecord]:
    known = [call for call in calls if call.started_at <= report.now]
    return sorted(
        in_window(known, report.since, report.until), key=lambda call: (call.started_at, call.call_id)
    )


def _slice_rows(scope: str, item: Slice) -> Iterator[Row]:
    yield _count_row(scope, item.name, "calls", item.calls)
    yield _count_row(scope, item.name, "turns", item.turns)
    for ending, count in item.outcomes.items():
        yield _count_row(scope, item.name, f"outcome_{ending}", count)
    for decision, count in item.decisions.items():
        yield _count_row(scope, item.name, f"decision_{decision}", count)
    for key in _SLICE_RATES:
        yield _rate_row(scope, item.name, key, getattr(item, key))
    yield from _percentile_rows(scope, item.name, "voice_to_voice", item.voice_to_voice)


def _rate_row(scope: str, name: str, figure: str, rate: Rate) -> Row:
    row: Row = {"scope": scope, "name": name, "figure": figure, "status": rate.status.value, "unit": "share"}
    if rate.interval:
        row |= {"value": rate.value, "low": rate.interval.low, "high": rate.interval.high}
        row |= {"level": rate.interval.level, "few": rate.few}
        row |= {"numerator": rate.numerator, "denominator": rate.denominator}
    if rate.response:
        row |= {"answered": rate.response.numerator, "asked": rate.response.denominator}
    return row


def _mean_row(figure: str, mean: Mean) -> Row:
    status = Status.NO_DATA if mean.seconds is None else Status.MEASURED
    row: Row = {"scope": ALL, "name": "", "figure": figure, "status": status.value, "unit": "s"}
    row |= {"value": mean.seconds, "denominator": mean.items, "few": mean.few}
    if mean.interval:
        row |= {"low": mean.interval.low, "high": mean.interval.high, "level": mean.interval.level}
    return row


def _percentile_rows(scope: str, name: str, figure: str, seconds: Percentiles) -> Iterator[Row]:
    for percentile in PERCENTILES if seconds.items else ():
        yield {
            "scope": scope,
            "name": name,
            "figure": f"{figure}_{percentile}",
            "status": Status.MEASURED.value,
            "value": getattr(seconds, percentile),
            "unit": "s",
            "denominator": seconds.items,
            "few": percentile in seconds.few,
        }


def _count_row(scope: str, name: str, figure: str, count: int) -> Row:
    status = Status.MEASURED.value
    return {"scope": scope, "name": name, "figure": figure, "status": status, "value": count, "unit": "count"}


def _outcome(call: CallRecord) -> str:
    return outcome(call).value if ended(call) and engaged(call) else ""


def _intents(call: CallRecord) -> str:
    return " ".join(sorted({turn.intent for turn in call.turns if turn.intent and turn.in_scope}))


def _stage(name: str) -> Callable[[TurnRecord], Any]:
    return lambda turn: turn.stages.get(name)


_CALL: dict[str, Callable[[CallRecord], Any]] = {
    "call_id": lambda call: call.call_id,
    "started_at": lambda call: call.started_at.isoformat(),
    "transport": lambda call: call.transport,
    "script": lambda call: call.script,
    "adapter": lambda call: call.adapter,
    "cache_scope": lambda call: call.cache_scope,
    "stt": lambda call: call.engines.get("stt", ""),
    "tts": lambda call: call.engines.get("tts", ""),
    "llm": lambda call: call.engines.get("llm", ""),
    "caller_known": lambda call: bool(call.caller),
    "ending": lambda call: call.ending.value if call.ending else "",
    "outcome": _outcome,
    "intents": _intents,
    "confirmed": lambda call: call.confirmed,
    "survey": lambda call: call.survey,
    "duration_s": lambda call: call.duration_s,
    "speech_s": lambda call: call.talk_s,
    "turns": lambda call: len(call.turns),
}
_TURN: dict[str, Callable[[TurnRecord], Any]] = {
    "call_id": lambda turn: turn.call_id,
    "turn": lambda turn: turn.index,
    "started_at": lambda turn: turn.started_at.isoformat(),
    "decision": lambda turn: turn.decision.value,
    "intent": lambda turn: turn.intent,
    "intent_probability": lambda turn: turn.intent_probability,
    "in_scope": lambda turn: turn.in_scope,
    "intent_version": lambda turn: turn.intent_version,
    "stt_engine": lambda turn: turn.stt_engine,
    "llm_engine": lambda turn: turn.llm_engine,
    "confidence": lambda turn: turn.confidence,
    "audio_s": lambda turn: turn.audio_s,
    "reply_s": lambda turn: turn.reply_s,
    "interrupted": lambda turn: turn.interrupted,
    "cache_outcome": lambda turn: turn.cache.outcome if turn.cache else "",
    "cache_reason": lambda turn: turn.cache.reason if turn.cache else "",
    "cache_similarity": lambda turn: turn.cache.similarity if turn.cache else None,
    "tools": lambda turn: " ".join(tool.name for tool in turn.tools),
    "tools_failed": lambda turn: sum(not tool.ok for tool in turn.tools),
    "disclosures": lambda turn: " ".join(turn.disclosures),
    "error": lambda turn: turn.error,
    "voice_to_voice_s": lambda turn: turn.voice_to_voice_s,
}


def _table(columns: Mapping[str, Callable[[Any], Any]], items: Iterable[Any]) -> Table:
    rows = [{name: _safe(read(item)) for name, read in columns.items()} for item in items]
    return Table(tuple(columns), rows)


def _safe(value: Any) -> Any:
    """Text that any reader can decode, with a quote in front where a spreadsheet would run it."""
    if not isinstance(value, str):
        return value
    text = value if value.isascii() else value.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text

"""How `adapter-control split` shows a split: its arms, the calls of each, and the guardrail's findings."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serving.cli.adapter_options import warn
from serving.cli.console import print_table, rich_console
from serving.errors import VoicebotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.arms.guardrail import Finding
    from serving.arms.split import Split
    from serving.call.store import CallStore
    from serving.settings import Settings

_FEWEST_TURNS = 100
"""Turns from which the champion's 95th percentile is taken; with fewer, `Guard` says what is slow."""
_HEARD_S = 0.2
"""Below this nobody on a line hears a wait, so it is no harm however sure it is, seconds."""
_DAYS, _MOST_CALLS = 7, 1_000
"""How far back, and how many calls at most, are looked at for it."""
_COLUMNS = ("harm", "challenger", "champion", "difference", "margin", "halts")


def show_split(settings: "Settings", split: "Split") -> None:
    """A split with what its ended calls came to."""
    shares = ", ".join(f"{share.percent} % since {share.since:%Y-%m-%d %H:%M:%S}" for share in split.shares)
    rows: list[tuple[str, object]] = [
        ("challenger", split.challenger),
        ("champion", split.champion),
        ("challenger's share", shares),
        ("decided by", split.primary),
        ("started by", split.by),
        ("why", split.why),
        ("runs", "yes" if split.running else "no"),
    ]
    if split.ended_at is not None:
        rows += [
            ("ended", f"{split.ended_at:%Y-%m-%d %H:%M:%S}"),
            ("ended by", split.ended_by),
            ("because", split.ended_why),
        ]
    print_table(f"Split {split.id} of {split.model} (UTC)", ("what", "value"), rows)
    at = " under the newest share" if len(split.shares) > 1 else ""
    print_table(
        f"Callers' first calls{at}, and what the guardrail finds",
        _COLUMNS,
        [_row(finding) for finding in findings_of(settings, split)],
    )
    rich_console().print(
        f"A slow turn is thought about for more than {split.guard.slow_s:.3g} s. Differences are "
        f"always-valid intervals; together they are wrong with probability {split.guard.alpha:g} at most.",
        markup=False,
        soft_wrap=True,
    )


def split_document(settings: "Settings", split: "Split | None") -> dict[str, Any]:
    """The same as plain values."""
    if split is None:
        return {"split": None, "running": False, "percent": 0, "findings": []}
    return _document(split, findings_of(settings, split))


def changed_document(settings: "Settings", split: "Split | None") -> dict[str, Any]:
    """The same of a split that was just changed, which stays true where its calls cannot be counted."""
    try:
        return split_document(settings, split)
    except VoicebotError as error:
        assert split is not None
        warn(f"The change is made, but the calls so far cannot be counted: {error}")
        return _document(split, ())


def _document(split: "Split", found: "Sequence[Finding]") -> dict[str, Any]:
    findings = [
        {"harm": item.harm, "challenger": item.challenger, "champion": item.champion,
         "low": item.low, "high": item.high, "margin": item.margin, "broken": item.broken}
        for item in found
    ]  # fmt: skip
    return {"split": split, "running": split.running, "percent": split.percent, "findings": findings}


def findings_of(settings: "Settings", split: "Split") -> "tuple[Finding, ...]":
    """What the guardrail finds in the records of this home."""
    from serving.arms.guardrail import Tally, judge
    from serving.call.split_tally import SplitTally

    records = open_records(settings)
    if records is None:
        return judge(Tally(), split.guard)
    try:
        counted = SplitTally(split, records)
        counted.update()
    finally:
        records.close()
    return counted.findings()


def slow_limit(settings: "Settings", champion: str) -> float:
    """What counts as a slow turn, seconds: the 95th percentile of the champion's own of the last days.

    With too few turns on record it is what `Guard` says, and never less than a caller notices.
    """
    import numpy as np

    from serving.arms.guardrail import Guard
    from serving.call.arms import thought_s

    records = open_records(settings)
    if records is None:
        return Guard().slow_s
    try:
        calls = records.calls(since=datetime.now(UTC) - timedelta(days=_DAYS), limit=_MOST_CALLS)
    finally:
        records.close()
    times = [thought_s(turn) for call in calls if call.adapter == champion for turn in call.turns]
    if len(times) < _FEWEST_TURNS:
        return Guard().slow_s
    return round(max(_HEARD_S, float(np.quantile(times, 0.95))), 3)


def open_records(settings: "Settings") -> "CallStore | None":
    """The call records; None where this home has none yet, and none are made by looking."""
    from serving.call.store import CallStore

    if settings.database_url is None and not (settings.home / "calls.db").exists():
        return None
    return CallStore(settings.records_url)


def _row(item: "Finding") -> tuple[object, ...]:
    known = item.champion.trials and item.challenger.trials
    return (
        item.harm.value,
        f"{item.challenger.successes} of {item.challenger.trials}",
        f"{item.champion.successes} of {item.champion.trials}",
        f"{100 * item.low:+.1f} to {100 * item.high:+.1f} pp" if known else "–",
        f"{100 * item.margin:g} pp",
        "YES" if item.broken else "no",
    )

"""`voicebot compare-arms`: the calls of a split, judged, as a page, a table and JSON."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evaluation.arm_calls import observe, stretch_of
from evaluation.arm_report import document, ratio_words, rows, sentence, write_arms_report
from evaluation.arms import ArmsReport, Stretch, Verdict, compare_arms
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import SPLIT
from serving.adapters.splitting import read_split
from serving.arms.split import PrimaryMetric, Split, split_of
from serving.call.record import CallRecord
from serving.cli.console import print_table, rich_console
from serving.cli.split_views import open_records
from serving.errors import InvalidInputError, MissingError
from serving.settings import Settings

CARRY_OVER_DAYS = 30
"""Who was seen under another split or share so long before a comparison is kept out of it."""
MATURITY_DAYS = 7
"""Time in which a caller may come back about the same matter."""
COLUMNS = ("metric", "champion", "challenger", "difference", "always-valid interval", "challenger is")


@dataclass(frozen=True, slots=True)
class ArmsRequest:
    """What to compare.

    Attributes:
        name: registered model whose split it is.
        split: id; empty: the model's newest split.
        share: planned share of the challenger, for a split that the registry does not know; None: the
            registry's.
        since: only callers from then on; None: from the newest share on.
        primary: metric that decides a split that the registry does not know; of any other split that was
            said when it began.
        alpha: chance of ever being wrong about it.
    """

    name: str = "banking-lora"
    split: str = ""
    share: float | None = None
    since: datetime | None = None
    primary: str = ""
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found and where it is written."""

    report: ArmsReport
    page: Path

    @property
    def negative(self) -> bool:
        """Whether the challenger is worse, or nothing may be concluded."""
        return self.report.verdict in {Verdict.WORSE, Verdict.REFUSED}

    def summary(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return document(self.report) | {"sentence": sentence(self.report), "page": str(self.page)}


def compare(settings: Settings, request: ArmsRequest, out: Path | None = None) -> Comparison:
    """Compare the arms of a split and write the page.

    Args:
        settings: the installation.
        request: what to compare.
        out: folder of the page; None: in `home/reports/arms`.

    Raises:
        MissingError: no such split, or no call of it.
        InvalidInputError: no such metric, or another than was named when the split began; a share or an
            alpha that is none, a time without a zone.
        UnavailableError: records, registry or folder are out of reach.
    """
    now = datetime.now(UTC)
    stretch, primary = asked_for(settings, request)
    earliest = stretch.since - timedelta(days=CARRY_OVER_DAYS) if stretch.since else None
    observed = observe(_calls(settings, earliest), stretch, now=now, maturity_days=MATURITY_DAYS)
    found = compare_arms(observed, stretch, now=now, primary=primary, alpha=request.alpha)
    folder = out or settings.home / "reports" / "arms"
    return Comparison(found, write_arms_report(found, folder, title=settings.bank_name))


def asked_for(settings: Settings, request: ArmsRequest) -> tuple[Stretch, str]:
    """The time and the share that a request is about, and the metric that decides.

    Raises:
        MissingError: the registry knows no such split and no share was given.
        InvalidInputError: a share without a split, a time without a zone, or a metric that was not named
            when the split began.
    """
    if request.since is not None and request.since.tzinfo is None:
        raise InvalidInputError("The start of a comparison needs a zone.", advice="Give times in UTC.")
    if request.share is not None:
        if not request.split:
            raise InvalidInputError("A share was given without its split.", advice="Give --split, too.")
        primary = request.primary or PrimaryMetric.RESOLVED_CONTAINMENT
        return Stretch(request.split, request.share, request.since), primary
    split = _split(settings, request)
    if request.primary not in {"", split.primary}:
        raise InvalidInputError(
            f"The split {split.id} is decided by {split.primary}, which was named before its first call.",
            advice="Leave --primary out; the other metrics are shown beside it.",
        )
    stretch = stretch_of(split)
    starts = [moment for moment in (stretch.since, request.since) if moment is not None]
    return Stretch(stretch.split, stretch.share, max(starts), stretch.until), split.primary


def show_comparison(found: Comparison) -> None:
    """Print the comparison for people."""
    report = found.report
    print_table(f"Split {report.stretch.split}: {report.verdict}", COLUMNS, rows(report))
    console = rich_console()
    apart = [f"{count:,} {reason}" for reason, count in report.apart.items()]
    lines = [sentence(report), *(ratio_words(ratio) for ratio in report.ratios)]
    lines += [f"Kept apart: {'; '.join(apart)}"] if apart else []
    for line in [*lines, f"Page: {found.page}"]:
        console.print(line, markup=False, soft_wrap=True)


def _calls(settings: Settings, since: datetime | None) -> list[CallRecord]:
    """Calls on record; looking makes no database."""
    records = open_records(settings)
    if records is None:
        return []
    try:
        return records.calls(since=since)
    finally:
        records.close()


def _split(settings: Settings, request: ArmsRequest) -> Split:
    """The newest split of the model, or an older one as the audit has it."""
    registry = AdapterRegistry.from_settings(settings)
    newest = read_split(registry, request.name)
    if newest is not None and request.split in {"", newest.id}:
        return newest
    if request.split:
        for entry in reversed(registry.history(request.name)):
            text = entry.act.evidence.get(SPLIT, "")
            if text and (old := split_of(text)).id == request.split:
                return old
    what = f"no split {request.split[:64]!r}" if request.split else "no split"
    raise MissingError(
        f"{request.name} has {what} on record.",
        advice="`adapter-control split` shows the newest; of an unknown one give --split and --share.",
    )

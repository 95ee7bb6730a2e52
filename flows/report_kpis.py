"""Flow report-kpis: call records → KPIs → one HTML page with plots, CSV files, an MLflow run.

python -m flows.report_kpis
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.settings import Settings

MATURITY_DAYS = 7
"""Time in which a caller may come back about the same matter (design §7)."""


@dataclass(frozen=True, slots=True)
class KpiOutcome:
    """What the flow leaves.

    Attributes:
        page: the HTML page.
        figures: rates by name; None where a rate cannot be stated yet.
        typed_ms: p50 and p95 of typed turns in milliseconds; None without such turns.
        spoken_ms: the same of spoken turns.
    """

    calls: int
    turns: int
    page: Path
    figures: dict[str, float | None]
    typed_ms: tuple[float, float] | None
    spoken_ms: tuple[float, float] | None


@task(cache_policy=NO_CACHE)
def make_report(window_days: int) -> KpiOutcome:
    """Compute the KPIs of the window and write the page and the CSV files."""
    from evaluation.kpi import kpis
    from evaluation.kpi_figures import Percentiles
    from evaluation.kpi_latency import Medium
    from evaluation.kpi_report import write_kpi_report
    from serving.call.store import CallStore

    settings = Settings.load()
    now = datetime.now(UTC)
    since = now - timedelta(days=window_days)
    # Calls from before the window tell who came back; nobody is asked for longer than the maturity.
    calls = CallStore(settings.records_url).calls(since=since - timedelta(days=MATURITY_DAYS))
    found = kpis(calls, now=now, since=since, maturity_days=MATURITY_DAYS)
    files = write_kpi_report(found, calls, settings.home / "reports" / "kpi", title=settings.bank_name)
    report("report", 1, 1, f"{found.connected} calls → {files.page}")

    def pair(waiting: Percentiles) -> tuple[float, float] | None:
        if waiting.p50 is None or waiting.p95 is None:
            return None
        return waiting.p50 * 1_000, waiting.p95 * 1_000

    return KpiOutcome(
        calls=found.connected,
        turns=found.turns,
        page=files.page,
        figures={name: rate.value for name, rate in found.rates.items()},
        typed_ms=pair(found.latency.of(Medium.TYPED)),
        spoken_ms=pair(found.latency.of(Medium.SPOKEN)),
    )


@task(cache_policy=NO_CACHE)
def log_report(outcome: KpiOutcome) -> None:
    """Log the figures and the page as an MLflow run."""
    finished = f"The KPI page {outcome.page} is written"
    with tracked_run(Settings.load(), Experiment.KPI, "report-kpis", finished=finished) as run:
        run.log_metrics({"calls": outcome.calls, "turns": outcome.turns, **outcome.figures})
        run.log_files(outcome.page.parent, "report")


@flow(name="report-kpis")
def report_kpis(window_days: int = 30) -> KpiOutcome:
    """Report the KPIs of the last days.

    Args:
        window_days: length of the window in days, up to now.
    """
    outcome = make_report(window_days)
    log_report(outcome)
    rows = "\n".join(
        f"| {name} | {'-' if value is None else f'{value:.1%}'} |" for name, value in outcome.figures.items()
    )
    create_markdown_artifact(
        f"{outcome.calls} calls, {outcome.turns} turns\n\n| KPI | value |\n|---|---|\n{rows}", key="kpis"
    )
    return outcome


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("report-kpis")

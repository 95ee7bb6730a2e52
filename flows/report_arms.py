"""Flow report-arms: the running split's comparison → page, MLflow run, Prefect artifact.

Nothing is promoted, altered or ended here; the guardrail of the servers ends what does harm.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.errors import MissingError
from serving.settings import Settings

STILL_REPORTED = timedelta(days=14)
"""How long after its end a split is reported: until the last caller's call is mature, and a week more."""


@dataclass(frozen=True, slots=True)
class ArmsOutcome:
    """What the flow leaves.

    Attributes:
        split: id; empty where there is none, it has no calls yet, or it is long over.
        verdict: of the primary metric, or why there is none.
        callers: of both arms.
        differences: challenger minus champion by metric; None where an arm has no value.
        page: the report.
    """

    split: str
    verdict: str
    callers: int = 0
    differences: dict[str, float | None] | None = None
    page: Path | None = None


@task(cache_policy=NO_CACHE)
def make_comparison(name: str) -> ArmsOutcome:
    """Compare the arms of the newest split and write the page."""
    from flows.compare_arms import ArmsRequest, compare

    try:
        found = compare(Settings.load(), ArmsRequest(name=name))
    except MissingError as error:  # most days nothing is split, which is no failure
        report("arms", 1, 1, error.message)
        return ArmsOutcome("", error.message)
    result = found.report
    if result.stretch.until is not None and result.now - result.stretch.until > STILL_REPORTED:
        over = f"the split {result.stretch.split} is over and was reported"
        report("arms", 1, 1, over)
        return ArmsOutcome("", over)
    report("arms", 1, 1, f"{result.verdict} → {found.page}")
    return ArmsOutcome(
        split=result.stretch.split,
        verdict=result.verdict.value,
        callers=result.ratios[0].champion + result.ratios[0].challenger,
        differences={item.metric.key: item.difference for item in result.metrics},
        page=found.page,
    )


@task(cache_policy=NO_CACHE)
def log_comparison(outcome: ArmsOutcome, page: Path) -> None:
    """Log the figures and the page as an MLflow run."""
    tags = {"split": outcome.split, "verdict": outcome.verdict}
    finished = f"The comparison {page} is written"
    with tracked_run(Settings.load(), Experiment.ARMS, "report-arms", tags, finished=finished) as run:
        run.log_metrics({"callers": outcome.callers, **(outcome.differences or {})})
        run.log_files(page.parent, "report")


@flow(name="report-arms")
def report_arms(name: str = "banking-lora") -> ArmsOutcome:
    """Report the newest split of a model, if there is one.

    Args:
        name: registered model.
    """
    outcome = make_comparison(name)
    if outcome.page is not None:
        log_comparison(outcome, outcome.page)
    rows = "\n".join(
        f"| {key} | {'-' if value is None else f'{value:+.4f}'} |"
        for key, value in (outcome.differences or {}).items()
    )
    create_markdown_artifact(
        f"{outcome.verdict}, {outcome.callers} callers\n\n| challenger minus champion | |\n|---|---|\n{rows}",
        key="arms",
    )
    return outcome

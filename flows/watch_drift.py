"""Flow watch-drift: last week's calls beside the champion's training texts → report, and an event on drift.

    python -m flows.watch_drift

The event is what the deployment train-adapter/nightly waits for. Nothing is promoted or changed here.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.errors import InvalidInputError
from serving.settings import Settings

DRIFTED = "intents.drifted"
"""Event that the training deployment listens to."""


@dataclass(frozen=True, slots=True)
class DriftOutcome:
    """What the flow leaves.

    Attributes:
        adapter: the champion that was watched.
        verdict: `stable`, `drifted` or `not enough`.
        drifted: the measures that did.
        figures: each measure with its interval; None where there was not enough to judge, and the reason
            where one alone could not be judged.
        estimates: the same without interval, for machines.
        turns: turns that were compared, of `calls` calls.
        left_out: turns that were not, by reason.
        page: the report, with its plot beside it.
        event: whether the event was sent.
    """

    adapter: str
    verdict: str
    drifted: tuple[str, ...]
    figures: dict[str, str | None]
    estimates: dict[str, float | None]
    turns: int
    calls: int
    left_out: dict[str, int]
    page: Path
    event: bool


@task(cache_policy=NO_CACHE)
def compare_week(name: str, window_days: int, dataset: str) -> DriftOutcome:
    """Compare, and write the page and the plot."""
    from evaluation.drift import watch
    from evaluation.drift_report import write_drift_report
    from evaluation.drift_turns import turns_of
    from flows.drift_reference import reference_of
    from serving.adapters.registry import AdapterRegistry
    from serving.call.store import CallStore

    settings = Settings.load()
    champion = AdapterRegistry.from_settings(settings).get(name)
    since = datetime.now(UTC) - timedelta(days=window_days)
    week = turns_of(CallStore(settings.records_url).calls(since=since), champion.label)
    report("reference", 0, 1, champion.label)
    found = watch(reference_of(settings, champion, dataset), week.turns)
    page = write_drift_report(found, settings.home / "reports" / "drift", champion.label)
    report("drift", 1, 1, f"{found.verdict} → {page}")
    return DriftOutcome(
        adapter=champion.label,
        verdict=found.verdict.value,
        drifted=found.drifted,
        figures={
            item.name: str(item.interval) if item.interval else item.missing or None
            for item in found.measures
        },
        estimates={
            _metric(item.name): item.interval.estimate if item.interval else None for item in found.measures
        },
        turns=found.turns,
        calls=found.calls,
        left_out={
            "without an intent": week.untagged,
            "of another adapter": week.other_adapter,
            "answers to a question": week.answers,
        },
        page=page,
        event=False,
    )


def _metric(measure: str) -> str:
    """A name that MLflow takes: it knows no brackets."""
    return measure.replace("(", "").replace(")", "").replace("PSI", "psi").replace("SD", "sd")


@task(cache_policy=NO_CACHE)
def log_drift(outcome: DriftOutcome) -> None:
    """Log the figures and the page as an MLflow run."""
    tags = {"adapter": outcome.adapter, "verdict": outcome.verdict}
    finished = f"The drift page {outcome.page} is written"
    with tracked_run(Settings.load(), Experiment.DRIFT, "watch-drift", tags, finished=finished) as run:
        run.log_metrics({"turns": outcome.turns, "calls": outcome.calls, **outcome.estimates})
        run.log_files(outcome.page.parent, "report")
        run.log_json("drift.json", asdict(outcome) | {"page": outcome.page.name})


@task(cache_policy=NO_CACHE)
def announce_drift(name: str, outcome: DriftOutcome) -> bool:
    """Emit the event that the training deployment waits for; returns whether it was handed over."""
    sent = emit_event(
        DRIFTED,
        resource={"prefect.resource.id": f"adapter.{name}", "name": name},
        payload={"adapter": outcome.adapter, "drifted": list(outcome.drifted), "turns": outcome.turns},
    )
    return sent is not None


@flow(name="watch-drift")
def watch_drift(name: str = "banking-lora", window_days: int = 7, dataset: str = "") -> DriftOutcome:
    """Watch whether callers still ask what the champion was trained for.

    Args:
        name: registered model; its champion is watched.
        window_days: length of the window in days, up to now.
        dataset: what the champion was trained on, where that is neither the own intents nor a version of
            them that `voicebot import-reviewed` made here.
    """
    if not 1 <= window_days <= 365:
        raise InvalidInputError(f"A window has 1 to 365 days; {window_days} were asked for.")
    outcome = compare_week(name, window_days, dataset)
    log_drift(outcome)
    create_markdown_artifact(outcome.page.read_text(encoding="utf-8"), key="drift")
    if outcome.drifted:
        outcome = replace(outcome, event=announce_drift(name, outcome))
    return outcome


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("watch-drift")

"""Flow evict-cache: what calls told → beliefs → what goes, and why → MLflow run and artifact.

python -m flows.evict_cache
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.cache_feedback import WINDOW, FeedbackOutcome, take_feedback
from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.adapters.audit import operator_name
from serving.settings import Settings

SHOWN = 50
"""Evictions that the artifact lists; the run's file holds all."""


@dataclass(frozen=True, slots=True)
class EvictionOutcome:
    """What the flow leaves.

    Attributes:
        feedback: signal → what calls told anew.
        hits: answers from the cache in the window's calls.
        renewed: entries whose accuracy or quarantine changed.
        entries: entries there were.
        planned: cause → entries that go.
        removed: the same as carried out; empty after a dry run.
        fraction: share of what callers are answered from that goes.
        scopes_known: whether the adapters' scopes could be told; else nothing is orphaned.
        generation: published afterwards; 0 where nothing went.
    """

    feedback: dict[str, int]
    hits: int
    renewed: int
    entries: int
    planned: dict[str, int]
    removed: dict[str, int]
    fraction: float
    scopes_known: bool
    generation: int


@task(cache_policy=NO_CACHE)
def hear_calls() -> FeedbackOutcome:
    """Take what the calls of the last days told of their answers."""
    from serving.cache.store import FILE, CacheStore
    from serving.call.store import CallStore

    settings, now = Settings.load(), datetime.now(UTC)
    path = settings.home / "cache" / FILE
    if not path.exists():
        return FeedbackOutcome(0, 0, {}, 0)
    calls = CallStore(settings.records_url).calls(since=now - WINDOW)
    found = take_feedback(CacheStore(path), calls, now)
    report("feedback", 1, 1, f"{sum(found.told.values())} new from {found.hits} hits of {found.calls} calls")
    return found


@task(cache_policy=NO_CACHE)
def let_go(
    threshold: float, max_entries: int | None, max_fraction: float, dry_run: bool
) -> tuple[EvictionOutcome, list[dict[str, str]]]:
    """Plan, check and evict; the outcome, and each eviction without its words."""
    from serving.call.cache_upkeep import EvictionWish, evict

    settings = Settings.load()
    wish = EvictionWish(threshold, max_entries, max_fraction, dry_run)
    found = evict(settings, wish, actor=operator_name(settings.operator))
    planned = {cause.value: len(those) for cause, those in found.plan.by_cause().items()}
    report("eviction", 1, 1, ", ".join(f"{count} {cause}" for cause, count in planned.items()) or "nothing")
    outcome = EvictionOutcome(
        feedback={},
        hits=0,
        renewed=found.renewed,
        entries=found.plan.entries,
        planned=planned,
        removed={cause.value: count for cause, count in found.removed.items()},
        fraction=found.plan.fraction,
        scopes_known=found.scopes_known,
        generation=found.generation,
    )
    gone = [
        {
            "entry": it.entry_id,
            "scope": it.scope,
            "intent": it.intent,
            "cause": it.cause.value,
            "why": it.detail,
        }
        for it in found.plan.evictions
    ]
    return outcome, gone


@task(cache_policy=NO_CACHE)
def log_eviction(outcome: EvictionOutcome, gone: list[dict[str, str]]) -> None:
    """Log what went, and why, as an MLflow run."""
    facts = asdict(outcome)
    numbers = {name: float(value) for name, value in facts.items() if not isinstance(value, dict)}
    counts = {f"evicted {cause}": float(count) for cause, count in outcome.planned.items()}
    told = {f"told {signal}": float(count) for signal, count in outcome.feedback.items()}
    finished = f"{sum(outcome.removed.values())} entries are evicted"
    with tracked_run(Settings.load(), Experiment.CACHE, "evict-cache", finished=finished) as run:
        run.log_metrics({**numbers, **counts, **told})
        run.log_json("evictions.json", {"evictions": gone})


@flow(name="evict-cache")
def evict_cache(
    threshold: float = 0.6,
    max_entries: int | None = None,
    max_fraction: float = 0.2,
    dry_run: bool = False,
) -> EvictionOutcome:
    """Hear what calls told of the cache's answers, and let go of what is wrong, over, orphaned or too much.

    Args:
        threshold: least accuracy that stays, 0 to 1.
        max_entries: most entries that stay; None for no limit.
        max_fraction: share of what callers are answered from that may go; more is refused.
        dry_run: say what would go; nothing is written.
    """
    heard = FeedbackOutcome(0, 0, {}, 0) if dry_run else hear_calls()
    outcome, gone = let_go(threshold, max_entries, max_fraction, dry_run)
    outcome = replace(outcome, feedback=heard.told, hits=heard.hits)
    log_eviction(outcome, gone)
    create_markdown_artifact(_page(outcome, gone), key="cache-evictions")
    return outcome


def _page(outcome: EvictionOutcome, gone: list[dict[str, str]]) -> str:
    """What went, and why, as Markdown."""
    share = f"{outcome.fraction:.1%} of what callers are answered from"
    head = f"{len(gone)} of {outcome.entries} entries go ({share})"
    told = ", ".join(f"{count} {signal}" for signal, count in outcome.feedback.items()) or "nothing new"
    rows = [f"| {it['entry'][:12]} | {it['intent']} | {it['cause']} | {it['why']} |" for it in gone[:SHOWN]]
    more = [f"\n… and {len(gone) - SHOWN} more"] if len(gone) > SHOWN else []
    table = ["| entry | intent | cause | why |", "|---|---|---|---|", *rows] if gone else []
    return "\n".join([head, "", f"Calls told: {told}", "", *table, *more])


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("evict-cache")

"""Flow build-cache-index: approved knowledge → embedded, scoped, indexed entries → recall check.

python -m flows.build_cache_index
"""

from dataclasses import asdict, dataclass

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.progress import report
from flows.tracking import Experiment, tracked_run
from serving.adapters.audit import operator_name
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class CacheOutcome:
    """What the flow leaves.

    Attributes:
        entries: entries in the scope.
        left_out: approved answers that are never reused.
        recalled: share of the stored questions that find their own answer again.
    """

    scope: str
    entries: int
    intents: int
    left_out: int
    generation: int
    recalled: float


@task(cache_policy=NO_CACHE)
def build(name: str, ref: str) -> dict[str, int | str]:
    """Fill and publish the scope of an adapter version."""
    from flows.cache_scope import build_scope

    settings = Settings.load()
    built = build_scope(settings, name, ref, actor=operator_name(settings.operator))
    report("index", built.entries, built.entries, f"{built.entries} questions, generation {built.generation}")
    return asdict(built)


@task(cache_policy=NO_CACHE)
def check_recall(scope: str) -> float:
    """Ask every stored question; the share that hits an entry with its own answer."""
    from serving.cache.lookup import SemanticCache
    from serving.cache.store import CacheStore
    from serving.cache.types import CacheQuery, Outcome
    from serving.language.encoder import load_encoder
    from serving.language.encoder_backend import with_backend

    settings = Settings.load()
    folder = settings.home / "cache"
    store = CacheStore(folder / "cache.sqlite")
    entries, definition = store.entries(scope), store.scopes()[scope]
    encoder = with_backend(load_encoder(settings.encoder), settings)
    # Stored questions hit by their own words, whatever the rule for others.
    cache = SemanticCache(folder, encoder, threshold=1.0)
    found = 0
    for entry in entries:
        query = CacheQuery(entry.question, entry.intent, entry.cacheability, entry.signature)
        decision = cache.lookup(query, definition)
        found += (
            decision.outcome is Outcome.HIT
            and decision.entry is not None
            and decision.entry.answer == entry.answer
        )
    report("recall", found, len(entries))
    return found / len(entries) if entries else 0.0


@task(cache_policy=NO_CACHE)
def log_build(outcome: CacheOutcome) -> None:
    """Log the build as an MLflow run."""
    facts = asdict(outcome)
    tags, finished = {"scope": outcome.scope}, f"The cache scope {outcome.scope} is published"
    with tracked_run(Settings.load(), Experiment.CACHE, "build-cache-index", tags, finished=finished) as run:
        run.log_metrics({name: value for name, value in facts.items() if name != "scope"})


@flow(name="build-cache-index")
def build_cache_index(name: str = "banking-lora", ref: str = "champion") -> CacheOutcome:
    """Build the cache of the adapter that serves; a dialogue adapter that nobody speaks with has none.

    Args:
        name: registered model.
        ref: alias or number of the version whose scope is built.
    """
    from flows.cache_scope import is_used

    if not is_used(Settings.load(), name, ref):
        report("index", 1, 1, "none: no call of this home uses this adapter")
        return CacheOutcome(scope="", entries=0, intents=0, left_out=0, generation=0, recalled=0.0)
    built = build(name, ref)
    recalled = check_recall(str(built["scope"]))
    outcome = CacheOutcome(**built, recalled=recalled)  # type: ignore[arg-type]  # the fields of BuildReport
    log_build(outcome)
    return outcome


if __name__ == "__main__":
    from flows.environment import run_command

    run_command("build-cache")

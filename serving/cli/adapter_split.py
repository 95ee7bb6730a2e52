"""`adapter-control split`: give the challenger a share of the callers, alter it, see how it does, end it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.adapter_home import cold, home_follows, home_loads
from serving.cli.adapter_options import AsJson, By, DryRun, Reason, acting, open_registry, open_settings, warn
from serving.cli.adapter_views import show_plan
from serving.cli.console import command_errors, print_json, rich_console
from serving.cli.split_views import changed_document, show_split, split_document
from serving.errors import InvalidInputError, MissingError, RefusedError

if TYPE_CHECKING:
    from serving.adapters.pin import Reference
    from serving.adapters.registry import AdapterRegistry
    from serving.adapters.splitting import Plan, Terms
    from serving.arms.split import PrimaryMetric, Split
    from serving.settings import Settings

_STARTING = "--waive, --again, --cold, --slow-after and --primary"


def split(  # noqa: PLR0917  # a command line
    which: Annotated[
        str,
        typer.Argument(metavar="[NAME[@ALIAS|VERSION]]", help="NAME alone: the challenger of that model."),
    ] = "banking-lora",
    challenger: Annotated[
        int | None,
        typer.Option(min=0, max=100, metavar="PERCENT", help="Start a split, or give another share."),
    ] = None,
    stop: Annotated[str | None, typer.Option(metavar="WHY", help="End the split.")] = None,
    waive: Annotated[
        str | None,
        typer.Option(metavar="WHY", help="Start although the gate does not let it through, in writing."),
    ] = None,
    again: Annotated[
        str, typer.Option(metavar="WHY", help="Start although the guardrail took it back before.")
    ] = "",
    start_cold: Annotated[
        bool, typer.Option("--cold", help="Start although the cache holds nothing for an arm.")
    ] = False,
    slow_after: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="A slow turn; default: the champion's p95."),
    ] = None,
    primary: Annotated[
        str,
        typer.Option(metavar="METRIC", help="What decides `voicebot compare-arms`; resolved_containment."),
    ] = "",
    reason: Reason = "a comparison on callers",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show the split of callers between champion and challenger; start, alter or end it.

    A challenger needs what a promotion needs. A caller keeps the arm; a call keeps its adapter to its end.
    The guardrail ends the split by itself where the challenger does harm.

    Exit codes: 0 done, 1 refused, 2 bad input, 3 no such model or version, or no split to show, 4 not to be
    had, 5 altered files.
    """
    from serving.adapters.pin import parse_reference
    from serving.adapters.versions import CHALLENGER

    with command_errors():
        new = _NewSplit(waive, again, start_cold, slow_after, primary)
        _check_options(challenger, stop, new, dry_run=dry_run)
        settings = open_settings()
        registry, who = open_registry(settings), acting(settings, by)
        reference = parse_reference(which, CHALLENGER)
        if challenger is None and stop is None:
            _show(registry, settings, reference.name, as_json=as_json)
            return
        seen = _seen(registry, reference.name, damaged_counts=stop is None)
        if stop is not None:
            plan = _stop(registry, reference.name, who, stop)
        elif seen is None:
            plan = _start(registry, settings, reference, challenger or 0, new, who, reason)
        else:
            if new.said:
                raise InvalidInputError(
                    f"{_STARTING} are said when a split is started; {seen.id} runs already."
                )
            if "@" in which or "/" in which:
                _check_same(registry, reference, seen)
            plan = _alter(registry, reference.name, challenger or 0, who, reason)
        _change(registry, settings, reference.name, plan, seen, dry_run=dry_run, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _NewSplit:
    """What may only be said when a split is started; see the options of the same names."""

    waive: str | None
    again: str
    cold: bool
    slow_after: float | None
    primary: str

    @property
    def said(self) -> bool:
        """Whether any of it was said."""
        return self != _NewSplit(None, "", False, None, "")


def _check_options(challenger: int | None, stop: str | None, new: _NewSplit, *, dry_run: bool) -> None:
    if challenger is not None and stop is not None:
        raise InvalidInputError("--challenger PERCENT and --stop WHY exclude each other.")
    if dry_run and challenger is None and stop is None:
        raise InvalidInputError(
            "--dry-run goes with --challenger PERCENT or --stop WHY.",
            advice="Without these the split is shown.",
        )
    if new.said and challenger is None:
        raise InvalidInputError(f"{_STARTING} go with --challenger PERCENT.")


def _stop(registry: "AdapterRegistry", name: str, who: str, why: str) -> "Callable[[], Plan]":
    from serving.adapters.splitting import stop_plan

    return partial(stop_plan, registry, name, by=who, reason=why)


def _alter(
    registry: "AdapterRegistry", name: str, percent: int, who: str, reason: str
) -> "Callable[[], Plan]":
    from serving.adapters.splitting import alter_plan

    return partial(alter_plan, registry, name, percent, by=who, reason=reason)


def _seen(registry: "AdapterRegistry", name: str, *, damaged_counts: bool) -> "Split | None":
    """The running split as the operator sees it; ending a damaged one must not fail at it."""
    from serving.adapters.splits import running_in, split_in

    tags = registry.model_tags(name)
    if damaged_counts:
        split_in(tags)
    return running_in(tags)


def _start(
    registry: "AdapterRegistry",
    settings: "Settings",
    reference: "Reference",
    percent: int,
    new: _NewSplit,
    who: str,
    reason: str,
) -> "Callable[[], Plan]":
    """The plan of a new split, after a look at the cache of this home."""
    from serving.adapters.splitting import start_plan
    from serving.adapters.versions import CHAMPION

    terms = _terms(registry, settings, reference.name, new)
    version = registry.get(reference.name, reference.ref)
    plan = partial(
        start_plan,
        registry,
        reference.name,
        version.version,
        percent,
        by=who,
        reason=reason,
        terms=terms,
    )
    plan()  # what is wrong with the challenger comes before the cache
    lacking = cold(settings, [registry.get(reference.name, CHAMPION), version])
    if lacking and not terms.cold:
        commands = " and ".join(f"`voicebot build-cache --ref {found.version}`" for found in lacking)
        labels = " and ".join(found.label for found in lacking)
        raise RefusedError(
            f"The cache of this home holds nothing for {labels}: an arm would wait where the other does not.",
            advice=f"Run {commands}, or start with --cold.",
        )
    return plan


def _terms(registry: "AdapterRegistry", settings: "Settings", name: str, new: _NewSplit) -> "Terms":
    from serving.adapters.promotion import Waiver
    from serving.adapters.splitting import Terms
    from serving.arms.guardrail import Guard
    from serving.cli.split_views import slow_limit

    champion = registry.champion_version(name)
    waiver = Waiver(new.waive, champion) if new.waive is not None else None
    limit = new.slow_after or slow_limit(settings, f"{name}/{champion}")
    return Terms(Guard(slow_s=limit), new.cold, waiver, new.again, _primary(new.primary))


def _primary(name: str) -> "PrimaryMetric":
    from serving.arms.split import PrimaryMetric

    if not name:
        return PrimaryMetric.RESOLVED_CONTAINMENT
    try:
        return PrimaryMetric(name)
    except ValueError:
        raise InvalidInputError(
            f"There is no metric {name[:40]!r}.", advice=f"Choose of {', '.join(PrimaryMetric)}."
        ) from None


def _check_same(registry: "AdapterRegistry", reference: "Reference", seen: "Split") -> None:
    """Make sure that a version that was named is the one that runs."""
    if registry.get(reference.name, reference.ref).label != seen.challenger:
        raise RefusedError(
            f"The split {seen.id} runs, with {seen.challenger}.",
            advice='End it first: `adapter-control split --stop "why"`.',
        )


def _change(
    registry: "AdapterRegistry",
    settings: "Settings",
    name: str,
    plan: "Callable[[], Plan]",
    seen: "Split | None",
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from serving.adapters.splitting import carry_out

    if dry_run:
        show_plan(plan().act, as_json=as_json)
        return
    done = carry_out(registry, name, plan, seen=seen)
    if done is not None and done.running and not home_follows(settings, name, done.champion_version):
        warn(f"{home_loads(settings)} They take no part in the split.")
    if as_json:
        print_json(changed_document(settings, done))
    elif done is None:
        typer.echo(f"What the registry held as the split of {name} is cleared away.")
    else:
        _tell(done, settings)


def _tell(done: "Split", settings: "Settings") -> None:
    within = f"within {settings.registry_poll_s + 1:g} s"
    if not done.running:
        said = [
            f"The split {done.id} is over: {done.ended_why}",
            f"New calls get {done.champion} {within}; calls in progress finish on their arm.",
        ]
    else:
        guard = done.guard
        said = [
            f"{done.challenger} gets {done.percent} % of the callers beside {done.champion} "
            f"(split {done.id}).",
            f"Running servers follow {within}; a call keeps the arm that it began with.",
            "The guardrail ends it when the challenger has, beyond doubt (always-valid, error probability "
            f"{guard.alpha:g}), more calls than the champion that are transferred after a failure "
            f"(+{100 * guard.transferred:g} pp), have a failed turn (+{100 * guard.failed:g} pp) or one "
            f"slower than {guard.slow_s:.3g} s (+{100 * guard.slow:g} pp).",
        ]
    for line in said:
        rich_console().print(line, markup=False, soft_wrap=True)


def _show(registry: "AdapterRegistry", settings: "Settings", name: str, *, as_json: bool) -> None:
    from serving.adapters.splitting import read_split

    found = read_split(registry, name)
    if as_json:
        print_json(split_document(settings, found))
    elif found is not None:
        show_split(settings, found)
    if found is None:  # also after the document, so that a script need not read it
        raise MissingError(
            f"No split of {name} was ever started.",
            advice="`adapter-control split --challenger 10` starts one.",
        )

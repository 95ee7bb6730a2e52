"""`adapter-control promote`, `rollback` and `sign`: what changes the registry, each with a dry run."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.adapter_home import choose, cold, home_follows, home_loads, how_to_follow
from serving.cli.adapter_options import (
    AsJson,
    By,
    DryRun,
    Reason,
    Which,
    acting,
    open_registry,
    open_settings,
    warn,
)
from serving.cli.adapter_views import show_plan
from serving.cli.console import command_errors, print_json, rich_console
from serving.errors import InvalidInputError

if TYPE_CHECKING:
    from serving.adapters.promotion import Transition
    from serving.settings import Settings


def promote(
    which: Annotated[
        str, typer.Argument(metavar="NAME[@ALIAS|VERSION]", help="Default: the challenger of that model.")
    ],
    reason: Reason,
    waive: Annotated[
        str | None,
        typer.Option(metavar="WHY", help="Overrule failed checks, or that it was never judged, in writing."),
    ] = None,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion; needs a stored gate decision that passed against the present one.

    --waive overrules checks of how good the adapter is. It never overrules altered files, an unsound bundle,
    a missing signature where one is required, intents that the adapter does not know though the knowledge
    answers them, or a decision against another champion.
    """
    from serving.adapters import promotion
    from serving.adapters.pin import parse_reference
    from serving.adapters.versions import CHALLENGER

    with command_errors():
        settings = open_settings()
        registry = open_registry(settings)
        reference = parse_reference(which, CHALLENGER)
        waiver = None
        if waive is not None:
            waiver = promotion.Waiver(waive, registry.champion_version(reference.name))
        version = registry.get(reference.name, reference.ref).version
        who = acting(settings, by)
        if dry_run:
            plan = promotion.promotion_act(
                registry, reference.name, version, by=who, reason=reason, waiver=waiver
            )
            show_plan(plan, as_json=as_json)
            return
        done = promotion.promote(registry, reference.name, version, by=who, reason=reason, waiver=waiver)
        _report(done, settings, as_json=as_json)


def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    reason: Reason,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Swap champion and previous; one command, no judge, because it must work at night.

    It goes back also to an adapter that does not know all intents that are answered now, and warns of it.
    """
    from serving.adapters import promotion
    from serving.adapters.fit import warning_of

    with command_errors():
        _require_name_alone(name)
        settings = open_settings()
        registry, who = open_registry(settings), acting(settings, by)
        if dry_run:
            act = promotion.rollback_act(registry, name, by=who, reason=reason)
            show_plan(act, as_json=as_json)
            if told := warning_of(registry, registry.get(name, act.champion_after or 0)):
                warn(told)
            return
        _report(promotion.rollback(registry, name, by=who, reason=reason), settings, as_json=as_json)


def load(
    which: Which,
    disable: Annotated[
        bool, typer.Option("--disable", help="Serve the frozen baseline head of it instead.")
    ] = False,
    reason: Reason = "operator's choice",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Choose what the servers of this home load; the same as --load NAME --enable."""
    with command_errors():
        choose(
            which, enable=not disable, disable=disable, by=by, reason=reason, dry_run=dry_run, as_json=as_json
        )


def sign(
    which: Which,
    reason: Reason = "signed by an operator",
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Sign the manifest of a registered version with this installation's key."""
    from serving.adapters.pin import parse_reference
    from serving.adapters.signing import sign_version, signing_act

    with command_errors():
        settings = open_settings()
        registry, who = open_registry(settings), acting(settings, by)
        reference = parse_reference(which)
        version = registry.get(reference.name, reference.ref)
        if dry_run:
            act = signing_act(registry, version.name, version.version, by=who, reason=reason)
            show_plan(act, as_json=as_json)
            return
        found = sign_version(registry, version.name, version.version, by=who, reason=reason)
        if as_json:
            print_json({"adapter": version.label, "signature": found.standing, "key": found.key})
            return
        typer.echo(f"{version.label} is signed with the key {found.key}.")


def _require_name_alone(text: str) -> None:
    """Tell who names a version that a rollback needs none."""
    name, mark, _ = text.replace("/", "@").partition("@")
    if mark:
        raise InvalidInputError(
            f"A rollback takes the name alone: {name[:80]!r}, not {text[:80]!r}; it goes back to the "
            "champion before.",
            advice="`adapter-control promote NAME@VERSION` makes a certain version the champion.",
        )


def _report(done: "Transition", settings: "Settings", *, as_json: bool) -> None:
    from serving.adapters.audit import Action
    from serving.adapters.fit import warning_of

    registry = open_registry(settings)
    champion = registry.get(done.model, done.champion_after)
    if told := warning_of(registry, champion):
        warn(f"{told} To undo the rollback, roll back again." if done.action is Action.ROLLBACK else told)
    follows = home_follows(settings, done.model, done.champion_after)
    if as_json:
        print_json(done)
        if not follows:
            warn(home_loads(settings))
        return
    console = rich_console()
    before = f"{done.model}/{done.champion_before}" if done.champion_before else "none"
    console.print(f"{done.model}/{done.champion_after} is the champion (before: {before}).")
    if done.waived:
        console.print(f"The gate was overruled: {done.waived}", markup=False, soft_wrap=True)
    if follows:
        console.print(
            f"Running servers pick it up within {settings.registry_poll_s + 1:g} s, between two turns."
        )
    else:
        console.print(f"{home_loads(settings)} They do not pick it up;", soft_wrap=True, markup=False)
        console.print(f"{how_to_follow(done.model)} lets them follow the champion.")
    if done.split_ended:
        console.print(f"It ended the split {done.split_ended}.")
    if cold(settings, [champion]):
        said = "Its cache scope starts cold: `voicebot build-cache` answers the frequent questions into it."
    else:
        said = "Its cache scope is there already and is attached with it."
    console.print(said, soft_wrap=True)

"""`adapter-control`: what operators do to adapters.

Subcommands look at the registry and move its champion; `--load`, `--enable` and `--disable` tell the
servers of this home what to load. No model is loaded here, and nothing heavy is imported before a
subcommand runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.console import command_errors, print_json, print_table, rich_console
from serving.errors import IntegrityError, InvalidInputError, MissingError
from serving.plain import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.adapters.audit import AuditEntry
    from serving.adapters.decision import GateDecision
    from serving.adapters.pin import Pin, Reference
    from serving.adapters.promotion import Transition
    from serving.adapters.registry import AdapterRegistry
    from serving.adapters.versions import AdapterVersion
    from serving.settings import Settings

app = typer.Typer(
    name="adapter-control",
    help="List, show, promote and roll back adapters; choose what the servers of this home load.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
By = Annotated[
    str | None, typer.Option(help="Who acts, for the audit; default: setting `operator` or login.")
]
Name = Annotated[str | None, typer.Argument(help="Registered model; default: all.")]
Which = Annotated[str, typer.Argument(metavar="NAME[@ALIAS|VERSION]", help="Such as banking-lora@2.")]


@app.callback()
def control(
    context: typer.Context,
    load: Annotated[
        str | None, typer.Option(metavar="NAME[@ALIAS|VERSION]", help="What the servers of this home load.")
    ] = None,
    enable: Annotated[
        bool, typer.Option("--enable", help="Serve the adapter (with or without --load).")
    ] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Serve the frozen baseline head.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "operator's choice",
    by: By = None,
) -> None:
    """Choose what the servers of this home load; without --load and --enable they follow the champion."""
    if context.invoked_subcommand is not None:
        if load or enable or disable:
            with command_errors():
                raise InvalidInputError("--load, --enable and --disable stand alone, without a subcommand.")
        return
    if not (load or enable or disable):
        typer.echo(context.get_help())
        return
    with command_errors():
        _pin(load, enable=enable, disable=disable, by=by, reason=reason)


@app.command("list")
def list_versions(name: Name = None, as_json: AsJson = False) -> None:
    """Show every version with its aliases and the gate's verdict, and what this home loads."""
    with command_errors():
        settings = _settings()
        versions = _registry(settings).versions(name)
        if as_json:
            print_json(versions)
            return
        print_table(
            "Adapters",
            ("adapter", "aliases", "gate", "registered (UTC)", "base", "dataset", "git"),
            [
                (
                    version.label,
                    ", ".join(version.aliases),
                    version.gate_status,
                    f"{version.created:%Y-%m-%d %H:%M}",
                    version.tags.get("base.model"),
                    version.tags.get("dataset.sha256", "")[:12],
                    version.tags.get("git.sha", "")[:12],
                )
                for version in versions
            ],
        )
        rich_console().print(_home_loads(settings), soft_wrap=True, markup=False)


@app.command()
def show(which: Which, as_json: AsJson = False) -> None:
    """Verify one version's files and show its origin, metrics and gate decision."""
    from serving.adapters.pin import parse_reference

    with command_errors():
        reference = parse_reference(which)
        version = _registry().get(reference.name, reference.ref)
        manifest, decision, metrics = version.verify(), version.decision(), version.metrics()
        if as_json:
            print_json({"version": version, "manifest": manifest, "metrics": metrics, "decision": decision})
            return
        title = f"{version.label} (all {len(manifest.files)} files verified)"
        print_table(title, ("what", "value"), _facts(version, metrics))
        if decision:
            _print_decision(decision)


@app.command()
def promote(
    which: Annotated[
        str,
        typer.Argument(metavar="NAME[@ALIAS|VERSION]", help="Default: the challenger of that model."),
    ],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion; needs a stored gate decision that passed against the present one."""
    from serving.adapters import promotion
    from serving.adapters.pin import parse_reference
    from serving.adapters.versions import CHALLENGER

    with command_errors():
        settings = _settings()
        registry = _registry(settings)
        reference = parse_reference(which, CHALLENGER)
        version = registry.get(reference.name, reference.ref).version
        done = promotion.promote(registry, reference.name, version, by=_operator(settings, by), reason=reason)
        _report(done, settings, as_json=as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Swap champion and previous; one command, no judge, because it must work at night."""
    from serving.adapters import promotion

    with command_errors():
        settings = _settings()
        done = promotion.rollback(_registry(settings), name, by=_operator(settings, by), reason=reason)
        _report(done, settings, as_json=as_json)


@app.command()
def history(name: Name = None, as_json: AsJson = False) -> None:
    """Show who did what, when and why, from the audit; rows that are gone are reported after it."""
    from serving.adapters.history import History, read_history
    from serving.adapters.pin import pin_history

    with command_errors():
        settings = _settings()
        registry = _registry(settings)
        pins = tuple(e for e in pin_history(_store(settings)) if name in (None, e.act.model))
        try:
            found = read_history(registry, name)
        except MissingError:
            if not pins:
                raise
            found = History(registry.audit.path, ())
        if name and not found.entries and not pins and not found.losses:
            raise MissingError(
                f"Nothing is recorded about {name}.", advice="`adapter-control list` shows what there is."
            )
        if as_json:
            print_json(sorted([*found.entries, *pins], key=lambda entry: entry.at))
        else:
            shown = sorted([*_ended(found.entries), *_ended(pins)], key=lambda entry: entry.at)
            columns = ("when (UTC)", "who", "what", "adapter", "champion", "why", "outcome")
            print_table("History", columns, [_row(entry) for entry in shown])
        found.require_whole()


def _pin(load: str | None, *, enable: bool, disable: bool, by: str | None, reason: str) -> None:
    from serving.adapters.pin import parse_reference, write_pin

    if enable == disable:
        raise InvalidInputError(
            "Say either --enable or --disable.",
            advice="`adapter-control --load NAME --enable` serves that adapter.",
        )
    settings = _settings()
    store = _store(settings)
    reference = parse_reference(load) if load else _pinned(store, even_if_damaged=disable)
    if enable:  # --disable must work without the registry
        _registry(settings).get(reference.name, reference.ref).verify()
    write_pin(store, reference, enabled=enable, by=_operator(settings, by), reason=reason, warn=_warn)
    what = f"{reference}" if enable else f"the frozen baseline head of {reference}"
    typer.echo(f"Servers of {settings.home} load {what} within {settings.registry_poll_s + 1:g} s.")


def _pinned(store: Path, *, even_if_damaged: bool) -> "Reference":
    """What this home's pin names, else the default; switching off must not fail at a damaged pin."""
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

    try:
        pin = read_pin(store)
    except IntegrityError as error:
        if not even_if_damaged:
            raise
        _warn(f"{error.message} It is written anew.")
        pin = None
    return pin.reference if pin else Reference(DEFAULT_NAME)


def _home_loads(settings: "Settings") -> str:
    """What the servers of this home load, as a sentence."""
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

    try:
        pin = read_pin(_store(settings))
    except IntegrityError as error:
        return f"Running servers of this home change nothing: {error}"
    if pin is None:
        return f"Servers of this home follow {Reference(DEFAULT_NAME)}."
    said = f"({pin.by}, {pin.at:%Y-%m-%d %H:%M} UTC)"
    if not pin.enabled:
        return f"Servers of this home load the frozen baseline head of {pin.reference}: switched off {said}."
    return f"Servers of this home load {pin.reference}: pinned {said}."


def _home_follows(settings: "Settings", name: str, champion: int) -> bool:
    """Whether the servers of this home load a model's champion."""
    from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin

    try:
        pin: Pin | None = read_pin(_store(settings))
    except IntegrityError:
        return False
    reference = pin.reference if pin else Reference(DEFAULT_NAME)
    return (pin is None or pin.enabled) and reference.follows(name, champion)


def _report(done: "Transition", settings: "Settings", *, as_json: bool) -> None:
    follows = _home_follows(settings, done.model, done.champion_after)
    if as_json:
        print_json(done)
        if not follows:
            _warn(_home_loads(settings))
        return
    console = rich_console()
    before = f"{done.model}/{done.champion_before}" if done.champion_before else "none"
    console.print(f"{done.model}/{done.champion_after} is the champion (before: {before}).")
    if follows:
        console.print(
            f"Running servers pick it up within {settings.registry_poll_s + 1:g} s, between two turns."
        )
    else:
        console.print(f"{_home_loads(settings)} They do not pick it up;", soft_wrap=True, markup=False)
        console.print(f"`adapter-control --load {done.model} --enable` lets them follow the champion.")
    console.print(
        "Its cache scope starts cold unless it was warmed: `voicebot build-cache` answers the "
        "frequent questions into it."
    )


def _facts(version: "AdapterVersion", metrics: "Mapping[str, object]") -> list[tuple[str, object]]:
    return [
        ("aliases", ", ".join(version.aliases)),
        ("registered", version.created),
        ("run", version.run_id),
        *sorted(version.tags.items()),
        *((f"metric {key}", value) for key, value in metrics.items() if not isinstance(value, dict | list)),
    ]


def _print_decision(decision: "GateDecision") -> None:
    words = {True: "yes", False: "NO", None: "does not apply"}
    title = (
        f"Gate: {decision.status}, {decision.decided_at:%Y-%m-%d %H:%M} UTC, "
        f"against champion {decision.champion_version or 'none'}"
    )
    rows = [(check.name, words[check.passed], check.detail) for check in decision.checks]
    print_table(title, ("check", "passed", "detail"), rows)


def _ended(entries: "Sequence[AuditEntry]") -> "list[AuditEntry]":
    """Rows of one audit without the plans that a later row closes."""
    closed = {entry.closes for entry in entries}
    return [entry for entry in entries if not (entry.step == "begun" and entry.sequence in closed)]


def _row(entry: "AuditEntry") -> tuple[object, ...]:
    act = entry.act
    moved = f"{act.champion_before or 'none'} → {act.champion_after}" if act.champion_after else ""
    adapter = f"{act.model}/{act.version}" if act.version else act.evidence.get("reference", act.model)
    when, outcome = f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.step.value
    login = act.evidence.get("os_user", act.by)
    who = act.by if act.by == login else f"{act.by} (login {login})"
    return when, who, act.action.value, adapter, moved, act.reason, outcome


def _settings() -> "Settings":
    from serving.settings import Settings

    return Settings.load()


def _registry(settings: "Settings | None" = None) -> "AdapterRegistry":
    from serving.adapters.registry import AdapterRegistry

    return AdapterRegistry.from_settings(settings or _settings())


def _warn(text: str) -> None:
    typer.echo(printable(f"warning: {text}"), err=True)


def _store(settings: "Settings") -> Path:
    return settings.home / "adapters"


def _operator(settings: "Settings", by: str | None) -> str:
    from serving.adapters.audit import operator_name

    return operator_name(by or settings.operator)


if __name__ == "__main__":
    app()

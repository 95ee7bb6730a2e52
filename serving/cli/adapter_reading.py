"""`adapter-control list`, `show`, `history`, `compare` and `verify`: what only reads the registry."""

from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli.adapter_home import home_loads
from serving.cli.adapter_options import AsJson, Name, Which, adapter_store, open_registry, open_settings
from serving.cli.adapter_views import VERDICT, show_decision, show_facts, show_history, show_versions
from serving.cli.console import command_errors, print_json, print_table, rich_console
from serving.errors import MissingError

if TYPE_CHECKING:
    from serving.adapters.comparison import CheckPair, Comparison

_FIGURES = ("items", "gained", "lost", "difference", "interval", "mcnemar_p", "margin", "looks")
"""What is shown of a paired comparison."""
_BOUNDS = (".low", ".high", ".lower_bound", ".probability_better")
"""Ends of metrics' names that only --json shows: the bounds of each interval."""


def list_versions(name: Name = None, as_json: AsJson = False) -> None:
    """Show every version with its aliases and the gate's verdict, and what this home loads."""
    from serving.adapters.splits import running_in, told

    with command_errors():
        settings = open_settings()
        registry = open_registry(settings)
        versions = registry.versions(name)
        if as_json:
            print_json(versions)
            return
        show_versions(versions)
        rich_console().print(home_loads(settings), soft_wrap=True, markup=False)
        for model in dict.fromkeys(version.name for version in versions):
            if running := running_in(registry.model_tags(model)):
                said = f"A split of callers runs ({running.id}): {told(running)}."
                rich_console().print(said, soft_wrap=True, markup=False)


def show(which: Which, as_json: AsJson = False) -> None:
    """Verify one version's files and show its origin, metrics and gate decision."""
    from serving.adapters.pin import parse_reference

    with command_errors():
        reference = parse_reference(which)
        registry = open_registry()
        version = registry.get(reference.name, reference.ref)
        manifest, decision, metrics = version.verify(), version.decision(), version.metrics()
        signature = registry.signatures.examine(version.bundle)
        if as_json:
            print_json(
                {
                    "version": version,
                    "manifest": manifest,
                    "signature": signature,
                    "metrics": metrics,
                    "decision": decision,
                }
            )
            return
        title = f"{version.label} (all {len(manifest.files)} files verified)"
        show_facts(title, version, metrics, str(signature))
        if decision:
            show_decision(decision)


def history(name: Name = None, as_json: AsJson = False) -> None:
    """Show who did what, when and why, from the audit; rows that are gone are reported after it."""
    from serving.adapters.history import History, read_history
    from serving.adapters.pin import pin_history

    with command_errors():
        settings = open_settings()
        registry = open_registry(settings)
        pins = tuple(e for e in pin_history(adapter_store(settings)) if name in (None, e.act.model))
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
            show_history(found.entries, pins)
        found.require_whole()


def compare(
    one: Annotated[
        str, typer.Argument(metavar="NAME[@ALIAS|VERSION]", help="NAME alone: the champion of that model.")
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@ALIAS|VERSION]]", help="Default: the challenger of the first's model."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put two versions side by side: data, configuration, metrics, the gate's verdicts, significance.

    `compare NAME` puts the champion beside the challenger.

    Values that are the same are counted; they and the bounds of intervals are shown with --json.
    """
    from serving.adapters.comparison import compare_versions
    from serving.adapters.pin import parse_reference
    from serving.adapters.versions import CHALLENGER

    with command_errors():
        registry = open_registry()
        first = parse_reference(one)
        second = parse_reference(first.name if other is None else other, CHALLENGER)
        found = compare_versions(registry.get(first.name, first.ref), registry.get(second.name, second.ref))
        if as_json:
            print_json(found)
        else:
            _show_comparison(found)


def verify(
    which: Annotated[
        str | None, typer.Argument(metavar="[NAME[@ALIAS|VERSION]]", help="Default: everything.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files, weights, signatures, decisions, the audit's chain, and aliases against the audit.

    Exit codes: 0 all is sound, 5 something is not.
    """
    from serving.adapters.inspection import inspect_registry
    from serving.adapters.pin import parse_reference

    with command_errors():
        registry, name, number = open_registry(), None, None
        if which is not None:
            reference = parse_reference(which, "")
            name = reference.name
            if reference.ref:
                number = registry.get(name, reference.ref).version
        found = inspect_registry(registry, name, number)
        bad = [finding for finding in found if finding.sound is False]
        if as_json:
            print_json({"sound": not bad, "findings": found})
        else:
            words = VERDICT | {None: "-"}
            rows = [(item.subject, item.question, words[item.sound], item.detail) for item in found]
            print_table("Verified", ("what", "question", "sound", "detail"), rows)
        if bad:
            typer.echo(f"error: {len(bad)} of {len(found)} findings are not sound.", err=True)
            raise SystemExit(5)


def _show_comparison(found: "Comparison") -> None:
    differing = [pair for pair in found.pairs if pair.differs]
    rows: list[tuple[object, ...]] = [
        (pair.part, pair.what.removesuffix(".estimate"), _cell(pair.left), _cell(pair.right))
        for pair in differing
        if not pair.what.endswith(_BOUNDS)
    ]
    same = len(found.pairs) - len(differing)
    title = f"{found.left} and {found.right}: {len(differing)} values differ, {same} are the same"
    print_table(title, ("part", "what", found.left, found.right), rows)
    if found.gate:
        checks = [(pair.name, _verdict(pair, "left"), _verdict(pair, "right")) for pair in found.gate]
        gate = [("verdict", found.left_status, found.right_status), *checks]
        print_table("Gate", ("check", found.left, found.right), gate)
    if found.paired:
        figures = [
            (name, _cell(found.paired.figures[name])) for name in _FIGURES if name in found.paired.figures
        ]
        title = f"{found.paired.challenger} against {found.paired.champion}, text by text"
        print_table(title, ("what", "value"), figures)
    rich_console().print(found.note, soft_wrap=True, markup=False)


def _verdict(pair: "CheckPair", side: str) -> str:
    check = pair.left if side == "left" else pair.right
    return f"{VERDICT[check.passed]}: {check.detail}" if check else "-"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return "-" if value is None else str(value)

"""How `adapter-control` shows versions, decisions, history and plans; nothing here asks a registry."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from serving.cli.console import print_json, print_table, rich_console
from serving.plain import plain

if TYPE_CHECKING:
    from serving.adapters.audit import Act, AuditEntry
    from serving.adapters.decision import GateDecision
    from serving.adapters.versions import AdapterVersion

VERDICT = {True: "yes", False: "NO", None: "does not apply"}
"""A check's outcome in words."""
_LIST_COLUMNS = ("adapter", "aliases", "gate", "registered (UTC)", "base", "dataset", "git")
_HISTORY_COLUMNS = ("when (UTC)", "who", "what", "adapter", "champion", "why", "outcome")


def show_versions(versions: "Sequence[AdapterVersion]") -> None:
    """Every version with its aliases and the gate's verdict."""
    rows = [
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
    ]
    print_table("Adapters", _LIST_COLUMNS, rows)


def show_facts(title: str, version: "AdapterVersion", metrics: Mapping[str, object], signature: str) -> None:
    """Where one version comes from, and what was measured."""
    rows: list[tuple[str, object]] = [
        ("aliases", ", ".join(version.aliases)),
        ("registered", version.created),
        ("run", version.run_id),
        ("signature", signature),
        *((key, value) for key, value in sorted(version.tags.items()) if value),
        *((f"metric {key}", value) for key, value in metrics.items() if not isinstance(value, dict | list)),
    ]
    print_table(title, ("what", "value"), rows)


def show_decision(decision: "GateDecision") -> None:
    """The gate's verdict, check by check."""
    title = (
        f"Gate: {decision.status}, {decision.decided_at:%Y-%m-%d %H:%M} UTC, "
        f"against champion {decision.champion_version or 'none'}"
    )
    rows = [(check.name, VERDICT[check.passed], check.detail) for check in decision.checks]
    print_table(title, ("check", "passed", "detail"), rows)


def show_history(entries: "Sequence[AuditEntry]", pins: "Sequence[AuditEntry]") -> None:
    """Both audits in one order, without the plans that a later row closes."""
    shown = sorted([*_ended(entries), *_ended(pins)], key=lambda entry: entry.at)
    print_table("History", _HISTORY_COLUMNS, [_row(entry) for entry in shown])


def show_plan(act: "Act", *, as_json: bool) -> None:
    """What a dry run found that would be done."""
    if as_json:
        print_json({"dry_run": True, **plain(act)})
        return
    subject = f"{act.model}/{act.version}" if act.version else act.evidence.get("reference", act.model)
    console = rich_console()
    console.print(
        f"Would {act.action.value} {subject}{_moved(act, ' (champion ', ')')}.", markup=False, soft_wrap=True
    )
    for what in ("share", "against", "again", "status", "waived", "overruled", "split.ended"):
        if act.evidence.get(what):
            console.print(f"  {what}: {act.evidence[what]}", markup=False, soft_wrap=True)
    console.print("Nothing was changed.")


def _ended(entries: "Sequence[AuditEntry]") -> "list[AuditEntry]":
    closed = {entry.closes for entry in entries}
    return [entry for entry in entries if not (entry.step == "begun" and entry.sequence in closed)]


def _row(entry: "AuditEntry") -> tuple[object, ...]:
    act = entry.act
    adapter = f"{act.model}/{act.version}" if act.version else act.evidence.get("reference", act.model)
    when, outcome = f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.step.value
    login = act.evidence.get("os_user", act.by)
    who = act.by if act.by == login else f"{act.by} (login {login})"
    return when, who, act.action.value, adapter, _moved(act), _why(act), outcome


def _why(act: "Act") -> str:
    """The reason, and the decision, waiver or approval behind it, each on its line."""
    lines = [act.reason]
    if decision := act.evidence.get("decision"):
        lines.append(f"decision {decision[:12]}")
    if waived := act.evidence.get("waived"):
        lines += [f"waived: {waived}", f"overruled: {act.evidence.get('overruled', '')}"]
    if again := act.evidence.get("again"):
        lines.append(f"again after a halt: {again}")
    if share := act.evidence.get("share"):
        lines.append(f"{share} of callers, against {act.evidence.get('against', '')}")
    if ended := act.evidence.get("split.ended"):
        lines.append(f"ended the split {ended}")
    if approved := act.evidence.get("approved.by"):
        lines.append(f"approved by {approved}")
    return "\n".join(lines)


def _moved(act: "Act", before: str = "", after: str = "") -> str:
    moved = f"{act.champion_before or 'none'} → {act.champion_after}" if act.champion_after else ""
    return f"{before}{moved}{after}" if moved else ""

"""Whether a registry is what its history says: files, signatures, decisions, audit and aliases.

Everything is read and nothing is changed. One finding for each question, sound ones too, so that a clean
report shows what was looked at. What no check here can show: that the newest rows of audit and registry
were taken away together; a backup elsewhere can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.adapters.audit import Action, AuditEntry, Step
from serving.adapters.history import read_history
from serving.adapters.registry import AdapterRegistry
from serving.adapters.signature import Standing
from serving.adapters.soundness import require_sound
from serving.adapters.splits import ENDED, SPLIT, split_in, told
from serving.adapters.versions import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    MANIFEST_TAG,
    PREVIOUS,
    AdapterVersion,
)
from serving.errors import IntegrityError, InvalidInputError, MissingError

_KNOWN = (CHAMPION, CHALLENGER, PREVIOUS)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Attributes:
        subject: `banking-lora/3`, a model's name, or `registry`.
        question: `files`, `weights`, `signature`, `decision`, `audit`, `aliases`, `split`.
        sound: None where the question cannot be answered or does not apply.
        detail: what was found.
    """

    subject: str
    question: str
    sound: bool | None
    detail: str


def inspect_registry(
    registry: AdapterRegistry, name: str | None = None, version: int | None = None
) -> tuple[Finding, ...]:
    """Look at everything that is kept about one version, one model, or all.

    Args:
        registry: what to look at.
        name: one model only.
        version: one of its versions only; audit and aliases of the model are looked at all the same.

    Raises:
        MissingError: no such model or version, or no registry.
        UnavailableError: the registry does not answer.
    """
    chosen = [registry.get(name, version)] if name and version else registry.versions(name)
    rows = registry.audit.readable()
    by_version: dict[tuple[str, int | None], list[AuditEntry]] = {}
    for row in rows:
        by_version.setdefault((row.act.model, row.act.version), []).append(row)
    found = [_audit(registry, name)]
    for model in sorted({item.name for item in chosen}):
        of_model = [row for row in rows if row.act.model == model]
        found += [_aliases(registry, model, of_model), *_split(registry, model, of_model)]
    for item in chosen:
        found += _of_version(registry, item, by_version.get((item.name, item.version), []))
    return tuple(found)


def aliases_by_audit(rows: Sequence[AuditEntry]) -> dict[str, int]:
    """Where the aliases of a model should point, by what is recorded as done.

    Args:
        rows: audit rows of one model, oldest first.
    """
    aliases: dict[str, int] = {}
    for row in rows:
        act = row.act
        if row.step != Step.DONE or act.version is None:
            continue
        if act.action == Action.REGISTER:
            aliases[CHALLENGER] = act.version
        elif act.action == Action.DELETE:
            aliases = {alias: version for alias, version in aliases.items() if version != act.version}
        elif act.action in (Action.PROMOTE, Action.ROLLBACK):
            aliases[CHAMPION] = act.version
            if act.champion_before is not None:
                aliases[PREVIOUS] = act.champion_before
            if aliases.get(CHALLENGER) == act.version:
                del aliases[CHALLENGER]
    return aliases


def _audit(registry: AdapterRegistry, name: str | None) -> Finding:
    def whole() -> str:
        history = read_history(registry, name)
        history.require_whole()
        return f"{len(history.entries)} rows, each follows from the one before."

    return _asked("registry", "audit", whole)


def _aliases(registry: AdapterRegistry, name: str, rows: Sequence[AuditEntry]) -> Finding:
    pending = [row.act.action.value for row in registry.audit.unfinished() if row.act.model == name]
    present = {alias: version for alias, version in registry.aliases(name).items() if alias in _KNOWN}
    expected = aliases_by_audit(rows)
    if pending:
        told = f"A {pending[0]} was interrupted; the next change finishes it or takes it back."
        return Finding(name, "aliases", None, told)
    if present != expected:
        told = f"They are {_listed(present)}; by the audit they should be {_listed(expected)}."
        return Finding(name, "aliases", False, told)
    return Finding(name, "aliases", True, f"{_listed(present)}, as the audit says.")


def _split(registry: AdapterRegistry, name: str, rows: Sequence[AuditEntry]) -> list[Finding]:
    """Whether the newest split of callers is the one of the audit; nothing where there never was one."""
    try:
        split = split_in(registry.model_tags(name))
    except IntegrityError as error:
        return [Finding(name, "split", False, error.message)]
    done = [row.act.evidence for row in rows if row.step == Step.DONE]
    stated = [evidence[SPLIT] for evidence in done if SPLIT in evidence]
    last = stated[-1] if stated else ""
    if split is None:
        gone = "The audit knows a split of which the registry holds nothing."
        return [Finding(name, "split", False, gone)] if last else []
    same = last == split.to_json()
    if not split.running and not same:  # a promotion's row was planned before it ended the split
        same = f'"id":"{split.id}"' in last and split.id in [evidence.get(ENDED) for evidence in done]
    said = told(split) if split.running else f"{split.id} ended by {split.ended_by}"
    return [Finding(name, "split", same, f"{said}{', as' if same else '; not'} the audit says.")]


def _of_version(
    registry: AdapterRegistry, version: AdapterVersion, rows: Sequence[AuditEntry]
) -> list[Finding]:
    label = version.label

    def files() -> str:
        manifest = version.verify()
        if not any(row.act.action == Action.REGISTER and row.step == Step.DONE for row in rows):
            raise IntegrityError("The files are whole, but the audit knows of no such registration.")
        return (
            f"{len(manifest.files)} files as sealed; manifest {version.tags[MANIFEST_TAG][:12]}… registered."
        )

    def weights() -> str:
        require_sound(version.bundle, version.verify())
        return "Finite; only LoRA and the declared head changed."

    return [
        _asked(label, "files", files),
        _asked(label, "weights", weights),
        _signature(registry, version),
        _decision(version, rows),
    ]


def _signature(registry: AdapterRegistry, version: AdapterVersion) -> Finding:
    if not version.bundle.is_dir():
        return Finding(version.label, "signature", False, "The bundle is gone.")
    found = registry.signatures.examine(version.bundle)
    if found.standing == Standing.VALID:
        sound: bool | None = True
    elif found.standing == Standing.WRONG or registry.signatures.required:
        sound = False
    else:  # absent, or of a key that nobody here asked about
        sound = False if found.standing == Standing.UNKNOWN_KEY and registry.signatures.keys else None
    return Finding(version.label, "signature", sound, f"{str(found).capitalize()}.")


def _decision(version: AdapterVersion, rows: Sequence[AuditEntry]) -> Finding:
    stored = [row.act.evidence.get("decision") for row in rows if row.act.action == Action.DECIDE]
    recorded = next((sha256 for sha256 in reversed(stored) if sha256), None)

    def whole() -> str:
        decision = version.decision()
        assert decision is not None
        if decision.sha256 != recorded:
            raise IntegrityError("The stored decision is not the one that the audit recorded last.")
        return f"Gate {decision.status}, against champion {decision.champion_version or 'none'}."

    if DECISION_TAG not in version.tags:
        if recorded:
            return Finding(
                version.label, "decision", False, "The audit knows a decision; the version has none."
            )
        return Finding(version.label, "decision", None, "Never judged.")
    return _asked(version.label, "decision", whole)


def _asked(subject: str, question: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, question, True, look())
    except (IntegrityError, MissingError, InvalidInputError) as error:
        return Finding(subject, question, False, error.message)


def _listed(aliases: dict[str, int]) -> str:
    return ", ".join(f"{alias} {version}" for alias, version in sorted(aliases.items())) or "none"

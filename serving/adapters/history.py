"""The audit of a registry, and whether rows of it are gone.

A chain of hashes shows a changed row or one removed from the middle, but not a missing end. So the registry
keeps the hash of each model's last row with the model; here both are compared. A writer that comes upon a
missing end goes on, because a damaged history must not keep anyone from rolling back, and writes what it
missed into its own row, so that the next rows cannot cover the loss up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.adapters.audit import AuditEntry
from serving.adapters.manifest import check_name
from serving.errors import IntegrityError, MissingError

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry

GAP = "audit.gap"
"""Evidence of a row that was written where earlier ones were gone: the hash of the last one of those."""


@dataclass(frozen=True, slots=True)
class History:
    """What was done.

    Attributes:
        path: the audit's file.
        entries: rows of the audit, oldest first; their chain is sound.
        losses: a sentence for each place where rows are gone.
    """

    path: Path
    entries: tuple[AuditEntry, ...]
    losses: tuple[str, ...] = ()

    def require_whole(self) -> None:
        """Make sure that no row is gone.

        Raises:
            IntegrityError: the audit was shortened, now or at any time before.
        """
        if self.losses:
            raise IntegrityError(
                f"The audit was shortened: {' '.join(self.losses)}",
                advice=f"Compare {self.path} with its backup; registry and serving go on without it.",
            )


def read_history(registry: "AdapterRegistry", name: str | None = None) -> History:
    """Audit rows of one model, or of all, with what is missing of them.

    Raises:
        IntegrityError: a row was changed, cannot be read, or was removed from the middle.
        MissingError: there is no registry and no audit either.
        UnavailableError: the registry does not answer.
    """
    path = registry.audit.path
    try:
        models = registry.models()
    except MissingError:  # no database: the audit speaks for itself
        if not path.exists():
            raise
        models = []
    if name is not None:
        models = [model for model in models if model == check_name(name)]
    # The heads first: a row that is written meanwhile is then one too many, never one too few.
    heads = {model: registry.audit_head(model) for model in models}
    everything = registry.audit.entries()
    entries = tuple(entry for entry in everything if name in (None, entry.act.model))
    gaps = [_gap(entry) for entry in entries if GAP in entry.act.evidence]
    known = {entry.hash for entry in everything}
    lost = [_lost(registry, model, head, entries) for model, head in heads.items() if head not in known]
    return History(path, entries, (*gaps, *(loss for loss in lost if loss)))


def _gap(entry: AuditEntry) -> str:
    missed = entry.act.evidence[GAP][:12]
    return (
        f"when row {entry.sequence} was written ({entry.at:%Y-%m-%d %H:%M} UTC), "
        f"the row {missed}… on {entry.act.model} before it was gone."
    )


def _lost(
    registry: "AdapterRegistry", model: str, head: str | None, entries: Sequence[AuditEntry]
) -> str | None:
    """What is gone of a model whose last row is not in the audit; None where it never had one."""
    if head is not None:
        return f"the last row on {model} is gone."
    if any(entry.act.model == model for entry in entries) or not registry.versions(model):
        return None
    return f"{model} has registered versions, but no row."

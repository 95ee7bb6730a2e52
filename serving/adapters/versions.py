"""One registered version of an adapter, as everyone else sees it: plain data, no database."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.adapters.decision import GateDecision
from serving.adapters.manifest import MANIFEST_FILE, METRICS_FILE, Manifest, verify
from serving.errors import IntegrityError, InvalidInputError

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases: what serves now, what wants to, what served before."""
MANIFEST_TAG = "manifest.sha256"
KIND_TAG = "kind"
DECISION_TAG = "gate.decision"
PLACE_TAG = "bundle.place"


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """A registered version; its bundle never changes, its aliases and tags do.

    Attributes:
        name: registered model's name.
        version: number that the registry gave it, from 1.
        aliases: aliases that point at it now, sorted.
        created: when it was registered, UTC.
        run_id: the MLflow run that made it; empty where unknown.
        bundle: its folder in the registry; load from a private copy (`loader.fetch`), never from here.
        tags: what MLflow shows beside it.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    bundle: Path
    tags: Mapping[str, str]

    @property
    def label(self) -> str:
        """What tags and call records name it: `banking-lora/3`."""
        return f"{self.name}/{self.version}"

    @property
    def gate_status(self) -> str:
        """`passed`, `waived`, `failed`, or `not judged`."""
        return self.tags.get("gate.status", "not judged")

    def verify(self, *, base_sha256: str | None = None) -> Manifest:
        """Check the registry's copy of the bundle against its manifest and against what was registered.

        Raises:
            MissingError: the bundle is gone.
            IntegrityError: it was altered, or belongs to another base than `base_sha256`.
        """
        return self.check(verify(self.bundle, base_sha256=base_sha256))

    def check(self, manifest: Manifest) -> Manifest:
        """Make sure that a manifest is the one that was registered as this version.

        Raises:
            IntegrityError: it is another one.
        """
        if manifest.sha256 != self.tags.get(MANIFEST_TAG):
            raise IntegrityError(
                f"The bundle of {self.label} is not the one that was registered: {MANIFEST_FILE} differs.",
                advice="Roll back if it serves, then register the adapter again from its training run.",
            )
        return manifest

    def metrics(self) -> Mapping[str, object]:
        """What the training run measured (`metrics.json`); call `verify` first.

        Raises:
            IntegrityError: the file is no JSON object, or holds NaN or infinity.
        """
        try:
            text = (self.bundle / METRICS_FILE).read_text(encoding="utf-8")
            return dict(json.loads(text, parse_constant=_no_number))
        except (OSError, ValueError, TypeError) as error:
            raise IntegrityError(f"{METRICS_FILE} of {self.label} cannot be read: {error}") from error

    def decision(self) -> GateDecision | None:
        """The gate decision stored with this version; None where it was never judged.

        Raises:
            IntegrityError: the stored decision is gone or is not the one that was stored.
        """
        sha256 = self.tags.get(DECISION_TAG, "")
        if not sha256:
            return None
        advice = "`voicebot promote` judges it again."
        if CHAMPION in self.aliases:
            advice = f"It goes on serving; restore {self.decision_file(sha256)} from its backup."
        try:
            decision = GateDecision.from_json(self.decision_file(sha256).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InvalidInputError) as error:
            raise IntegrityError(
                f"The decision on {self.label} cannot be read: {error}", advice=advice
            ) from error
        subject = (decision.model, decision.challenger_version)
        if decision.sha256 != sha256 or subject != (self.name, self.version):
            raise IntegrityError(f"The decision on {self.label} was altered.", advice=advice)
        return decision

    def decision_file(self, sha256: str) -> Path:
        """Where the gate decision with this sha256 is stored."""
        return self.bundle.parent / f"decision-{sha256}.json"


def tags_of(manifest: Manifest) -> dict[str, str]:
    """Tags that MLflow shows beside a version, all from its manifest."""
    origin = manifest.provenance
    return {
        KIND_TAG: origin.kind.value,
        MANIFEST_TAG: manifest.sha256,
        "adapter.sha256": manifest.adapter_sha256,
        "base.model": origin.base_model,
        "base.sha256": origin.base_sha256,
        "dataset.sha256": origin.dataset_sha256,
        "labels.sha256": origin.labels_sha256,
        "git.sha": origin.git_sha,
        "git.dirty": str(origin.git_dirty).lower(),
        "seed": str(origin.seed),
        "trainable.parameters": str(origin.trainable_parameters),
        "gate.status": "not judged",
    }


def version_of(row: Any, aliases: Mapping[str, int], bundle: Path) -> AdapterVersion:
    """A version from MLflow's row of it.

    Args:
        row: MLflow's `ModelVersion`.
        aliases: version by alias of its model; rows that MLflow finds carry none.
        bundle: its folder.
    """
    number = int(row.version)
    return AdapterVersion(
        name=row.name,
        version=number,
        aliases=tuple(sorted(alias for alias, pointed in aliases.items() if pointed == number)),
        created=datetime.fromtimestamp(row.creation_timestamp / 1_000, UTC),
        run_id=row.run_id or "",
        bundle=bundle,
        tags=dict(row.tags),
    )


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON knows")

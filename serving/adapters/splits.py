"""The split that the registry holds for a model: one tag, so that it changes in one transaction.

Reading only, and how a change of it is settled; who may change it is in `splitting`.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serving.adapters.audit import Act
from serving.adapters.versions import CHAMPION, PREVIOUS, AdapterVersion
from serving.arms.split import Split, split_of
from serving.errors import IntegrityError

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry

SPLIT_TAG = "arms.split"
SPLIT = "split"
"""Evidence of a row that started, altered or ended a split: the document as it is then."""
ENDED = "split.ended"
"""Evidence of a promotion or rollback: id of the split that it ends."""


def split_in(tags: Mapping[str, str]) -> Split | None:
    """The newest split of a model, running or ended; None where there was none.

    Args:
        tags: the model's (`AdapterRegistry.model_tags`).

    Raises:
        IntegrityError: what is there is no split.
    """
    text = tags.get(SPLIT_TAG, "")
    return split_of(text) if text else None


def running_in(tags: Mapping[str, str]) -> Split | None:
    """The split that runs, if one does; a damaged one does not, for it must keep nobody from anything."""
    with contextlib.suppress(IntegrityError):
        split = split_in(tags)
        return split if split is not None and split.running else None
    return None


def told(split: Split) -> str:
    """A split in half a sentence."""
    return f"{split.challenger} gets {split.percent} % beside {split.champion}, started by {split.by}"


def end_with(registry: "AdapterRegistry", act: Act) -> None:
    """End the split that a finished promotion or rollback names; harmless twice."""
    split = running_in(registry.model_tags(act.model))
    if split is not None and split.id == act.evidence.get(ENDED):
        why = f"{act.action.value} of {act.model}/{act.version}: {act.reason}"
        registry.set_model_tag(
            act.model, SPLIT_TAG, split.ended(datetime.now(UTC), by=act.by, why=why).to_json()
        )


def settle_split(registry: "AdapterRegistry", act: Act) -> Act | None:
    """The act, where the registry holds what it planned."""
    return act if registry.model_tags(act.model).get(SPLIT_TAG, "") == act.evidence[SPLIT] else None


def kept_because(version: AdapterVersion, tags: Mapping[str, str]) -> str:
    """Why a version cannot be deleted; empty where it can."""
    if kept := sorted({CHAMPION, PREVIOUS} & set(version.aliases)):
        return f"the {kept[0]}"
    split = running_in(tags)
    return f"the challenger of the split {split.id}" if split and split.challenger == version.label else ""


def with_ending(registry: "AdapterRegistry", act: Act) -> Act:
    """An act that moves the champion, with the split that it ends in its evidence."""
    split = running_in(registry.model_tags(act.model))
    return replace(act, evidence={**act.evidence, ENDED: split.id}) if split else act

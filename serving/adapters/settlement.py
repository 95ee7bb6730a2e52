"""How a change of the registry is finished or taken back.

Each change has one deciding step, a single MLflow transaction. `settle` looks whether it was made and
then does the rest; it may run any number of times, after a normal change, after an error, or when the
next writer finds the row of a writer that was killed.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serving.adapters.audit import Act, Action
from serving.adapters.manifest import SIGNATURE_FILE
from serving.adapters.splits import end_with, settle_split
from serving.adapters.versions import CHALLENGER, CHAMPION, DECISION_TAG, PLACE_TAG, PREVIOUS
from serving.errors import MissingError

if TYPE_CHECKING:
    from serving.adapters.registry import AdapterRegistry


def settle(registry: "AdapterRegistry", act: Act) -> Act | None:
    """Finish an act whose deciding step was made; take back what is left of any other.

    Returns:
        The finished act, completed by what only the registry knew; None where nothing happened.
    """
    try:
        return _SETTLERS[act.action](registry, act)
    except MissingError:  # the model or the version was removed behind our back
        return None


def _registration(registry: "AdapterRegistry", act: Act) -> Act | None:
    place = act.evidence["place"]
    version = registry.tagged(act.model, PLACE_TAG, place)
    if version is not None:
        registry.set_alias(act.model, CHALLENGER, version.version)
        return replace(act, version=version.version)
    shutil.rmtree(registry.place(act.model, place), ignore_errors=True)
    return None


def _decision(registry: "AdapterRegistry", act: Act) -> Act | None:
    version = registry.get(act.model, act.version or 0)
    sha256 = act.evidence["decision"]
    if version.tags.get(DECISION_TAG) != sha256:
        version.decision_file(sha256).unlink(missing_ok=True)
        return None
    registry.set_tags(act.model, version.version, {"gate.status": act.evidence["status"]})
    return act


def _move(registry: "AdapterRegistry", act: Act) -> Act | None:
    aliases, new = registry.aliases(act.model), act.champion_after
    if new is None or aliases.get(CHAMPION) != new:
        return None
    if act.champion_before is not None:
        registry.set_alias(act.model, PREVIOUS, act.champion_before)
    if aliases.get(CHALLENGER) == new:
        registry.drop_alias(act.model, CHALLENGER)
    stamp = {
        "promoted.by": act.by,
        "promoted.at": datetime.now(UTC).isoformat(timespec="seconds"),
        "promoted.reason": act.reason,
        "promoted.waived": act.evidence.get("waived", ""),
    }
    registry.set_tags(act.model, new, stamp)
    end_with(registry, act)
    return act


def _deletion(registry: "AdapterRegistry", act: Act) -> Act | None:
    with contextlib.suppress(MissingError):
        registry.get(act.model, act.version or 0)
        return None
    shutil.rmtree(registry.place(act.model, act.evidence["place"]), ignore_errors=True)
    return act


def _signing(registry: "AdapterRegistry", act: Act) -> Act | None:
    file = registry.get(act.model, act.version or 0).bundle / SIGNATURE_FILE
    with contextlib.suppress(OSError):
        if hashlib.sha256(file.read_bytes()).hexdigest() == act.evidence["signature"]:
            return act
    return None


def _single_row(_registry: "AdapterRegistry", act: Act) -> Act:
    return act


_SETTLERS: Mapping[Action, Callable[["AdapterRegistry", Act], Act | None]] = {
    Action.REGISTER: _registration,
    Action.DECIDE: _decision,
    Action.PROMOTE: _move,
    Action.ROLLBACK: _move,
    Action.DELETE: _deletion,
    Action.SIGN: _signing,
    Action.PIN: _single_row,
    Action.DISABLE: _single_row,
    Action.SPLIT: settle_split,
    Action.STOP: settle_split,
    Action.HALT: settle_split,
}

"""Two versions side by side: data, configuration, metrics, and the gate's verdict check by check.

Numbers come from the sealed bundles and the stored decisions; nothing is measured again here, because each
measurement is a look at the test set. Whether a difference is more than chance can be said only where the
gate judged one against the other on the same texts; its paired figures are shown then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.adapters.decision import Check, GateDecision
from serving.adapters.versions import AdapterVersion
from serving.errors import IntegrityError
from serving.plain import plain

_PAIRED_CHECK = "non_inferior"
_LONGEST = 80
_SECTIONS = ("config", "dataset")
"""Parts of `metrics.json` that say what went in; the rest is what came out."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One value of both versions.

    Attributes:
        part: `origin`, `data`, `config` or `metrics`.
        what: the value's name.
        left: of the first version; None where it has none.
        right: of the second.
    """

    part: str
    what: str
    left: object
    right: object

    @property
    def differs(self) -> bool:
        """Whether both versions have different values."""
        return self.left != self.right


@dataclass(frozen=True, slots=True)
class CheckPair:
    """One check of the gate for both versions; None where one was not judged or had no such check."""

    name: str
    left: Check | None
    right: Check | None


@dataclass(frozen=True, slots=True)
class Paired:
    """What the gate found when it judged one version against the other, text by text.

    Attributes:
        challenger: label of the version that was judged.
        champion: label of the version that it was judged against.
        figures: items, gained, lost, difference with interval, McNemar's p.
    """

    challenger: str
    champion: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions side by side.

    Attributes:
        left: label of the first version.
        right: label of the second.
        pairs: every value that either has.
        gate: every check that either was put to.
        left_status: the gate's verdict on the first.
        right_status: on the second.
        paired: the gate's own comparison of both; None where there is none.
        note: what can be said about significance, in a sentence.
    """

    left: str
    right: str
    pairs: tuple[Pair, ...]
    gate: tuple[CheckPair, ...]
    left_status: str
    right_status: str
    paired: Paired | None
    note: str


def compare_versions(left: AdapterVersion, right: AdapterVersion) -> Comparison:
    """Put two versions side by side.

    Raises:
        IntegrityError: a bundle was altered. A damaged decision counts as none.
    """
    pairs = []
    one, other = _values(left), _values(right)
    for part, what in dict.fromkeys((*one, *other)):
        pairs.append(Pair(part, what, one.get((part, what)), other.get((part, what))))
    decisions = _readable(left), _readable(right)
    paired = _paired(left, right, *decisions)
    return Comparison(
        left=left.label,
        right=right.label,
        pairs=tuple(pairs),
        gate=_checks(*decisions),
        left_status=left.gate_status,
        right_status=right.gate_status,
        paired=paired,
        note=_note(paired, *decisions),
    )


def _values(version: AdapterVersion) -> dict[tuple[str, str], object]:
    """Every single value of a version, by part and name; lists (logs, worst intents) are left out."""
    origin = plain(version.verify().provenance)
    del origin["changed_tensors"]
    found: dict[tuple[str, str], object] = {}
    for name, value in origin.items():
        found["data" if name in ("dataset_sha256", "labels_sha256") else "origin", name] = value
    for name, value in _flat(version.metrics()).items():
        head, _, rest = name.partition(".")
        part = {"config": "config", "dataset": "data"}.get(head, "metrics")
        found[part, rest if head in _SECTIONS and rest else name] = value
    return found


def _flat(document: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            found[f"{prefix}{name}"] = value[:_LONGEST] if isinstance(value, str) else value
    return found


def _readable(version: AdapterVersion) -> GateDecision | None:
    try:
        return version.decision()
    except IntegrityError:
        return None


def _checks(left: GateDecision | None, right: GateDecision | None) -> tuple[CheckPair, ...]:
    one, other = ({check.name: check for check in found.checks} if found else {} for found in (left, right))
    return tuple(CheckPair(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other)))


def _paired(
    left: AdapterVersion,
    right: AdapterVersion,
    left_decision: GateDecision | None,
    right_decision: GateDecision | None,
) -> Paired | None:
    if left.name != right.name:
        return None
    for judged, against, decision in ((right, left, right_decision), (left, right, left_decision)):
        if decision is None or decision.champion_version != against.version:
            continue
        evidence = next((check.evidence for check in decision.checks if check.name == _PAIRED_CHECK), {})
        if evidence:
            return Paired(judged.label, against.label, evidence)
    return None


def _note(paired: Paired | None, left: GateDecision | None, right: GateDecision | None) -> str:
    if paired is not None:
        p_value = paired.figures.get("mcnemar_p")
        told = f"{paired.challenger} was judged against {paired.champion} on the same texts"
        if not isinstance(p_value, int | float):
            return f"{told}."
        verdict = "more than chance" if p_value < 0.05 else "no more than chance would give"
        return f"{told}: the difference is {verdict} (McNemar p = {p_value:.3f})."
    if left is None or right is None:
        return "Nothing can be said about significance: not both were judged."
    if left.test_sha256 != right.test_sha256:
        return "Nothing can be said about significance: they were judged on different test sets."
    return (
        "Same test set, but neither was judged against the other, and answers are not kept text by text; "
        "the intervals of each say how far its own figure can be trusted."
    )

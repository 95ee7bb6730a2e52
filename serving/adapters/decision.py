"""The gate's decision about one adapter version, as it is stored and as promotion requires it.

The gate itself is a pure function in `evaluation`; here is only its result: what was checked, with
which evidence, against which champion. A decision that contradicts itself cannot be made or read.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from serving.errors import InvalidInputError

NEVER_WAIVED = frozenset({"bundle_sound", "only_adapter_changed"})
"""Checks of what the adapter is, not of how good it is; no reason makes a broken bundle right."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question of the gate.

    Attributes:
        name: short and stable, such as `non_inferior`.
        passed: None where the check does not apply (no champion yet, too few items).
        detail: one sentence with the numbers that decided.
        evidence: those numbers, as JSON types.
    """

    name: str
    passed: bool | None
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The gate's verdict on a challenger against the champion of that moment.

    Attributes:
        model: registered model's name.
        challenger_version: the version that was judged; None until it is stored with one.
        champion_version: the champion that it was judged against; None where there was none.
        test_sha256: the test set.
        checks: every check, also those that did not apply.
        passed: whether every check passed, did not apply or was waived.
        waived: written reason by name of a failed check that a person overruled.
        decided_at: UTC.
    """

    model: str
    challenger_version: int | None
    champion_version: int | None
    test_sha256: str
    checks: tuple[Check, ...]
    passed: bool
    waived: Mapping[str, str] = field(default_factory=dict)
    decided_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        names = [check.name for check in self.checks]
        if len(set(names)) < len(names):
            raise InvalidInputError(f"A gate's checks must differ by name; these are {', '.join(names)}.")
        _require_known(self.waived, names)
        if self.passed != verdict(self.checks, self.waived):
            raise InvalidInputError("The decision contradicts its checks: `passed` does not follow.")
        if self.decided_at.tzinfo is None:
            raise InvalidInputError("The time of a decision must carry its time zone (UTC).")

    @property
    def status(self) -> str:
        """`passed`, `waived` (passed only because a person overruled a check) or `failed`."""
        if not self.passed:
            return "failed"
        return "waived" if any(c.name in self.waived and c.passed is False for c in self.checks) else "passed"

    @property
    def failures(self) -> tuple[Check, ...]:
        """Failed checks that nobody overruled."""
        return tuple(c for c in self.checks if c.passed is False and c.name not in self.waived)

    @property
    def sha256(self) -> str:
        """Identity of the decision, written into the audit."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The decision as canonical JSON: the same decision always gives the same text."""
        document = asdict(self) | {"decided_at": self.decided_at.astimezone(UTC).isoformat()}
        try:
            return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"A check's evidence is not JSON: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InvalidInputError: it is no decision or contradicts itself.
        """
        try:
            fields: dict[str, Any] = dict(json.loads(text))
            fields["checks"] = tuple(Check(**check) for check in fields["checks"])
            fields["decided_at"] = datetime.fromisoformat(fields["decided_at"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidInputError(f"This is no gate decision: {error}.") from error


def verdict(checks: tuple[Check, ...], waived: Mapping[str, str]) -> bool:
    """Whether checks let an adapter through: none failed without a waiver, and at least one passed."""
    blocked = any(check.passed is False and check.name not in waived for check in checks)
    return not blocked and any(check.passed for check in checks)


def require_waivable(waived: Mapping[str, str], checks: Collection[str]) -> None:
    """Refuse waivers that no decision could carry; asked before anything is judged, because that is dear.

    Args:
        waived: written reason by name of a check.
        checks: names of the gate's checks.

    Raises:
        InvalidInputError: a waiver for an unknown check, without a reason, or for a check that is never
            waived.
    """
    _require_known(waived, checks)
    if forbidden := sorted(NEVER_WAIVED & waived.keys()):
        raise InvalidInputError(f"The check {forbidden[0]} cannot be waived.", advice="Train again.")


def _require_known(waived: Mapping[str, str], checks: Collection[str]) -> None:
    if unknown := sorted(waived.keys() - set(checks)):
        known = ", ".join(checks) or "none"
        raise InvalidInputError(f"There is no check {unknown[0][:80]!r}; there are {known}.")
    if silent := [name for name, reason in waived.items() if not reason.strip()]:
        raise InvalidInputError(f"A waived check needs a written reason; {silent[0]} has none.")

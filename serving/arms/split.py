"""A split: which share of the callers a challenger answers, since when, by whom, and why it ended.

Plain data that is kept as one JSON document, so that it changes in one step or not at all. A split that has
ended never runs again; another one is another experiment, with other callers in the challenger's arm.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from serving.arms.guardrail import Guard
from serving.errors import IntegrityError, InvalidInputError
from serving.telemetry import attributes

MOST_SHARES = 20
"""How often a split is altered; then another one is started, for the document stays small."""
_LONGEST_NAME, _LONGEST_REASON = 120, 1_000
_ID = re.compile(r"[0-9a-z]{12}")
_LETTERS = str.maketrans("0123456789", "ghijkmnpqr")
"""New ids are letters alone: a row of digits in a log reads as an account's number, and is taken out."""


class Arm(StrEnum):
    """Which of both adapters a call got; the words of records, metrics and spans."""

    CHAMPION = attributes.CHAMPION
    CHALLENGER = "challenger"


class PrimaryMetric(StrEnum):
    """What may decide a comparison; `evaluation.arm_metrics` defines each."""

    RESOLVED_CONTAINMENT = "resolved_containment"
    FIRST_CONTACT_RESOLUTION = "first_contact_resolution"
    CSAT = "csat"
    SURVEY = "survey"
    TRANSFER = "transfer"
    FAILED_TURNS = "failed_turns"
    HANDLE_TIME = "handle_time"
    VOICE_TO_VOICE = "voice_to_voice"


@dataclass(frozen=True, slots=True)
class Share:
    """The challenger's share from a moment on.

    Attributes:
        since: UTC.
        percent: of callers, 0 to 100.
    """

    since: datetime
    percent: int

    def __post_init__(self) -> None:
        if type(self.percent) is not int or not 0 <= self.percent <= 100:
            raise InvalidInputError(f"A challenger's share is 0 to 100 percent, not {self.percent!r:.40}.")
        if self.since.tzinfo is None:
            raise InvalidInputError("The time of a share needs a zone.")


@dataclass(frozen=True, slots=True)
class Split:
    """A comparison of two versions of one adapter on real callers.

    Attributes:
        id: 12 letters or digits, random; also what mixes the callers anew for each split.
        champion: version that most callers get, such as `banking-lora/2`.
        challenger: version that the others get.
        shares: the challenger's share, oldest first; the last one holds.
        by: who started it.
        why: in that person's words.
        guard: what the challenger must not make worse.
        cold: it may run although a cache scope of an arm holds nothing.
        primary: what the comparison is decided by, named before the first call.
        ended_at: UTC; None while it runs.
        ended_by: who or what ended it.
        ended_why: with the figures, where the guardrail did.
    """

    id: str
    champion: str
    challenger: str
    shares: tuple[Share, ...]
    by: str
    why: str
    guard: Guard = field(default_factory=Guard)
    cold: bool = False
    primary: PrimaryMetric = PrimaryMetric.RESOLVED_CONTAINMENT
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_why: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id) or not 1 <= len(self.shares) <= MOST_SHARES:
            raise InvalidInputError(f"A split has an id and 1 to {MOST_SHARES} shares.")
        if self.champion == self.challenger or _model(self.champion) != _model(self.challenger):
            raise InvalidInputError(
                f"A split is between two versions of one adapter, not {self.champion} and {self.challenger}."
            )

    @property
    def model(self) -> str:
        """Registered model's name."""
        return _model(self.champion)

    @property
    def champion_version(self) -> int:
        """The champion's number."""
        return int(self.champion.rpartition("/")[2])

    @property
    def challenger_version(self) -> int:
        """The challenger's number."""
        return int(self.challenger.rpartition("/")[2])

    @property
    def started_at(self) -> datetime:
        """UTC."""
        return self.shares[0].since

    @property
    def running(self) -> bool:
        """Whether it has not ended; a split of 0 percent runs, and new callers all get the champion."""
        return self.ended_at is None

    @property
    def percent(self) -> int:
        """The challenger's share of new calls now: 0 once the split has ended."""
        return self.shares[-1].percent if self.running else 0

    def altered(self, percent: int, at: datetime) -> "Split":
        """The split with another share from a moment on.

        Raises:
            InvalidInputError: no percentage, or it was altered too often.
        """
        if len(self.shares) >= MOST_SHARES:
            raise InvalidInputError(
                f"The split {self.id} has had {MOST_SHARES} shares, and takes no more.",
                advice="Stop it and start another one; that draws all callers anew.",
            )
        return replace(self, shares=(*self.shares, Share(at, percent)))

    def ended(self, at: datetime, *, by: str, why: str) -> "Split":
        """The split, ended."""
        return replace(self, ended_at=at, ended_by=by[:_LONGEST_NAME], ended_why=why[:_LONGEST_REASON])

    def to_json(self) -> str:
        """One line, the same for equal splits."""
        document = asdict(self) | {
            "shares": [[share.since.isoformat(), share.percent] for share in self.shares],
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def new_split(
    champion: str,
    challenger: str,
    percent: int,
    *,
    by: str,
    why: str,
    guard: Guard,
    cold: bool = False,
    primary: PrimaryMetric = PrimaryMetric.RESOLVED_CONTAINMENT,
) -> Split:
    """A split that starts now.

    Args:
        champion: version that serves, such as `banking-lora/2`.
        challenger: version that gets a share.
        percent: the share, 0 to 100.
        by: who starts it.
        why: in that person's words.
        guard: what the challenger must not make worse.
        cold: it may run although a cache scope holds nothing.
        primary: what the comparison is decided by.

    Raises:
        InvalidInputError: no percentage, or the versions are none of one adapter.
    """
    return Split(
        id=secrets.token_hex(6).translate(_LETTERS),
        champion=champion,
        challenger=challenger,
        shares=(Share(datetime.now(UTC), percent),),
        by=by[:_LONGEST_NAME],
        why=why[:_LONGEST_REASON],
        guard=guard,
        cold=cold,
        primary=primary,
    )


def split_of(text: str) -> Split:
    """The split that `Split.to_json` wrote.

    Raises:
        IntegrityError: the text is none.
    """
    try:
        document = dict(json.loads(text))
        ended = document["ended_at"]
        fields = document | {
            "shares": _shares(document["shares"]),
            "guard": Guard(**document["guard"]),
            # Splits of before it was kept were decided by the default.
            "primary": PrimaryMetric(document.get("primary", PrimaryMetric.RESOLVED_CONTAINMENT)),
            "ended_at": _moment(ended) if ended is not None else None,
        }
        words = [fields[name] for name in ("id", "champion", "challenger", "by", "why", "ended_why")]
        if not all(isinstance(word, str) for word in words) or type(fields["cold"]) is not bool:
            raise TypeError("a field is of another kind")
        split = Split(**fields)
        _ = split.champion_version, split.challenger_version
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidInputError) as error:
        raise IntegrityError(
            f"What the registry holds as the split of callers is none ({type(error).__name__}).",
            advice='`adapter-control split --stop "why"` clears it; until then the champion takes all calls.',
        ) from error
    return split


def _shares(rows: Sequence[tuple[str, int]]) -> tuple[Share, ...]:
    return tuple(Share(_moment(since), percent) for since, percent in rows)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _model(label: str) -> str:
    return label.rpartition("/")[0]

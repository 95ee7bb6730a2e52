"""One look at a service: calls in progress by phase and server, and how today's calls ended and waited.

Pure: what is in progress comes from the live state, the rest from the call records. Percentiles are of single
turns, never averages of percentiles.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from serving.call.live_state import LiveSnapshot, LiveState
from serving.call.store import CallStore


@dataclass(frozen=True, slots=True)
class CallStats:
    """Figures of one moment.

    Attributes:
        at: UTC.
        since: UTC; when the bank's day began.
        in_progress: calls whose state is known.
        phases: of those, how many are in which phase.
        servers: of those, how many are on which server.
        longest_s: age of the oldest of them, seconds; None without calls.
        ended: calls that ended today.
        endings: of those, how many ended in which way.
        spoken_turns: spoken turns of today that were answered.
        voice_to_voice_median_s: of those; None without turns.
        voice_to_voice_p95_s: of those; under 100 turns fewer than five lie beyond it.
    """

    at: datetime
    since: datetime
    in_progress: int
    phases: Mapping[str, int]
    servers: Mapping[str, int]
    longest_s: float | None
    ended: int
    endings: Mapping[str, int]
    spoken_turns: int
    voice_to_voice_median_s: float | None
    voice_to_voice_p95_s: float | None


def stats_of(
    calls: Sequence[LiveSnapshot],
    endings: Mapping[str, int],
    waits: Iterable[float],
    *,
    at: datetime,
    since: datetime,
) -> CallStats:
    """Figures of calls in progress, endings and voice-to-voice times (seconds; what is none is left out)."""
    usable = sorted(wait for wait in waits if math.isfinite(wait) and wait >= 0)
    return CallStats(
        at=at,
        since=since,
        in_progress=len(calls),
        phases=dict(sorted(Counter(call.phase for call in calls).items())),
        servers=dict(sorted(Counter(call.server for call in calls).items())),
        longest_s=max(((at - call.started_at).total_seconds() for call in calls), default=None),
        ended=sum(endings.values()),
        endings=dict(endings),
        spoken_turns=len(usable),
        voice_to_voice_median_s=quantile(usable, 0.5),
        voice_to_voice_p95_s=quantile(usable, 0.95),
    )


def stats_now(
    state: LiveState, records: CallStore, *, timezone: str, now: datetime | None = None
) -> CallStats:
    """Figures of this moment.

    Args:
        state: the calls in progress.
        records: those that ended.
        timezone: where the bank's day begins (IANA name).
        now: with a zone; default: this moment.

    Raises:
        UnavailableError: the state or the records are out of reach.
    """
    at = (now or datetime.now(UTC)).astimezone(UTC)
    since = day_began(at, timezone)
    return stats_of(
        state.calls(), records.endings(since=since), records.waits(since=since), at=at, since=since
    )


def day_began(now: datetime, timezone: str) -> datetime:
    """The last midnight of a time zone, in UTC."""
    local = now.astimezone(ZoneInfo(timezone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def quantile(ordered: Sequence[float], level: float) -> float | None:
    """A quantile of ordered values, linear between two of them; None without values."""
    if not ordered:
        return None
    place = level * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])

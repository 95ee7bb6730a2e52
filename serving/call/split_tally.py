"""What the ended calls of a split come to, for the guardrail and for people who ask.

Every server with the same records comes to the same counts. A caller counts once, with the first call, under
the share that held when it began; calls under different shares are never added up.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from serving.arms.guardrail import CallOutcome, Finding, Guard, Tally, harmful, judge
from serving.arms.split import Split
from serving.call.arms import outcome_of
from serving.call.record import CallRecord

_LATE = timedelta(hours=1)
"""How late a record may come behind others that ended after it: the database was away, or a clock is slow."""
_AT_ONCE = 500
"""Calls that are read at a time."""


class SplitRecords(Protocol):
    """Where the ended calls of a split are; see `serving.call.store.CallStore`."""

    def ended_in_split(self, split: str, *, since: datetime) -> list[tuple[str, datetime]]:
        """Id and end of calls that ended at or after a time, oldest end first."""
        ...

    def these(self, call_ids: Sequence[str]) -> list[CallRecord]:
        """Calls by their ids."""
        ...


class SplitTally:
    """Counts of one split, brought up to date with each look.

    Args:
        split: which one.
        records: its ended calls.
    """

    def __init__(self, split: Split, records: SplitRecords) -> None:
        self.split = split
        self._tallies = [Tally() for _ in split.shares]
        self._records = records
        self._since = split.started_at
        self._seen: dict[str, datetime] = {}
        self._callers: set[str] = set()

    @property
    def tally(self) -> Tally:
        """Calls that began under the newest share."""
        return self._tallies[-1]

    def harmful(self) -> bool:
        """Whether `findings` may hold a broken one; mostly in microseconds."""
        return any(harmful(tally, self._guard(place)) for place, tally in enumerate(self._tallies))

    def findings(self) -> tuple[Finding, ...]:
        """What the guardrail finds under the newest share, or under an earlier one that shows harm."""
        places = range(len(self._tallies) - 1, -1, -1)
        harm = (place for place in places if harmful(self._tallies[place], self._guard(place)))
        place = next(harm, places[0])
        return judge(self._tallies[place], self._guard(place))

    def update(self) -> bool:
        """Read what has ended since the last look; returns whether anything did.

        Raises:
            VoicebotError: the records are out of reach; nothing was counted twice.
        """
        ended = self._records.ended_in_split(self.split.id, since=self._since - _LATE)
        fresh = [(call_id, at) for call_id, at in ended if call_id not in self._seen]
        for start in range(0, len(fresh), _AT_ONCE):
            some = dict(fresh[start : start + _AT_ONCE])
            calls = {call.call_id: call for call in self._records.these(list(some))}
            outcomes: dict[int, list[CallOutcome]] = {}
            for call in (calls[call_id] for call_id in some if call_id in calls):
                outcome = outcome_of(call, self.split.guard)
                if outcome is not None and self._first(call):
                    outcomes.setdefault(self._share(call), []).append(outcome)
            for place, found in outcomes.items():
                self._tallies[place] = self._tallies[place].with_calls(found)
            self._seen |= some
        if fresh:
            # A clock that is ahead would make the calls of all other servers late ones.
            self._since = max(self._since, min(fresh[-1][1], datetime.now(UTC)))
            self._seen = {key: at for key, at in self._seen.items() if at >= self._since - _LATE}
        return bool(fresh)

    def _first(self, call: CallRecord) -> bool:
        """Whether it is its caller's first one with an outcome: a lost call, filed late, hides none."""
        if call.caller_key in self._callers:
            return False
        self._callers.add(call.caller_key)
        return True

    def _share(self, call: CallRecord) -> int:
        """Place of the share under which a call began; the first one where clocks differ at the start."""
        began = sum(share.since <= call.started_at for share in self.split.shares)
        return max(0, began - 1)

    def _guard(self, place: int) -> Guard:
        return self.split.guard.at_share(place)

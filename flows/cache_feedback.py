"""What callers did after an answer from the cache, as feedback on it: read from the records of their calls.

It may run as often as one likes: each call and turn tells once. Nothing is read but the records, which are
redacted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from serving.cache.protocol import Feedback, Signal
from serving.cache.store import CacheStore
from serving.cache.types import Outcome
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord

ACTOR = "cache-feedback"
WINDOW = timedelta(days=14)
"""How far back calls are read; what they told is known already, but for the newest."""
WITHIN_TURNS = 2
"""A caller who asks again, or for a person, this soon was not helped."""
SETTLES = timedelta(hours=1)
"""After this no call is open any more (setting `longest_call_s`), and its hits can be counted."""
_ON = frozenset({Decision.CACHE_HIT, Decision.ANSWER, Decision.TOOL, Decision.DISCLOSURE, Decision.CLARIFY})
"""What the bot does with a turn that brings up something else."""
_CONTENT = frozenset({"thanks", "goodbye"})
"""Intents of callers who have what they wanted."""


@dataclass(frozen=True, slots=True)
class FeedbackOutcome:
    """What the calls told.

    Attributes:
        calls: calls of the window that are over.
        hits: answers from the cache in them.
        told: signal → how many were new.
        unknown: hits on entries that are not there any more.
    """

    calls: int
    hits: int
    told: dict[str, int]
    unknown: int


def signals_of(call: CallRecord) -> Iterator[Feedback]:
    """What an ended call tells of the answers that it had from the cache; nothing of a lost one.

    The surest sign of a hit comes alone: a caller who interrupts and then asks again tells of one hit.
    Where nothing was said or done afterwards, nothing is known.
    """
    if call.ended_at is None or call.ending in {None, Ending.LOST}:
        return
    turns = sorted(call.turns, key=lambda turn: turn.index)
    for place, turn in enumerate(turns):
        entry_id = hit_of(turn)
        signal = _signal(call, turn, turns[place + 1 :]) if entry_id else None
        if signal is not None:
            yield Feedback(entry_id, signal, turn.started_at, f"call:{call.call_id}:{turn.index}", ACTOR)


def hit_of(turn: TurnRecord) -> str:
    """Id of the entry that a turn was answered with; empty where it was not answered from the cache."""
    record = turn.cache
    served = turn.decision is Decision.CACHE_HIT and record is not None and record.outcome == Outcome.HIT
    return record.entry_id if served and record is not None else ""


def uncounted_hits(
    calls: Iterable[CallRecord], last_hits: Mapping[str, datetime | None], until: datetime
) -> dict[str, tuple[int, datetime]]:
    """Hits that no run has counted: entry → (how many, the last one in UTC).

    An entry's last counted hit is its own mark of how far it was counted, so a run that is repeated, or
    broken off, counts nothing twice.

    Args:
        calls: of the window.
        last_hits: entry → its last counted hit; None for none.
        until: hits after this are left for a later run: their calls may not be on record yet.
    """
    found: dict[str, tuple[int, datetime]] = {}
    for turn in (turn for call in calls for turn in call.turns):
        entry_id, at = hit_of(turn), turn.started_at.astimezone(UTC)
        last = last_hits.get(entry_id)
        if entry_id in last_hits and at <= until and (last is None or at > last):
            count, latest = found.get(entry_id, (0, at))
            found[entry_id] = (count + 1, max(at, latest))
    return found


def take_feedback(store: CacheStore, calls: Sequence[CallRecord], now: datetime) -> FeedbackOutcome:
    """Record what calls tell and count their hits; what is believed is brought up to date by the eviction.

    Args:
        store: the cache's truth.
        calls: of the window.
        now: UTC time.
    """
    there = {it.entry.id: it.last_hit_at for it in store.stored()}
    hits = uncounted_hits(calls, there, now - SETTLES)
    if hits:
        store.count_hits(hits)
    told: dict[str, int] = {}
    for feedback in (it for call in calls for it in signals_of(call)):
        if feedback.entry_id in there and store.add_feedback(feedback):
            told[feedback.signal] = told.get(feedback.signal, 0) + 1
    served = [entry_id for call in calls for turn in call.turns if (entry_id := hit_of(turn))]
    return FeedbackOutcome(
        calls=sum(call.ended_at is not None for call in calls),
        hits=len(served),
        told=dict(sorted(told.items())),
        unknown=sum(entry_id not in there for entry_id in served),
    )


def _signal(call: CallRecord, hit: TurnRecord, after: Sequence[TurnRecord]) -> Signal | None:
    soon = after[:WITHIN_TURNS]
    left = call.ending is Ending.TRANSFERRED and len(after) <= WITHIN_TURNS
    if left or any(turn.decision is Decision.TRANSFER for turn in soon):
        return Signal.ESCALATED
    if any(_asks_again(hit, turn) for turn in soon):
        return Signal.REASKED
    if hit.barge_in_s is not None:
        return Signal.BARGED_IN
    if call.confirmed is False:
        return None
    following = after[0] if after and after[0].in_scope else None
    went_on = following is not None and (following.decision in _ON or following.intent in _CONTENT)
    return Signal.SETTLED if went_on or (not after and call.confirmed) else None


def _asks_again(hit: TurnRecord, later: TurnRecord) -> bool:
    """The same matter, and not another question of it that had another answer ready."""
    if not later.in_scope or later.intent != hit.intent or later.decision is Decision.CONTROL:
        return False
    return later.answer == hit.answer or not hit_of(later)

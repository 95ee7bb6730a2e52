"""Calls as a contact centre sees them: who was engaged, how it came out, who came back.

Pure functions of call records. A re-contact is a later engaged call of the same caller hash about the
same matter within the window; without a hash nobody can be seen coming back, and such a call is never
counted as resolved.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from serving.call.machine import Ending
from serving.call.policy import CONTROL
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.errors import InvalidInputError

_NO_MATTER = frozenset({Decision.CONTROL, Decision.REPROMPT, Decision.OUT_OF_SCOPE})


class CallOutcome(StrEnum):
    """How an engaged call came out; every call has exactly one."""

    CONFIRMED = "confirmed"
    """Not transferred, and the caller confirmed that the matter is settled."""
    UNCONFIRMED = "unconfirmed"
    """Went to its end without a transfer and without that confirmation."""
    ABANDONED = "abandoned"
    """The caller left before confirming anything."""
    TRANSFERRED = "transferred"


class TransferReason(StrEnum):
    """Why a call went to a person, read from its last turn."""

    FAILED = "something failed"
    NOT_UNDERSTOOD = "not understood"
    OUT_OF_SCOPE = "out of scope"
    NEEDED = "asked for or needed a person"
    UNKNOWN = "not recorded"


@dataclass(frozen=True, slots=True)
class Contact:
    """An engaged call with what was judged of it.

    Attributes:
        outcome: how it came out.
        matters: in-scope intents that the caller raised, without control.
        spoken: at least one turn was spoken; false where all were typed.
    """

    call: CallRecord
    outcome: CallOutcome
    matters: frozenset[str]
    spoken: bool


class History:
    """Who called about what and when.

    Args:
        contacts: all known contacts, also those outside the reported period.
        window: how long after a call another one about the same matter counts as a re-contact.
        now: the time of the judgement.
    """

    def __init__(self, contacts: Iterable[Contact], window: timedelta, now: datetime) -> None:
        self._window = window
        self._now = now
        starts: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for contact in contacts:
            if contact.call.caller:
                for matter in contact.matters:
                    starts[contact.call.caller, matter].append(contact.call.started_at)
        self._starts = {key: sorted(moments) for key, moments in starts.items()}

    def followed(self, contact: Contact) -> bool:
        """Whether enough is known to say that the caller did not come back: a hash, and time enough."""
        return bool(contact.call.caller) and self.mature(contact)

    def mature(self, contact: Contact) -> bool:
        """Whether the whole window after the call has passed."""
        return self._now - contact.call.started_at >= self._window

    def came_back(self, contact: Contact, matters: Collection[str]) -> bool:
        """Whether the caller called again about one of the matters within the window, its end included."""
        return any(self._next_within(contact, matter) for matter in matters)

    def is_first(self, contact: Contact, matter: str) -> bool:
        """Whether no call of the same caller about the matter lies within the window before this one."""
        moments = self._starts.get((contact.call.caller, matter), [])
        place = bisect_left(moments, contact.call.started_at)
        return place == 0 or contact.call.started_at - moments[place - 1] > self._window

    def _next_within(self, contact: Contact, matter: str) -> bool:
        moments = self._starts.get((contact.call.caller, matter), [])
        place = bisect_right(moments, contact.call.started_at)
        return place < len(moments) and moments[place] - contact.call.started_at <= self._window


def contact(call: CallRecord) -> Contact:
    """Judge an engaged call."""
    return Contact(call, outcome(call), matters(call), any(spoken(t) for t in call.turns))


def in_window(
    calls: Iterable[CallRecord], since: datetime | None = None, until: datetime | None = None
) -> list[CallRecord]:
    """Calls that started at or after `since` and before `until`.

    To report a period, give `kpis` all calls and the period instead: a caller who came back after its
    end would otherwise not be seen.

    Raises:
        InvalidInputError: a time without a zone, or `until` before `since`.
    """
    for moment in (since, until):
        if moment is not None:
            check_zone(moment)
    if since and until and until < since:
        raise InvalidInputError(f"The period ends ({until}) before it begins ({since}).")
    return [
        call
        for call in calls
        if (since is None or call.started_at >= since) and (until is None or call.started_at < until)
    ]


def engaged(call: CallRecord) -> bool:
    """Whether the caller said or typed anything; silence on the line is no engagement."""
    return any(turn.text.strip() or turn.audio_s > 0 for turn in call.turns)


def ended(call: CallRecord) -> bool:
    """Whether the call came to an end of its own; one whose process was killed did not."""
    return call.ending not in {None, Ending.LOST}


def spoken(turn: TurnRecord) -> bool:
    """Whether the turn was spoken rather than typed."""
    return turn.stt_engine != "typed"


def outcome(call: CallRecord) -> CallOutcome:
    """How an engaged call came out; a transfer outweighs all else, also when the caller left during it."""
    if call.ending is Ending.TRANSFERRED or any(t.decision is Decision.TRANSFER for t in call.turns):
        return CallOutcome.TRANSFERRED
    if call.confirmed:
        return CallOutcome.CONFIRMED
    return CallOutcome.ABANDONED if call.ending is Ending.CALLER_LEFT else CallOutcome.UNCONFIRMED


def matters(call: CallRecord) -> frozenset[str]:
    """In-scope intents that a caller raised, whether or not they were answered."""
    return frozenset(
        turn.intent
        for turn in call.turns
        if turn.intent and turn.in_scope and turn.decision not in _NO_MATTER and turn.intent not in CONTROL
    )


def transfer_reason(call: CallRecord) -> tuple[TransferReason, str]:
    """Why a transferred call was transferred, and the intent at that moment (empty where none was)."""
    last = next((t for t in reversed(call.turns) if t.decision is Decision.TRANSFER), None)
    if last is None:
        return TransferReason.UNKNOWN, ""
    if last.error:
        return TransferReason.FAILED, last.intent
    if not last.intent:
        return TransferReason.NOT_UNDERSTOOD, ""
    if not last.in_scope:
        return TransferReason.OUT_OF_SCOPE, ""
    return TransferReason.NEEDED, last.intent


def check_records(calls: Sequence[CallRecord]) -> None:
    """Refuse records that would be counted twice or cannot be put in time.

    Raises:
        InvalidInputError: a call id that occurs twice, or a start without a time zone.
    """
    seen: set[str] = set()
    for call in calls:
        if call.call_id in seen:
            raise InvalidInputError(
                f"Call {call.call_id} is given twice.", advice="Give each call record once."
            )
        seen.add(call.call_id)
        check_zone(call.started_at)


def check_zone(moment: datetime) -> None:
    """Refuse a time that does not say where it is.

    Raises:
        InvalidInputError: the time has no zone.
    """
    if moment.tzinfo is None:
        raise InvalidInputError(f"The time {moment} has no zone.", advice="Give times in UTC.")


def utc_day(moment: datetime) -> str:
    """Day of a time in UTC, as 2026-01-31."""
    return moment.astimezone(UTC).date().isoformat()

"""From call records to what `arms` compares: each caller's first call in a stretch, judged as the KPIs do.

Who is compared is decided by what was known when that call began, never by what came later, so that neither
arm can lose or win callers by its own doing. What cannot be compared is counted by reason.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from evaluation.arm_metrics import LONGEST_CALL_S, LONGEST_WAIT_S
from evaluation.arms import Draw, Observation, Observed, Stretch
from evaluation.kpi_contacts import (
    CallOutcome,
    Contact,
    History,
    check_records,
    check_zone,
    contact,
    ended,
    engaged,
    spoken,
)
from evaluation.kpi_figures import usable
from evaluation.kpi_rates import SURVEY, first_matters, resolved, satisfied
from serving.arms.split import Arm, Split
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.errors import MissingError

CARRIED = "callers seen before that time, with another share or in another split"
UNNAMED = "callers without a number or id"
SILENT = "callers who said nothing"
NO_END = "callers whose call has no end on record"
LATER = "later calls of a caller"
CHANGED = "later calls of a caller in the other arm"
YOUNG = "callers who may still call again"


def observe(
    calls: Sequence[CallRecord], stretch: Stretch, *, now: datetime, maturity_days: float = 7
) -> Observed:
    """The callers of a stretch.

    Give all calls that are known from some weeks before the stretch on: they tell who was seen under another
    split or share, which leaves a caller out whichever arm came up, and who came back.

    Args:
        calls: call records with their turns, each once, in any order.
        stretch: of one split.
        now: time of the judgement (with a zone); later calls are not seen.
        maturity_days: time in which a caller may come back, days.

    Raises:
        InvalidInputError: a call given twice, or a time without a zone.
        MissingError: the stretch has no call.
    """
    check_zone(now)
    check_records(calls)
    known = sorted((c for c in calls if c.started_at <= now), key=lambda c: (c.started_at, c.call_id))
    mine = _within(known, stretch)
    if not mine:
        raise MissingError(
            f"No call of split {stretch.split[:64]!r} is on record in that time.",
            advice="`adapter-control split` shows the split and since when it runs.",
        )
    history = History((contact(call) for call in known if engaged(call)), timedelta(days=maturity_days), now)
    began = stretch.since or mine[0].started_at
    before = {call.caller_key for call in known if call.caller_key and call.started_at < began}
    firsts, apart = _firsts(mine)
    drawn = [call for call in firsts if call.caller_key not in before]
    judged = [call for call in drawn if _reason(call) is None]
    apart |= {CARRIED: len(firsts) - len(drawn), **Counter(filter(None, map(_reason, drawn)))}
    contacts = [contact(call) for call in judged]
    apart[YOUNG] = sum(not history.mature(item) for item in contacts)
    asked = any(item.call.confirmed is not None for item in contacts)
    return Observed(
        draws=tuple(Draw(call.started_at, _challenger(call)) for call in drawn),
        observations=tuple(
            Observation(
                item.call.caller_key,
                _challenger(item.call),
                item.call.started_at,
                _values(item, history, asked=asked),
            )
            for item in contacts
        ),
        apart={reason: count for reason, count in apart.items() if count},
        adapters={arm.value: _adapters(drawn, arm) for arm in Arm},
    )


def stretch_of(split: Split) -> Stretch:
    """The newest time in which both arms of a split had callers, at one share.

    A share that was altered is another stretch: some callers changed their arm then, and arms whose weights
    change with the days cannot be pooled.

    Raises:
        MissingError: one arm had all callers, always.
    """
    ends = [*(share.since for share in split.shares[1:]), split.ended_at]
    for place in range(len(split.shares) - 1, -1, -1):
        percent = split.shares[place].percent
        if 0 < percent < 100:
            first = place
            while first and split.shares[first - 1].percent == percent:
                first -= 1
            return Stretch(split.id, percent / 100, split.shares[first].since, ends[place])
    raise MissingError(
        f"The split {split.id} has given all callers to one arm, so there is nothing to compare.",
        advice="Give the challenger a share: `adapter-control split --challenger PERCENT`.",
    )


def failed(turn: TurnRecord) -> bool:
    """Whether something failed in a turn, the caller was told so, or was asked to say it again."""
    return bool(turn.error) or turn.decision in {Decision.APOLOGY, Decision.REPROMPT}


def _within(calls: Iterable[CallRecord], stretch: Stretch) -> list[CallRecord]:
    return [
        call
        for call in calls
        if call.split == stretch.split
        and call.caller_key
        and (stretch.since is None or call.started_at >= stretch.since)
        and (stretch.until is None or call.started_at < stretch.until)
    ]


def _firsts(calls: Iterable[CallRecord]) -> tuple[list[CallRecord], dict[str, int]]:
    """Each caller's first call, and how many later ones there were in the same and in the other arm."""
    firsts: dict[str, CallRecord] = {}
    apart = {LATER: 0, CHANGED: 0}
    for call in calls:
        first = firsts.setdefault(call.caller_key, call)
        if first is not call:
            apart[LATER if first.arm == call.arm else CHANGED] += 1
    return list(firsts.values()), apart


def _reason(call: CallRecord) -> str | None:
    """Why a first call cannot be judged; None where it can."""
    if not call.caller:
        return UNNAMED
    if not ended(call):
        return NO_END
    return None if engaged(call) else SILENT


def _adapters(calls: Iterable[CallRecord], arm: Arm) -> tuple[str, ...]:
    return tuple(sorted({call.adapter for call in calls if call.arm == arm}))


def _challenger(call: CallRecord) -> bool:
    return call.arm == Arm.CHALLENGER


def _values(item: Contact, history: History, *, asked: bool) -> dict[str, float]:
    """What is known of a caller; `asked`: whether callers are asked to confirm at all."""
    call = item.call
    found = {
        "transfer": float(item.outcome is CallOutcome.TRANSFERRED),
        "failed_turns": sum(failed(turn) for turn in call.turns) / len(call.turns),
    }
    if asked and history.followed(item):
        found["resolved_containment"] = float(resolved(item, history))
    if matters := first_matters(item, history):
        found["first_contact_resolution"] = float(all(matters))
    if call.survey is not None and call.survey in SURVEY:
        found |= {"csat": float(satisfied(call.survey)), "survey": float(call.survey)}
    if item.spoken and usable(call.duration_s):
        found["handle_time"] = min(call.duration_s, LONGEST_CALL_S)
    waits = [turn.voice_to_voice_s for turn in call.turns if spoken(turn)]
    if times := [min(wait, LONGEST_WAIT_S) for wait in waits if wait is not None and usable(wait)]:
        found["voice_to_voice"] = sum(times) / len(times)
    return found

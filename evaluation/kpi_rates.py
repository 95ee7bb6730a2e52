"""The shares among the KPIs: what callers, calls and turns came to.

Pure functions; each says what it divides by what. Shares of turns treat turns as independent, which
makes their intervals a little too short where one call has many.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.kpi_contacts import CallOutcome, Contact, History
from evaluation.kpi_figures import Rate, Status, share
from serving.call.record import Decision, TurnRecord

_SATISFIED = 4
SURVEY = range(1, 6)
"""Answers that the survey at the end of a call takes."""


@dataclass(frozen=True, slots=True)
class HitAudit:
    """A person's or a stronger model's verdict on one cache hit."""

    call_id: str
    turn: int
    right: bool


def call_rates(contacts: Sequence[Contact], history: History, unended: int) -> dict[str, Rate]:
    """Shares of calls, by key of `evaluation.kpi_definitions`; `unended` ones lack an end."""
    count = len(contacts)
    outcomes = outcome_counts(contacts)
    answers = [item.call.confirmed for item in contacts if item.outcome is not CallOutcome.TRANSFERRED]
    said = [answer for answer in answers if answer is not None]
    return {
        "raw_containment": share(count - outcomes[CallOutcome.TRANSFERRED], count),
        "resolved_containment": resolved_containment(contacts, history),
        "first_contact_resolution": first_contact_resolution(contacts, history),
        "abandonment": share(outcomes[CallOutcome.ABANDONED], count),
        "confirmation": share(
            sum(said),
            len(said),
            empty=Status.NOT_ASKED if answers else Status.NO_DATA,
            response=share(len(said), len(answers)),
        ),
        "no_end": share(unended, count + unended),
        "csat": satisfaction(contacts),
        "nps": Rate(Status.NOT_ASKED if contacts else Status.NO_DATA),
    }


def turn_rates(turns: Sequence[TurnRecord], audits: Sequence[HitAudit] | None) -> dict[str, Rate]:
    """Shares of turns, by key of `evaluation.kpi_definitions`."""
    count = len(turns)
    return {
        "reprompt_rate": deciding(turns, Decision.REPROMPT),
        "out_of_scope_rate": share(sum(outside(turn) for turn in turns), count),
        "apology_rate": deciding(turns, Decision.APOLOGY),
        "error_rate": share(sum(bool(turn.error) for turn in turns), count),
        "tool_rate": share(sum(bool(turn.tools) for turn in turns), count),
        "hit_rate": hit_rate(turns),
        "coverage": share(sum(_is(turn, "hit") for turn in turns), count),
        "false_hit_rate": _false_hit_rate(turns, audits),
    }


def resolved_containment(contacts: Sequence[Contact], history: History, matter: str | None = None) -> Rate:
    """Not transferred, confirmed, and nobody came back, among calls that can be followed up.

    Args:
        contacts: engaged calls.
        history: who came back.
        matter: look at re-contacts about this one only; None: about any matter of the call.
    """
    ready = [item for item in contacts if history.followed(item)]
    kept = [item for item in ready if item.outcome is not CallOutcome.TRANSFERRED]
    answered = share(sum(item.call.confirmed is not None for item in kept), len(kept))
    if not ready:
        return Rate(_not_ready(contacts), response=answered)
    if kept and not answered.numerator:
        return Rate(Status.NOT_ASKED, response=answered)
    return share(sum(resolved(item, history, matter) for item in ready), len(ready), response=answered)


def resolved(contact: Contact, history: History, matter: str | None = None) -> bool:
    """Whether a call that can be followed up was not transferred, was confirmed, and nobody came back."""
    matters = contact.matters if matter is None else {matter}
    return contact.outcome is CallOutcome.CONFIRMED and not history.came_back(contact, matters)


def first_contact_resolution(contacts: Sequence[Contact], history: History) -> Rate:
    """1 - repeats / resolved first contacts; a contact is a call and one matter of it."""
    firsts = [lasted for item in contacts for lasted in first_matters(item, history)]
    ready = any(history.followed(item) for item in contacts)
    return share(sum(firsts), len(firsts), empty=Status.NO_DATA if ready else _not_ready(contacts))


def first_matters(contact: Contact, history: History) -> list[bool]:
    """For each matter that a call raised first and resolved: whether the caller did not come back with it.

    Empty for a call that is not resolved or cannot be followed up.
    """
    if not history.followed(contact) or contact.outcome is not CallOutcome.CONFIRMED:
        return []
    firsts = [matter for matter in contact.matters if history.is_first(contact, matter)]
    return [not history.came_back(contact, {matter}) for matter in firsts]


def satisfaction(contacts: Iterable[Contact]) -> Rate:
    """Share of survey answers that are 4 or 5; the response rate is of engaged calls."""
    surveys = [item.call.survey for item in contacts]
    answers = [value for value in surveys if value in SURVEY]
    return share(
        sum(satisfied(value) for value in answers),
        len(answers),
        empty=Status.NOT_ASKED if surveys else Status.NO_DATA,
        response=share(len(answers), len(surveys)),
    )


def satisfied(answer: int | None) -> bool:
    """Whether a survey answer is 4 or 5."""
    return answer is not None and answer >= _SATISFIED


def hit_rate(turns: Sequence[TurnRecord]) -> Rate:
    """Hits of hits and misses; a bypassed turn was never a candidate."""
    hits = sum(_is(turn, "hit") for turn in turns)
    return share(hits, hits + sum(_is(turn, "miss") for turn in turns))


def deciding(turns: Sequence[TurnRecord], decision: Decision) -> Rate:
    """Share of turns with a decision."""
    return share(sum(turn.decision is decision for turn in turns), len(turns))


def outside(turn: TurnRecord) -> bool:
    """Whether a turn was out of scope, whatever was done with it (a third one in a row is transferred)."""
    return turn.decision is Decision.OUT_OF_SCOPE or not turn.in_scope


def outcome_counts(contacts: Iterable[Contact]) -> dict[str, int]:
    """Calls by outcome, zeros included."""
    counts = Counter(item.outcome.value for item in contacts)
    return {outcome.value: counts[outcome.value] for outcome in CallOutcome}


def _false_hit_rate(turns: Sequence[TurnRecord], audits: Sequence[HitAudit] | None) -> Rate:
    """A hit that several looked at is wrong if any of them says so."""
    hits = {(turn.call_id, turn.index) for turn in turns if _is(turn, "hit")}
    verdicts: dict[tuple[str, int], bool] = {}
    for audit in audits or ():
        key = (audit.call_id, audit.turn)
        if key in hits:
            verdicts[key] = verdicts.get(key, True) and audit.right
    wrong = sum(not right for right in verdicts.values())
    response = share(len(verdicts), len(hits))
    return share(wrong, len(verdicts), exact=True, empty=Status.NOT_MEASURED, response=response)


def _not_ready(contacts: Sequence[Contact]) -> Status:
    if not contacts:
        return Status.NO_DATA
    return Status.NOT_MATURE if any(item.call.caller for item in contacts) else Status.NOT_TRACEABLE


def _is(turn: TurnRecord, outcome: str) -> bool:
    return turn.cache is not None and turn.cache.outcome == outcome

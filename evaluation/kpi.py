"""KPIs of a set of calls: pure functions from call records to one report of figures.

Every figure carries its counts and interval, or the reason why it cannot be stated. Definitions, in
words, are in `evaluation.kpi_definitions`; the sources are the records alone: the outcome that the
caller confirmed, the survey at the end, the keyed hash of the caller's id.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from evaluation.kpi_contacts import (
    CallOutcome,
    Contact,
    History,
    check_records,
    check_zone,
    contact,
    ended,
    engaged,
    in_window,
    transfer_reason,
    utc_day,
)
from evaluation.kpi_figures import Mean, Percentiles, Rate, mean_seconds, percentiles, share, usable
from evaluation.kpi_latency import Latency, Medium, latency, waiting_times
from evaluation.kpi_rates import (
    SURVEY,
    HitAudit,
    call_rates,
    deciding,
    hit_rate,
    outcome_counts,
    outside,
    resolved_containment,
    satisfaction,
    turn_rates,
)
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.errors import InvalidInputError

NOT_UNDERSTOOD = "(not understood)"
OUT_OF_SCOPE = "(out of scope)"


@dataclass(frozen=True, slots=True)
class TransferCount:
    """Transferred calls by reason and the intent at that moment."""

    reason: str
    intent: str
    calls: int


@dataclass(frozen=True, slots=True)
class CacheCount:
    """Lookups by outcome and reason."""

    outcome: str
    reason: str
    turns: int


@dataclass(frozen=True, slots=True)
class ToolUse:
    """How often a tool ran, how often it failed, how long it took."""

    name: str
    runs: int
    failed: int
    seconds: Percentiles


@dataclass(frozen=True, slots=True)
class Slice:
    """The main figures of some calls: one day, one adapter version, one intent.

    Attributes:
        calls: engaged calls.
        turns: their turns; for an intent, the turns that carry it.
        outcomes: engaged calls by `CallOutcome`.
        decisions: turns by decision.
        voice_to_voice: of spoken turns.
    """

    name: str
    calls: int
    turns: int
    outcomes: Mapping[str, int]
    decisions: Mapping[str, int]
    raw_containment: Rate
    resolved_containment: Rate
    hit_rate: Rate
    reprompt_rate: Rate
    csat: Rate
    voice_to_voice: Percentiles


@dataclass(frozen=True, slots=True)
class KpiReport:
    """All figures of a period.

    Attributes:
        now: time of the judgement; later calls are not seen.
        since: start of the period, included; None: from the first call.
        until: end of the period, excluded; None: up to `now`.
        maturity_days: time in which a caller may come back, days.
        connected: all calls of the period.
        engaged: of those, ended ones in which the caller said or typed something: N.
        open_calls: engaged calls without a recorded end; they are in no figure but `no_end`.
        turns: turns of the N calls.
        not_mature: of the N calls with a caller hash, those younger than `maturity_days`.
        untraceable: of the N calls, those without a caller hash.
        rates: shares by key, see `evaluation.kpi_definitions`.
        means: mean seconds by key.
        outcomes: the N calls by `CallOutcome`; they add up to N.
        decisions: turns by decision.
        transfers: most frequent reason first.
        cache: lookups by outcome and reason, most frequent first.
        intents: a slice per intent, most turns first; a call counts in each that it raised.
        adapters: a slice per intent adapter that calls started with.
        arms: a slice per split and arm, such as `3f2a…/challenger`; none of calls outside of splits.
        days: a slice per UTC day, oldest first.
        ignored: stored numbers that could not be used, by what they are.
    """

    now: datetime
    since: datetime | None
    until: datetime | None
    maturity_days: float
    connected: int
    engaged: int
    open_calls: int
    turns: int
    not_mature: int
    untraceable: int
    rates: Mapping[str, Rate]
    means: Mapping[str, Mean]
    latency: Latency
    outcomes: Mapping[str, int]
    decisions: Mapping[str, int]
    transfers: tuple[TransferCount, ...] = ()
    cache: tuple[CacheCount, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    intents: tuple[Slice, ...] = ()
    adapters: tuple[Slice, ...] = ()
    arms: tuple[Slice, ...] = ()
    days: tuple[Slice, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)


def kpis(
    calls: Sequence[CallRecord],
    *,
    now: datetime,
    maturity_days: float = 7,
    since: datetime | None = None,
    until: datetime | None = None,
    audits: Sequence[HitAudit] | None = None,
) -> KpiReport:
    """Figures of the calls that started in a period.

    Give all calls that are known, also those before and after the period: they tell who came back.

    Args:
        calls: call records with their turns, each once, in any order.
        now: time of the judgement (with a zone); calls that start later are not seen.
        maturity_days: time in which a caller may come back, days.
        since: start of the period, included.
        until: end of the period, excluded.
        audits: verdicts on cache hits; None where nobody checked.

    Raises:
        InvalidInputError: a call given twice, a time without a zone, a period or a number of days that
            makes no sense.
    """
    check_zone(now)
    check_records(calls)
    if not 0 < maturity_days <= 365:
        raise InvalidInputError(f"The time to come back is 1 to 365 days; {maturity_days} was given.")
    known = sorted((c for c in calls if c.started_at <= now), key=lambda c: (c.started_at, c.call_id))
    everyone = {call.call_id: contact(call) for call in known if engaged(call)}
    history = History(everyone.values(), timedelta(days=maturity_days), now)
    period = in_window(known, since, until)
    talked = [everyone[call.call_id] for call in period if call.call_id in everyone]
    contacts = [item for item in talked if ended(item.call)]
    turns = _turns(contacts)
    waits = latency(turns)
    unended = len(talked) - len(contacts)
    return KpiReport(
        now=now,
        since=since,
        until=until,
        maturity_days=maturity_days,
        connected=len(period),
        engaged=len(contacts),
        open_calls=unended,
        turns=len(turns),
        not_mature=sum(bool(item.call.caller) and not history.mature(item) for item in contacts),
        untraceable=sum(not item.call.caller for item in contacts),
        rates=call_rates(contacts, history, unended) | turn_rates(turns, audits),
        means=_means(contacts),
        latency=waits,
        outcomes=outcome_counts(contacts),
        decisions=_decisions(turns),
        transfers=_transfers(contacts),
        cache=_cache(turns),
        tools=_tools(turns),
        intents=_intent_slices(contacts, history),
        adapters=_slices(contacts, history, lambda item: item.call.adapter or "(none)"),
        arms=_slices(
            [item for item in contacts if item.call.split],
            history,
            lambda item: f"{item.call.split}/{item.call.arm}",
        ),
        days=_slices(contacts, history, lambda item: utc_day(item.call.started_at)),
        ignored=_ignored(contacts, waits.invalid),
    )


def _means(contacts: Sequence[Contact]) -> dict[str, Mean]:
    """Hold and wrap-up are zero on the bot's leg, so handle time is the time on the line."""
    by_voice = [item.call for item in contacts if item.spoken]
    return {
        "handle_time": mean_seconds(call.duration_s for call in by_voice),
        "speech_time": mean_seconds(call.talk_s for call in by_voice),
        "typed_handle_time": mean_seconds(item.call.duration_s for item in contacts if not item.spoken),
    }


def _slices(
    contacts: Sequence[Contact], history: History, key: Callable[[Contact], str]
) -> tuple[Slice, ...]:
    groups: dict[str, list[Contact]] = {}
    for item in contacts:
        groups.setdefault(key(item), []).append(item)
    return tuple(_slice(name, groups[name], _turns(groups[name]), history) for name in sorted(groups))


def _intent_slices(contacts: Sequence[Contact], history: History) -> tuple[Slice, ...]:
    turns: dict[str, list[TurnRecord]] = {}
    members: dict[str, dict[str, Contact]] = {}
    for item in contacts:
        for turn in item.call.turns:
            name = intent_name(turn)
            turns.setdefault(name, []).append(turn)
            members.setdefault(name, {})[item.call.call_id] = item
    ranked = sorted(turns, key=lambda name: (-len(turns[name]), name))
    return tuple(
        _slice(name, list(members[name].values()), turns[name], history, matter=name) for name in ranked
    )


def _slice(
    name: str,
    contacts: Sequence[Contact],
    turns: Sequence[TurnRecord],
    history: History,
    matter: str | None = None,
) -> Slice:
    outcomes = outcome_counts(contacts)
    return Slice(
        name=name,
        calls=len(contacts),
        turns=len(turns),
        outcomes=outcomes,
        decisions=_decisions(turns),
        raw_containment=share(len(contacts) - outcomes[CallOutcome.TRANSFERRED], len(contacts)),
        resolved_containment=resolved_containment(contacts, history, matter),
        hit_rate=hit_rate(turns),
        reprompt_rate=deciding(turns, Decision.REPROMPT),
        csat=satisfaction(contacts),
        voice_to_voice=waiting_times(turns, Medium.SPOKEN),
    )


def intent_name(turn: TurnRecord) -> str:
    """The intent a turn is counted under; turns without one have names in brackets."""
    if outside(turn):
        return OUT_OF_SCOPE
    return turn.intent or NOT_UNDERSTOOD


def _turns(contacts: Iterable[Contact]) -> list[TurnRecord]:
    return [turn for item in contacts for turn in item.call.turns]


def _decisions(turns: Iterable[TurnRecord]) -> dict[str, int]:
    counts = Counter(turn.decision.value for turn in turns)
    return {decision.value: counts[decision.value] for decision in Decision if counts[decision.value]}


def _transfers(contacts: Iterable[Contact]) -> tuple[TransferCount, ...]:
    counts = Counter(
        transfer_reason(item.call) for item in contacts if item.outcome is CallOutcome.TRANSFERRED
    )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(TransferCount(reason.value, intent, calls) for (reason, intent), calls in ranked)


def _cache(turns: Iterable[TurnRecord]) -> tuple[CacheCount, ...]:
    counts = Counter((turn.cache.outcome, turn.cache.reason) for turn in turns if turn.cache)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(CacheCount(outcome, reason, count) for (outcome, reason), count in ranked)


def _tools(turns: Iterable[TurnRecord]) -> tuple[ToolUse, ...]:
    runs = [tool for turn in turns for tool in turn.tools]
    names = Counter(tool.name for tool in runs)
    return tuple(
        ToolUse(
            name=name,
            runs=count,
            failed=sum(tool.name == name and not tool.ok for tool in runs),
            seconds=percentiles([tool.seconds for tool in runs if tool.name == name]),
        )
        for name, count in sorted(names.items(), key=lambda item: (-item[1], item[0]))
    )


def _ignored(contacts: Sequence[Contact], invalid_times: int) -> dict[str, int]:
    """Stored numbers that no figure could use; a reader should know that they exist."""
    surveys = sum(item.call.survey is not None and item.call.survey not in SURVEY for item in contacts)
    durations = sum(not usable(item.call.duration_s) for item in contacts)
    found = {
        "survey answers outside 1 to 5": surveys,
        "call durations": durations,
        "waiting times": invalid_times,
    }
    return {name: count for name, count in found.items() if count}

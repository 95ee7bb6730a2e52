"""Properties of a KPI report that hold for any calls whatever."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evaluation.kpi import KpiReport, kpis
from evaluation.kpi_figures import Rate, Status
from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, TurnRecord
from serving.plain import plain
from tests.properties import examples

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)

turns = st.builds(
    TurnRecord,
    call_id=st.just("c"),
    index=st.just(1),
    started_at=st.just(NOW),
    text=st.sampled_from(["", "words"]),
    stt_engine=st.sampled_from(["typed", "whisper"]),
    confidence=st.just(0.9),
    audio_s=st.sampled_from([0.0, 2.0]),
    decision=st.sampled_from(Decision),
    answer=st.just(""),
    spoken=st.just(""),
    interrupted=st.booleans(),
    stages=st.sampled_from([{}, {"stt": 0.5}, {"stt": 0.2, "tts": 0.3}, {"stt": float("nan")}]),
    voice_to_voice_s=st.sampled_from([None, 0.5, 0.7, float("nan"), -1.0]),
    reply_s=st.just(1.0),
    intent=st.sampled_from(["", "loan_quote", "card_arrival", "thanks"]),
    in_scope=st.booleans(),
    cache=st.sampled_from(
        [None, *(CacheRecord(outcome, "") for outcome in ("hit", "miss", "bypass", "odd"))]
    ),
    error=st.sampled_from(["", "stt: EngineError"]),
)
some_calls = st.lists(
    st.builds(
        CallRecord,
        call_id=st.uuids().map(str),
        started_at=st.floats(-10, 40).map(lambda days: NOW - timedelta(days=days)),
        transport=st.just("wav"),
        adapter=st.sampled_from(["", "lora 1", "lora 2"]),
        cache_scope=st.just(""),
        engines=st.just({}),
        caller=st.sampled_from(["", "ann", "ben"]),
        ending=st.sampled_from([None, *Ending]),
        duration_s=st.sampled_from([0.0, 30.0, float("inf")]),
        talk_s=st.just(1.0),
        confirmed=st.sampled_from([None, True, False]),
        survey=st.sampled_from([None, 1, 4, 5, 10]),
        turns=st.lists(turns, max_size=4).map(tuple),
    ),
    max_size=12,
    unique_by=lambda call: call.call_id,
)


def report(*calls: CallRecord) -> KpiReport:
    return kpis(calls, now=NOW)


def all_rates(found: KpiReport) -> list[Rate]:
    rates = list(found.rates.values())
    for item in (*found.days, *found.adapters, *found.intents):
        rates += [
            item.raw_containment,
            item.resolved_containment,
            item.hit_rate,
            item.reprompt_rate,
            item.csat,
        ]
    return rates + [rate.response for rate in rates if rate.response]


@given(some_calls)
@examples(150)
def test_any_calls_give_shares_from_0_to_1_inside_their_intervals(calls: list[CallRecord]) -> None:
    found = report(*calls)

    for rate in all_rates(found):
        if rate.status is Status.MEASURED:
            assert rate.interval is not None
            assert 0 <= rate.interval.low <= rate.numerator / rate.denominator <= rate.interval.high <= 1
        else:
            assert (rate.numerator, rate.denominator, rate.value) == (0, 0, None)
    assert sum(found.outcomes.values()) == found.engaged
    assert sum(found.decisions.values()) == found.turns == sum(item.turns for item in found.intents)
    assert (
        sum(item.calls for item in found.days) == sum(item.calls for item in found.adapters) == found.engaged
    )
    json.dumps(plain(found), allow_nan=False)


@given(some_calls, st.randoms(use_true_random=False))
@examples(50)
def test_the_order_of_the_records_does_not_matter(calls: list[CallRecord], chance: Any) -> None:
    mixed = list(calls)
    chance.shuffle(mixed)

    assert plain(report(*mixed)) == plain(report(*calls))


@given(some_calls)
@examples(50)
def test_resolved_containment_never_exceeds_raw_containment_of_the_same_calls(
    calls: list[CallRecord],
) -> None:
    traceable = [item for item in calls if item.caller and NOW - item.started_at >= timedelta(days=7)]
    found = report(*traceable)

    if found.rates["resolved_containment"].value is not None:
        assert found.rates["resolved_containment"].numerator <= found.rates["raw_containment"].numerator

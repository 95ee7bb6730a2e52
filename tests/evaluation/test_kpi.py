"""KPIs against numbers worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evaluation.kpi import CacheCount, KpiReport, TransferCount, kpis
from evaluation.kpi_contacts import in_window
from evaluation.kpi_definitions import GROUPS, definitions
from evaluation.kpi_figures import Rate, Status
from evaluation.kpi_rates import HitAudit
from evaluation.statistics import clopper_pearson, wilson
from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord
from serving.call.store import CallStore
from serving.errors import InvalidInputError
from serving.plain import plain

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def turn(
    index: int = 1, intent: str = "loan_quote", decision: Decision = Decision.ANSWER, **more: Any
) -> TurnRecord:
    values: dict[str, Any] = {
        "call_id": "", "index": index, "started_at": START, "text": "words", "stt_engine": "pocketsphinx",
        "confidence": 0.9, "audio_s": 2.0, "decision": decision, "answer": "a", "spoken": "a",
        "interrupted": False, "stages": {"stt": 0.3, "tts": 0.2}, "voice_to_voice_s": 0.5, "reply_s": 3.0,
        "intent": intent,
    }  # fmt: skip
    return TurnRecord(**(values | more))


def call(name: str, *turns: TurnRecord, day: float = 0, **more: Any) -> CallRecord:
    values: dict[str, Any] = {
        "call_id": name, "started_at": START + timedelta(days=day), "transport": "wav", "adapter": "lora 1",
        "cache_scope": "s", "engines": {}, "caller": "", "ending": Ending.COMPLETED, "duration_s": 60.0,
        "talk_s": 40.0, "confirmed": True,
    }  # fmt: skip
    mine = tuple(replace(item, call_id=name) for item in (turns or (turn(),)))
    return CallRecord(**(values | more), turns=mine)


def report(*calls: CallRecord, **more: Any) -> KpiReport:
    return kpis(calls, now=NOW, **more)


def counts(rate: Rate | None) -> tuple[int, int]:
    assert rate is not None
    assert rate.status is Status.MEASURED
    return rate.numerator, rate.denominator


MONTH = (
    call("a", caller="ann", day=0),
    call("b", caller="ann", day=6),
    call("c", turn(intent="card_arrival"), caller="ben", day=0),
    call("d", turn(intent="card_arrival"), caller="ben", day=8),
    call(
        "e", turn(decision=Decision.TRANSFER), caller="cem", day=4, ending=Ending.TRANSFERRED, confirmed=None
    ),
    call("f", caller="dot", day=28),
    call("g", caller="", day=4),
    call("h", caller="eve", day=4, ending=Ending.CALLER_LEFT, confirmed=False),
)
"""Ann calls again on day 6, Ben on day 8; Cem is transferred; Dot's call is two days old; nobody knows
who called on line g; Eve says that it is not settled and leaves."""


def test_the_worked_month_gives_the_numbers_computed_by_hand() -> None:
    found = report(*MONTH)

    assert found.engaged == 8
    assert counts(found.rates["raw_containment"]) == (7, 8)
    # Mature and traceable: a b c d e h. Resolved: b, c, d; a is not, Ann came back on day 6.
    assert counts(found.rates["resolved_containment"]) == (3, 6)
    assert counts(found.rates["resolved_containment"].response) == (5, 5)
    # Resolved first contacts: a, c, d (eight days later is a new first one); repeated: a.
    assert counts(found.rates["first_contact_resolution"]) == (2, 3)
    assert counts(found.rates["abandonment"]) == (1, 8)
    assert counts(found.rates["confirmation"]) == (6, 7)
    assert (found.not_mature, found.untraceable) == (1, 1)
    assert found.outcomes == {"confirmed": 6, "unconfirmed": 0, "abandoned": 1, "transferred": 1}


@pytest.mark.parametrize(
    ("days", "resolved", "first"), [(6, 1, (0, 1)), (7, 1, (0, 1)), (7.001, 2, (2, 2)), (8, 2, (2, 2))]
)
def test_a_caller_who_comes_back_within_seven_days_was_not_resolved_the_first_time(
    days: float, resolved: int, first: tuple[int, int]
) -> None:
    found = report(call("a", caller="ann"), call("b", caller="ann", day=days))

    assert counts(found.rates["resolved_containment"]) == (resolved, 2)
    assert counts(found.rates["first_contact_resolution"]) == first


def test_coming_back_about_something_else_is_no_recontact() -> None:
    found = report(call("a", caller="ann"), call("b", turn(intent="card_arrival"), caller="ann", day=1))

    assert counts(found.rates["resolved_containment"]) == (2, 2)


def test_the_best_guess_of_an_out_of_scope_turn_is_no_matter() -> None:
    again = call("b", turn(decision=Decision.TRANSFER, in_scope=False), caller="ann", day=1)

    assert counts(report(call("a", caller="ann"), again).rates["resolved_containment"]) == (1, 2)


def test_thanks_and_agent_please_are_no_matter_to_come_back_about() -> None:
    first = call("a", turn(), turn(2, "thanks", Decision.CONTROL), turn(3, "speak_to_agent"), caller="ann")
    second = call("b", turn(1, "speak_to_agent"), turn(2, "thanks", Decision.CONTROL), caller="ann", day=1)

    assert counts(report(first, second).rates["resolved_containment"]) == (2, 2)


def test_a_recontact_that_is_transferred_still_counts_against_the_first_call() -> None:
    again = call("b", turn(decision=Decision.TRANSFER), caller="ann", day=2, ending=Ending.TRANSFERRED)

    assert counts(report(call("a", caller="ann"), again).rates["resolved_containment"]) == (0, 2)


def test_a_recontact_after_the_reported_period_still_counts() -> None:
    calls = (call("a", caller="ann", day=1), call("b", caller="ann", day=4))
    until = START + timedelta(days=3)

    assert counts(report(*calls, until=until).rates["resolved_containment"]) == (0, 1)
    assert counts(report(*in_window(calls, until=until)).rates["resolved_containment"]) == (1, 1)


def test_a_call_before_the_period_keeps_a_contact_from_being_the_first() -> None:
    calls = (call("a", caller="ann", day=1), call("b", caller="ann", day=4))

    found = report(*calls, since=START + timedelta(days=3))

    assert found.engaged == 1
    assert found.rates["first_contact_resolution"].status is Status.NO_DATA


def test_young_calls_are_not_mature_and_never_resolved() -> None:
    found = report(call("a", caller="ann", day=27), call("b", caller="ben", day=28))

    assert found.rates["resolved_containment"].status is Status.NOT_MATURE
    assert found.rates["first_contact_resolution"].status is Status.NOT_MATURE
    assert found.rates["resolved_containment"].value is None


def test_a_call_matures_when_the_whole_window_has_passed() -> None:
    exactly = call("a", caller="ann", started_at=NOW - timedelta(days=7))
    younger = call("b", caller="ben", started_at=NOW - timedelta(days=7) + timedelta(seconds=1))

    assert report(exactly, younger).not_mature == 1


def test_calls_without_a_caller_hash_are_not_traceable() -> None:
    assert report(call("a"), call("b")).rates["resolved_containment"].status is Status.NOT_TRACEABLE


def test_where_nobody_was_asked_containment_is_not_asked_instead_of_zero() -> None:
    found = report(call("a", caller="ann", confirmed=None))

    assert found.rates["resolved_containment"].status is Status.NOT_ASKED
    assert found.rates["confirmation"].status is Status.NOT_ASKED


def test_a_caller_who_hangs_up_during_the_transfer_was_not_contained() -> None:
    left = call("a", turn(decision=Decision.TRANSFER), ending=Ending.CALLER_LEFT)

    assert counts(report(left).rates["raw_containment"]) == (0, 1)


def test_hanging_up_after_confirming_is_no_abandonment() -> None:
    assert counts(report(call("a", ending=Ending.CALLER_LEFT)).rates["abandonment"]) == (0, 1)


def test_a_silent_line_is_not_engaged_and_changes_no_figure() -> None:
    silent = call("z", turn(text="", audio_s=0.0), ending=Ending.CALLER_LEFT, confirmed=None)
    without, with_it = plain(report(*MONTH)), plain(report(*MONTH, silent))

    assert with_it.pop("connected") == without.pop("connected") + 1
    assert with_it == without


def test_a_call_without_an_end_is_in_no_figure_but_still_a_recontact() -> None:
    lost = call("b", caller="ann", day=2, ending=None)
    found = report(call("a", caller="ann"), lost)

    assert (found.engaged, found.open_calls) == (1, 1)
    assert counts(found.rates["no_end"]) == (1, 2)
    assert counts(found.rates["resolved_containment"]) == (0, 1)


def test_a_call_that_a_killed_process_left_counts_as_without_an_end_and_never_as_contained() -> None:
    lost = call("b", caller="ann", day=2, ending=Ending.LOST, confirmed=None)
    found = report(call("a", caller="ann", ending=Ending.TRANSFERRED), lost)

    assert (found.engaged, found.open_calls) == (1, 1)
    assert counts(found.rates["no_end"]) == (1, 2)
    assert counts(found.rates["raw_containment"]) == (0, 1)


def test_later_calls_than_now_are_not_seen() -> None:
    assert report(call("a"), call("b", day=60)).connected == 1


def test_handle_time_is_time_on_the_line_of_spoken_calls() -> None:
    typed = call("c", turn(stt_engine="typed"), duration_s=1.0, talk_s=0.0)
    found = report(call("a", duration_s=60.0), call("b", duration_s=90.0), typed)

    assert found.means["handle_time"].seconds == 75.0
    assert found.means["handle_time"].items == 2
    assert found.means["speech_time"].seconds == 40.0
    assert found.means["typed_handle_time"].seconds == 1.0
    # Student's t with one degree of freedom: 75 ± 12.706 x 15, cut at zero.
    assert found.means["handle_time"].interval is not None
    assert found.means["handle_time"].interval.low == 0.0
    assert found.means["handle_time"].interval.high == pytest.approx(75 + 12.7062 * 15, abs=0.01)


CACHED = call(
    "a",
    turn(1, decision=Decision.CACHE_HIT, cache=CacheRecord("hit", "semantic")),
    turn(2, decision=Decision.CACHE_HIT, cache=CacheRecord("hit", "exact")),
    turn(3, cache=CacheRecord("miss", "no_entry_with_this_signature")),
    turn(4, decision=Decision.TOOL, cache=CacheRecord("bypass", "not_cacheable")),
    turn(5, "", Decision.REPROMPT),
    turn(6, decision=Decision.CLARIFY, cache=CacheRecord("bypass", "not_cacheable")),
)


def test_a_bypass_is_no_eligible_lookup_but_counts_for_coverage() -> None:
    found = report(CACHED)

    assert counts(found.rates["hit_rate"]) == (2, 3)
    assert counts(found.rates["coverage"]) == (2, 6)
    assert found.cache[0] == CacheCount("bypass", "not_cacheable", 2)
    assert sum(row.turns for row in found.cache) == 5


def test_false_hits_are_not_measured_without_audits_and_exact_with_them() -> None:
    assert report(CACHED).rates["false_hit_rate"].status is Status.NOT_MEASURED
    assert report(CACHED, audits=[]).rates["false_hit_rate"].status is Status.NOT_MEASURED

    audits = [
        HitAudit("a", 1, True),
        HitAudit("a", 1, False),
        HitAudit("a", 3, False),
        HitAudit("x", 1, False),
    ]
    found = report(CACHED, audits=audits).rates["false_hit_rate"]

    assert counts(found) == (1, 1)
    assert found.interval == clopper_pearson(1, 1)
    assert counts(found.response) == (1, 2)


def test_shares_of_turns_count_what_was_decided() -> None:
    found = report(
        call(
            "a",
            turn(1, "", Decision.REPROMPT),
            turn(2, "loan_quote", Decision.OUT_OF_SCOPE, in_scope=False),
            turn(3, "loan_quote", Decision.APOLOGY, error="answer: EngineError"),
            turn(
                4,
                tools=(ToolRecord("calculate_payment", {}, True), ToolRecord("calculate_payment", {}, False)),
            ),
        ),
        call("b", turn(1, "", Decision.TRANSFER, error="stt: EngineError"), ending=Ending.TRANSFERRED),
    )

    assert counts(found.rates["reprompt_rate"]) == (1, 5)
    assert counts(found.rates["out_of_scope_rate"]) == (1, 5)
    assert counts(found.rates["apology_rate"]) == (1, 5)
    assert counts(found.rates["error_rate"]) == (2, 5)
    assert counts(found.rates["tool_rate"]) == (1, 5)
    assert (found.tools[0].runs, found.tools[0].failed) == (2, 1)
    assert {item.name: item.turns for item in found.intents} == {
        "(not understood)": 2, "(out of scope)": 1, "loan_quote": 2
    }  # fmt: skip


def test_transfers_are_told_apart_by_the_turn_that_caused_them() -> None:
    def moved(name: str, *turns: TurnRecord) -> CallRecord:
        return call(name, *turns, ending=Ending.TRANSFERRED)

    found = report(
        moved("a", turn(1, "speak_to_agent", Decision.TRANSFER)),
        moved("b", turn(1, "speak_to_agent", Decision.TRANSFER)),
        moved("c", turn(1, "", Decision.TRANSFER)),
        moved("d", turn(1, "loan_quote", Decision.TRANSFER, in_scope=False)),
        moved("e", turn(1, "loan_quote", Decision.TRANSFER, error="answer: EngineError")),
        moved("f", turn(1)),
    )

    assert found.transfers[0] == TransferCount("asked for or needed a person", "speak_to_agent", 2)
    assert {(row.reason, row.intent, row.calls) for row in found.transfers[1:]} == {
        ("not understood", "", 1),
        ("out of scope", "", 1),
        ("something failed", "loan_quote", 1),
        ("not recorded", "", 1),
    }


def test_csat_is_the_share_of_fours_and_fives_with_its_response_rate() -> None:
    surveys = (5, 4, 3, 1, None, None, 9, 0)
    found = report(*(call(f"c{place}", survey=survey) for place, survey in enumerate(surveys)))

    assert counts(found.rates["csat"]) == (2, 4)
    assert found.rates["csat"].interval == wilson(2, 4)
    assert counts(found.rates["csat"].response) == (4, 8)
    assert found.rates["nps"].status is Status.NOT_ASKED
    assert found.ignored == {"survey answers outside 1 to 5": 2}


def test_few_units_are_marked() -> None:
    assert report(*(call(f"c{n}") for n in range(29))).rates["raw_containment"].few
    assert not report(*(call(f"c{n}") for n in range(30))).rates["raw_containment"].few


def test_days_and_adapters_split_the_calls() -> None:
    evening = call("b", started_at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC), adapter="lora 2")
    night = call("c", started_at=datetime.fromisoformat("2026-03-02T01:30:00+02:00"))
    found = report(call("a"), evening, night, call("d", day=1))

    assert [(item.name, item.calls) for item in found.days] == [("2026-03-01", 3), ("2026-03-02", 1)]
    assert [(item.name, item.calls) for item in found.adapters] == [("lora 1", 3), ("lora 2", 1)]


def test_a_call_counts_once_in_each_intent_that_it_raised() -> None:
    found = report(
        call("a", turn(1), turn(2), turn(3, "card_arrival"), caller="ann"), call("b", caller="ann", day=1)
    )
    by_name = {item.name: item for item in found.intents}

    assert (by_name["loan_quote"].calls, by_name["loan_quote"].turns) == (2, 3)
    assert counts(by_name["loan_quote"].resolved_containment) == (1, 2)
    assert counts(by_name["card_arrival"].resolved_containment) == (1, 1)


def test_no_calls_give_a_report_without_a_single_invented_number() -> None:
    found = kpis([], now=NOW)

    assert found.engaged == 0
    assert {rate.value for rate in found.rates.values()} == {None}
    assert {mean.seconds for mean in found.means.values()} == {None}


@pytest.mark.parametrize(
    ("calls", "options"),
    [
        ((call("a"), call("a")), {}),
        ((call("a", started_at=datetime(2026, 3, 1)),), {}),
        ((), {"since": datetime(2026, 3, 1)}),
        ((), {"since": NOW, "until": START}),
        ((), {"maturity_days": 0}),
        ((), {"maturity_days": float("nan")}),
    ],
)
def test_records_and_periods_that_make_no_sense_are_refused(
    calls: Sequence[CallRecord], options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        report(*calls, **options)


def test_every_figure_has_one_definition_and_every_definition_a_group() -> None:
    found = report(*MONTH)
    keys = [item.key for item in definitions()]

    assert len(keys) == len(set(keys))
    assert set(found.rates) | set(found.means) | {"voice_to_voice", "response_time"} == set(keys)
    assert {item.group for item in definitions()} == set(GROUPS)
    assert all("8.5 days" in definitions(8.5)[place].meaning for place in (0, 2))


def test_records_read_back_from_the_database_give_the_same_report(tmp_path: Path) -> None:
    store = CallStore(f"sqlite:///{tmp_path / 'calls.db'}")
    for item in (*MONTH, replace(CACHED, call_id="cached", turns=call("cached", *CACHED.turns).turns)):
        store.begin(item)
        for each in item.turns:
            store.add_turn(each)
        store.end(item)
    back = store.calls()

    assert len(back) == len(MONTH) + 1
    again = [store.call(item.call_id) for item in back]
    assert plain(report(*back)) == plain(report(*again))
    assert plain(report(*(item for item in back if item.call_id != "cached"))) == plain(report(*MONTH))

"""Metrics say what the records say, with labels that stay few and never name a call or a person."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given

from serving.call.record import CallRecord, ToolRecord
from serving.telemetry.attributes import CHAMPION, OTHER
from serving.telemetry.metrics import MOST_VALUES, REFUSALS, TurnMetrics
from tests.properties import examples
from tests.serving.telemetry.records import CALL_ID, a_call, a_turn, generated_calls

LABELS = {
    *("arm", "adapter", "stt", "engine", "decision", "stage", "outcome", "reason", "tool", "ok", "kind"),
    *("transport", "ending", "result", "le"),
}


def told(*calls: CallRecord) -> TurnMetrics:
    """Metrics that watched calls from their first turn to their end."""
    metrics = TurnMetrics()
    for call in calls:
        for turn in call.turns:
            metrics.turn_committed(turn)
        metrics.call_ended(call)
    return metrics


def total(metrics: TurnMetrics, sample: str, **labels: str) -> float:
    """The sum of all samples of a name that carry these labels."""
    return sum(
        found.value
        for metric in metrics.registry.collect()
        for found in metric.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


@examples(60)
@given(generated_calls())
def test_histograms_hold_the_sums_and_counts_of_the_records(call: CallRecord) -> None:
    metrics = told(call)
    for stage in {stage for turn in call.turns for stage in turn.stages}:
        seconds = [turn.stages[stage] for turn in call.turns if stage in turn.stages]
        assert math.isclose(total(metrics, "voicebot_stage_seconds_sum", stage=stage), math.fsum(seconds))
        assert total(metrics, "voicebot_stage_seconds_count", stage=stage) == len(seconds)
    heard = [turn.voice_to_voice_s for turn in call.turns if turn.voice_to_voice_s is not None]
    assert math.isclose(total(metrics, "voicebot_voice_to_voice_seconds_sum"), math.fsum(heard))
    assert total(metrics, "voicebot_voice_to_voice_seconds_count") == len(heard)
    barge_ins = [turn.barge_in_s for turn in call.turns if turn.barge_in_s is not None]
    assert math.isclose(total(metrics, "voicebot_barge_in_seconds_sum"), math.fsum(barge_ins))


@examples(60)
@given(generated_calls())
def test_counters_hold_the_counts_of_the_records(call: CallRecord) -> None:
    metrics = told(call)
    for decision, count in Counter(turn.decision for turn in call.turns).items():
        assert total(metrics, "voicebot_turns_total", decision=decision) == count
    for outcome, count in Counter(turn.cache.outcome for turn in call.turns if turn.cache).items():
        assert total(metrics, "voicebot_cache_lookups_total", outcome=outcome) == count
    for ok, count in Counter(tool.ok for turn in call.turns for tool in turn.tools).items():
        assert total(metrics, "voicebot_tool_calls_total", ok=str(ok).lower()) == count
    assert total(metrics, "voicebot_interruptions_total", kind="true") == sum(
        turn.barge_in_s is not None for turn in call.turns
    )
    assert total(metrics, "voicebot_interruptions_total", kind="false") == call.false_interruptions
    assert total(metrics, "voicebot_dropped_frames_total") == call.dropped_frames
    assert total(metrics, "voicebot_calls_total", ending=str(call.ending)) == 1


def test_a_reply_that_a_hang_up_cut_is_no_interruption() -> None:
    metrics = told(a_call(a_turn(interrupted=True, barge_in_s=None)))
    assert total(metrics, "voicebot_interruptions_total", kind="left") == 1
    assert total(metrics, "voicebot_interruptions_total", kind="true") == 0


def test_each_stage_names_the_engine_that_worked_in_it() -> None:
    metrics = told(a_call(a_turn()))
    for stage, engine in (("stt", "told"), ("llm", "embedded"), ("cache", "none")):
        assert total(metrics, "voicebot_stage_seconds_count", stage=stage, engine=engine) == 1


def test_a_failed_turn_counts_each_failure() -> None:
    metrics = told(a_call(a_turn(error="stt: EngineError; answer: KeyError in slots line 42")))
    assert total(metrics, "voicebot_turn_failures_total", stage="stt") == 1
    assert total(metrics, "voicebot_turn_failures_total", stage="answer") == 1


def test_calls_belong_to_the_champion_until_they_are_told_otherwise() -> None:
    metrics = told(a_call(a_turn()))
    metrics.turn_committed(a_turn(), arm="challenger")
    assert total(metrics, "voicebot_turns_total", arm=CHAMPION) == 1
    assert total(metrics, "voicebot_turns_total", arm="challenger") == 1


def test_no_label_names_a_call_or_grows_without_end() -> None:
    metrics = TurnMetrics()
    for number in range(3 * MOST_VALUES):
        turn = a_turn(
            call_id=f"{number:032x}",
            tools=(ToolRecord(f"invented_{number}", {}, False),),
            intent_version=f"banking-lora/{number}",
            error=f"part{number}: Error",
        )
        metrics.turn_committed(turn)
        metrics.call_ended(a_call(turn, call_id=turn.call_id, transport=f"line{number}"))
    names = {name for metric in metrics.registry.collect() for s in metric.samples for name in s.labels}
    assert names <= LABELS
    values: dict[str, set[str]] = {name: set() for name in names}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            for name, value in sample.labels.items():
                values[name].add(value)
    assert max(map(len, values.values())) <= MOST_VALUES + 2
    assert OTHER in values["tool"]
    assert total(metrics, "voicebot_tool_calls_total") == 3 * MOST_VALUES


@pytest.mark.parametrize(
    "name", ["4111111111111111", "anna@example.com", "two words", "x" * 65, "näme", "a\nb"]
)
def test_a_name_that_could_be_a_callers_is_counted_without_it(name: str) -> None:
    metrics = told(a_call(a_turn(tools=(ToolRecord(name, {}, False),), error=f"{name}: Error")))
    assert total(metrics, "voicebot_tool_calls_total", tool=OTHER) == 1
    assert total(metrics, "voicebot_turn_failures_total", stage=OTHER) == 1
    assert name.encode() not in metrics.exposition()


def test_texts_values_and_ids_of_a_record_never_show() -> None:
    secret = "zanthiaquillfeather"
    turn = a_turn(text=secret, answer=secret, spoken=secret, values=(secret,), disclosures=(secret,))
    turn = replace(turn, tools=(ToolRecord("get_balance", {"a": secret}, True, {"b": secret}, secret),))
    call = a_call(turn, caller=secret, transfer_summary=secret, recording=secret, script=secret)
    shown = told(call).exposition().decode()
    assert secret not in shown
    assert CALL_ID not in shown


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused_calls_have_a_series_before_the_first_one(reason: str) -> None:
    metrics = TurnMetrics()
    assert f'voicebot_calls_refused_total{{reason="{reason}"}} 0.0' in metrics.exposition().decode()
    metrics.call_refused(reason)
    assert total(metrics, "voicebot_calls_refused_total", reason=reason) == 1


def test_a_refusal_for_an_unknown_reason_makes_no_series_of_its_own() -> None:
    metrics = TurnMetrics()
    metrics.call_refused("4111 1111 1111 1111")
    assert total(metrics, "voicebot_calls_refused_total", reason=OTHER) == 1


def test_a_shared_state_out_of_reach_is_a_reason_to_refuse_of_its_own() -> None:
    assert "unavailable" in REFUSALS


def test_work_that_hangs_is_asked_for_at_each_look() -> None:
    metrics, hung = TurnMetrics(), [0]
    metrics.hung_work.set_function(lambda: hung[0])
    assert "voicebot_hung_work 0.0" in metrics.exposition().decode()
    hung[0] = 3
    assert "voicebot_hung_work 3.0" in metrics.exposition().decode()


def test_two_servers_in_one_process_do_not_share_counters() -> None:
    assert total(told(a_call(a_turn())), "voicebot_turns_total") == 1
    assert total(TurnMetrics(), "voicebot_turns_total") == 0

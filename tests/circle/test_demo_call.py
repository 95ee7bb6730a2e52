"""The demo call, spoken and recognised for real: what it must contain is read from its record."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from serving.audio import read_wav_channels
from serving.call.expectations import unmet
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.runtime import Runtime
from serving.call.script import CallScript, load_script, load_scripts
from serving.speech.engines import caller_tts
from serving.tools.compliance import load_compliance
from serving.tools.loan import calculate_payment
from serving.transports.scripted import ScriptCaller
from tests.circle.fixtures import Circle
from tests.conftest import TODAY


@pytest.fixture(scope="module")
def runtime(finished_circle: Circle) -> Iterator[Runtime]:
    with Runtime(finished_circle.settings, voice=True, today=lambda: TODAY) as opened:
        yield opened


@pytest.fixture(scope="module")
def script(finished_circle: Circle) -> CallScript:
    return load_script(finished_circle.settings.data / "calls", "demo")


@pytest.fixture(scope="module")
def call(runtime: Runtime, script: CallScript) -> CallRecord:
    caller = ScriptCaller(script, caller_tts(runtime.settings))
    session = runtime.open_call(caller.transport, script=script.id, caller_id="synthetic caller")
    session.run(caller)
    return runtime.records.call(session.call.call_id)


def turns(call: CallRecord, decision: Decision) -> list[TurnRecord]:
    return [turn for turn in call.turns if turn.decision is decision]


def test_the_call_was_spoken_recognised_and_ended_by_the_caller(call: CallRecord, script: CallScript) -> None:
    assert call.engines == {"stt": "pocketsphinx", "tts": "espeak", "llm": "embedded"}
    assert len(call.turns) == len(script.turns)
    assert call.ending is Ending.COMPLETED
    assert all(turn.audio_s > 0.5 for turn in call.turns)


def test_it_contains_a_semantic_cache_hit(call: CallRecord) -> None:
    hits = turns(call, Decision.CACHE_HIT)
    assert any(turn.cache and turn.cache.reason in {"semantic", "exact"} for turn in hits)
    assert all(turn.tools == () and turn.llm_engine == "" for turn in hits)


def test_it_contains_a_near_miss_that_the_signature_refused(call: CallRecord) -> None:
    refused = [t for t in call.turns if t.cache is not None and t.cache.reason == "signature_differs"]
    assert refused
    assert refused[0].decision is not Decision.CACHE_HIT
    assert "product: business_loan" in refused[0].cache.detail  # type: ignore[union-attr]
    assert refused[0].cache.similarity is not None  # type: ignore[union-attr]


def test_it_contains_a_loan_quote_right_to_the_cent(call: CallRecord) -> None:
    quote = next(tool for turn in call.turns for tool in turn.tools if tool.name == "calculate_payment")
    expected = calculate_payment(Decimal(20_000), Decimal("0.0699"), 60)
    assert {name: Decimal(str(value)) for name, value in quote.arguments.items()} == {
        "principal": Decimal(20_000),
        "annual_rate": Decimal("0.0699"),
        "months": 60,
    }
    assert Decimal(quote.value["monthly_payment"]) == expected.monthly_payment
    said = next(turn.answer for turn in call.turns if quote in turn.tools)
    for part in (
        "$20,000",
        "5 years",
        "6.99%",
        f"${expected.monthly_payment}",
        f"${expected.total_interest:,}",
    ):
        assert part in said


def test_it_contains_a_payment_plan_with_an_extra_payment(call: CallRecord) -> None:
    plan = next(tool for turn in call.turns for tool in turn.tools if tool.name == "generate_plan")
    assert plan.ok
    assert plan.arguments["extra"] == 50
    assert plan.value["months"] == 53
    assert plan.value["interest_saved"] == "507.60"


def test_it_contains_a_verbatim_disclosure(call: CallRecord, runtime: Runtime) -> None:
    (turn,) = turns(call, Decision.DISCLOSURE)
    library = load_compliance(runtime.settings.data / "compliance")
    notice = library.notice(
        "KYC", {}, jurisdiction="US", on=TODAY, house={"bank_name": runtime.settings.bank_name}
    )
    assert turn.disclosures == (notice.reference,)
    assert notice.text in turn.answer
    assert turn.spoken == turn.answer
    assert not turn.interrupted


def test_it_contains_an_out_of_scope_question_that_was_handled(call: CallRecord) -> None:
    (turn,) = turns(call, Decision.OUT_OF_SCOPE)
    assert not turn.in_scope
    assert "banking" in turn.answer


def test_it_contains_a_re_prompt_after_a_recognition_of_low_confidence(
    call: CallRecord, runtime: Runtime
) -> None:
    (turn,) = turns(call, Decision.REPROMPT)
    assert turn.confidence < runtime.settings.stt_confidence_floor
    assert turn.tools == ()
    assert turn.intent == ""
    following = call.turns[turn.index]
    assert following.decision is Decision.TOOL


def test_every_line_met_what_its_script_expects(call: CallRecord, script: CallScript) -> None:
    problems = {
        line.say: unmet(turn, line)
        for turn, line in zip(call.turns, script.turns, strict=True)
        if unmet(turn, line)
    }
    assert problems == {}


def test_stage_times_add_up_to_voice_to_voice(call: CallRecord) -> None:
    for turn in call.turns:
        assert turn.voice_to_voice_s == pytest.approx(sum(turn.stages.values()), abs=0.005)


def test_the_stereo_recording_holds_the_caller_left_and_the_bot_right(call: CallRecord) -> None:
    assert call.recording is not None
    caller, bot = read_wav_channels(Path(call.recording))
    assert caller.seconds == pytest.approx(call.duration_s, abs=3)
    for side in (caller, bot):
        assert abs(side.samples.astype(int)).max() > 2_000
    both = (abs(caller.samples.astype(int)) > 500) & (abs(bot.samples.astype(int)) > 500)
    assert both.mean() < 0.01  # they do not talk over each other


def scripts() -> list[str]:
    from serving.settings import default_data_dir

    return [script.id for script in load_scripts(default_data_dir() / "calls")]


@pytest.mark.parametrize("name", scripts())
def test_every_clean_line_of_every_script_is_answered_as_expected_when_typed(
    runtime: Runtime, name: str
) -> None:
    script = load_script(runtime.settings.data / "calls", name)
    if any(turn.noise_snr_db is not None for turn in script.turns) and name != "demo":
        pytest.skip("noise is the point of this script; typed lines have none")
    caller = ScriptCaller(script, None)
    record = runtime.open_call(caller.transport, script=name, typed=True).run(caller)
    problems = {
        line.say: unmet(turn, line)
        for turn, line in zip(record.turns, script.turns, strict=False)
        if line.noise_snr_db is None and unmet(turn, line)
    }
    assert problems == {}
    assert (record.ending is Ending.TRANSFERRED) == (script.outcome == "transferred")

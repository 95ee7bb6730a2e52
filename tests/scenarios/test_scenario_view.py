"""What scenario testing shows of a turn and a call: steps, times, tables, and no markup of anybody else."""

import base64
import io
import re
import wave
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audio import AudioClip
from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord
from serving.call.script import CallScript, ScriptTurn
from serving.scenarios.sound import KeptVoice, wav_url
from serving.scenarios.view import check, decision_line, expectations_table, plain, steps, summary, whole
from serving.speech.protocols import EngineInfo

SPOKEN = TurnRecord(
    call_id="c",
    index=1,
    started_at=datetime(2026, 11, 20, tzinfo=UTC),
    text="what is the rate",
    stt_engine="pocketsphinx",
    confidence=0.81,
    audio_s=2.5,
    decision=Decision.TOOL,
    answer="It is 6.99%.",
    spoken="It is 6.99%.",
    interrupted=False,
    stages={
        "end_of_turn": 0.7,
        "stt": 0.2,
        "parse": 0.001,
        "intent": 0.009,
        "cache": 0.01,
        "llm": 0.002,
        "tool": 0.004,
        "tts": 0.005,
    },
    voice_to_voice_s=0.931,
    reply_s=3.0,
    intent="loan_rate",
    intent_probability=0.9,
    intent_version="banking-lora/1",
    cache=CacheRecord("miss", "signature_differs", "product: business_loan ≠ -", 0.831, "e1"),
    llm_engine="embedded",
    tools=(
        ToolRecord(
            "get_rate",
            {"product": "", "principal": 100},
            True,
            {"annual_rate": "0.0699", "text": "long"},
            seconds=0.004,
        ),
    ),
)
CALL = CallRecord(
    call_id="c",
    started_at=SPOKEN.started_at,
    transport="script",
    adapter="banking-lora/1",
    cache_scope="s",
    engines={"stt": "pocketsphinx"},
    ending=Ending.COMPLETED,
    turns=(SPOKEN,),
)
SCRIPT = CallScript(
    "two",
    "Two lines",
    (ScriptTurn("one", None, {"intent": "loan_rate"}), ScriptTurn("two", -8.0, {"decision": "reprompt"})),
    "resolved",
)


def named(turn: TurnRecord) -> list[str]:
    return [step.name.split(" - ")[0] for step in steps(turn)]


def test_a_spoken_turn_shows_every_stage_as_a_step_in_order() -> None:
    assert named(SPOKEN) == ["Speech-to-text", "Understanding", "Cache", "LLM", "Tool", "Text-to-speech"]
    seconds = [step.seconds for step in steps(SPOKEN)]
    assert seconds == pytest.approx([0.2, 0.01, 0.01, 0.002, 0.004, 0.005])


def test_a_typed_turn_has_no_speech_to_text_and_one_not_understood_no_intent() -> None:
    assert named(replace(SPOKEN, audio_s=0.0))[0] == "Understanding"
    unheard = replace(SPOKEN, intent="", cache=None, llm_engine="", tools=())
    assert named(unheard) == ["Speech-to-text", "Text-to-speech"]


def test_the_cache_step_tells_its_decision_with_the_reason_and_the_evidence() -> None:
    cache = steps(SPOKEN)[2]
    assert cache.title == "Cache - miss - signature differs - 10 ms"
    assert cache.result == {
        "outcome": "miss",
        "reason": "signature differs",
        "detail": "product: business_loan ≠ -",
        "similarity": 0.831,
        "entry": "e1",
    }


def test_a_tool_step_shows_arguments_and_result_and_a_failed_one_why() -> None:
    tool = steps(SPOKEN)[4]
    assert tool.given == {"principal": 100}
    assert tool.result == {"annual_rate": "0.0699"}
    broken = replace(SPOKEN.tools[0], ok=False, error="no such rate")
    step = steps(replace(SPOKEN, tools=(broken,)))[4]
    assert step.failed
    assert step.result == {"failed": "no such rate"}


def test_an_error_of_a_turn_is_a_step_of_its_own() -> None:
    assert steps(replace(SPOKEN, error="tts: EngineError"))[-1].result == {"error": "tts: EngineError"}


def test_titles_hold_only_what_chainlit_takes_in_the_name_of_a_picture() -> None:
    odd = replace(SPOKEN, stt_engine="größer/<b>", stages={"stt": 12.5})
    for step in steps(odd):
        assert re.fullmatch(r"[a-zA-Z0-9_ .-]+", step.title)


def test_the_decision_line_adds_the_stages_up() -> None:
    assert decision_line(SPOKEN).endswith("llm 2 + tool 4 + tts 5 = 931 ms")
    assert decision_line(replace(SPOKEN, voice_to_voice_s=None)) == "**tool**"


def test_noise_that_was_typed_is_not_judged_and_a_line_never_reached_is_unmet() -> None:
    first = check(SPOKEN, 1, SCRIPT.turns[0], spoken=False)
    typed = expectations_table(whole(SCRIPT, [first], spoken=False))
    assert typed.startswith("All expectations met: 1 of 1. Line 2 not judged")
    spoken = expectations_table(whole(SCRIPT, [first], spoken=True))
    assert spoken.startswith("**1 unmet**: 1 of 2.")
    assert "the call ended before" in spoken


def test_a_line_that_became_two_turns_counts_by_the_better_one() -> None:
    line = SCRIPT.turns[0]
    halves = [
        check(replace(SPOKEN, intent="x"), 1, line, spoken=True),
        check(SPOKEN, 1, line, spoken=True),
        check(replace(SPOKEN, intent="y"), 1, line, spoken=True),
    ]
    assert whole(SCRIPT, halves, spoken=True)[0].unmet == 0


def test_the_summary_counts_hits_among_lookups_and_leaves_bypasses_out() -> None:
    hit = replace(SPOKEN, cache=CacheRecord("hit", "exact"))
    bypass = replace(SPOKEN, cache=CacheRecord("bypass", "personal"), voice_to_voice_s=None)
    shown = summary(replace(CALL, turns=(SPOKEN, hit, bypass)))
    assert "| cache hit rate | 1 of 2 lookups, 50% |" in shown
    assert "median 931 ms, slowest 931 ms" in shown
    assert "| tool calls | 3, 0 failed |" in shown


def test_a_call_without_a_turn_has_a_summary() -> None:
    shown = summary(replace(CALL, turns=(), ending=None))
    assert "0 of 0 lookups" in shown
    assert "nothing was played" in shown


@given(st.text())
def test_text_of_others_keeps_no_markup_and_no_line_break(text: str) -> None:
    shown = plain(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|!$]", shown)


class _Says:
    info = EngineInfo("tone", "tone")
    rate = 22_050

    def synthesise(self, text: str) -> Iterator[AudioClip]:
        if text:
            yield AudioClip(np.full(22_050, 1_000, np.int16), self.rate)


def test_the_kept_voice_says_the_same_and_gives_its_sound_away_once() -> None:
    voice = KeptVoice(_Says())
    assert [clip.seconds for clip in voice.synthesise("hello")] == [1.0]
    assert list(voice.synthesise("")) == []
    words, sound = voice.take()
    assert words.strip() == "hello"
    assert sound is not None
    assert sound.seconds == 1.0
    assert voice.take() == ("", None)


def test_a_sound_travels_as_a_16_khz_wav_without_a_file() -> None:
    head, _, data = wav_url(AudioClip(np.full(22_050, 1_000, np.int16), 22_050)).partition(",")
    assert head == "data:audio/wav;base64"
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.getnframes() == 16_000

"""Finished turns and calls, told and generated."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord

CALL_ID = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
BEGAN = datetime(2026, 11, 20, 15, 0, 0, 250_000, tzinfo=UTC)


def a_turn(**changes: Any) -> TurnRecord:
    """A turn answered by a tool."""
    turn = TurnRecord(
        call_id=CALL_ID,
        index=1,
        started_at=BEGAN + timedelta(seconds=5),
        text="what would I pay for <amount>",
        stt_engine="told",
        confidence=0.9,
        audio_s=2.5,
        decision=Decision.TOOL,
        answer="It would be 197.96 a month.",
        spoken="It would be 197.96 a month.",
        interrupted=False,
        stages={"end_of_turn": 0.7, "stt": 0.1, "cache": 0.002, "llm": 0.25, "tool": 0.05, "tts": 0.02},
        voice_to_voice_s=1.122,
        reply_s=3.0,
        intent="loan_payment_quote",
        intent_probability=0.98,
        intent_version="banking-lora/3",
        cache=CacheRecord("miss", "no_entry_with_this_signature"),
        llm_engine="embedded",
        tools=(ToolRecord("loan_payment", {}, True, seconds=0.04),),
        started_s=2.0,
    )
    return replace(turn, **changes)


def a_call(*turns: TurnRecord, **changes: Any) -> CallRecord:
    """A call that ended well."""
    call = CallRecord(
        call_id=CALL_ID,
        started_at=BEGAN,
        transport="browser",
        adapter="banking-lora/3",
        cache_scope="ab" * 32,
        engines={"stt": "told", "tts": "humming", "llm": "embedded"},
        ended_at=BEGAN + timedelta(seconds=20),
        ending=Ending.COMPLETED,
        duration_s=20.0,
        talk_s=12.0,
        turns=turns,
    )
    return replace(call, **changes)


_seconds = st.floats(0, 30, allow_nan=False)
_words = st.text("abcdefghijklmnop_", min_size=1, max_size=8)


@st.composite
def generated_turns(draw: st.DrawFn, index: int = 1) -> TurnRecord:
    """A turn whose stages add up to its voice-to-voice time, as all do that were spoken."""
    names = st.sampled_from(
        ("end_of_turn", "stt", "parse", "intent", "cache", "llm", "tool", "tts", "playout")
    )
    stages = draw(st.dictionaries(names, _seconds, max_size=9))
    heard = draw(st.booleans())
    tools = draw(
        st.lists(st.builds(ToolRecord, _words, st.just({}), st.booleans(), seconds=_seconds), max_size=3)
    )
    return a_turn(
        index=index,
        started_at=BEGAN + timedelta(seconds=draw(_seconds)),
        decision=draw(st.sampled_from(list(Decision))),
        stages=stages,
        voice_to_voice_s=sum(stages.values()) if heard else None,
        reply_s=draw(_seconds) if heard else 0.0,
        interrupted=draw(st.booleans()),
        barge_in_s=draw(st.none() | _seconds),
        resumed=draw(st.integers(0, 3)),
        tools=tuple(tools),
        cache=draw(st.none() | st.builds(CacheRecord, st.sampled_from(("hit", "miss", "bypass")), _words)),
        error=draw(
            st.sampled_from(("", "stt: EngineError", "mistral: ValueError in api line 3; tts: silence"))
        ),
    )


@st.composite
def generated_calls(draw: st.DrawFn) -> CallRecord:
    """A call with its turns."""
    turns = [draw(generated_turns(index)) for index in range(1, draw(st.integers(0, 4)) + 1)]
    resumed = sum(turn.resumed for turn in turns)
    return a_call(
        *turns,
        ending=draw(st.sampled_from(list(Ending))),
        dropped_frames=draw(st.integers(0, 50)),
        false_interruptions=resumed + draw(st.integers(0, 3)),
    )

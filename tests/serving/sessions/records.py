"""Records of calls for tests, made by hand: no engine, no loop."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord

BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)


def turn(call_id: str, index: int, *, began: datetime = BEGAN, typed: bool = False) -> TurnRecord:
    """A turn with something in every field."""
    return TurnRecord(
        call_id=call_id,
        index=index,
        started_at=began + timedelta(seconds=10 * index),
        text="what is my balance on <account>",
        stt_engine="typed" if typed else "pocketsphinx",
        confidence=0.5,
        audio_s=1.25,
        decision=Decision.TOOL,
        answer="Your balance is ten dollars.",
        spoken="Your balance",
        interrupted=True,
        stages={"eou": 0.7, "stt": 0.1 * index},
        voice_to_voice_s=0.7 + 0.1 * index,
        reply_s=2.5,
        intent="balance",
        intent_probability=0.9,
        intent_version="banking-lora@3",
        intent_energy=6.5,
        values=("account",),
        cache=CacheRecord("bypass", "intent", similarity=0.5),
        llm_engine="embedded",
        tools=(ToolRecord("get_balance", {"account": "<account>"}, ok=True, value={"balance": "10.00"}),),
        disclosures=("recording_notice@2",),
        resumed=1,
        barge_in_s=0.4,
        started_s=8.5,
    )


def call(call_id: str, turns: int = 2, *, began: datetime = BEGAN, typed: bool = False) -> CallRecord:
    """An ended call with something in every field."""
    return CallRecord(
        call_id=call_id,
        started_at=began,
        transport="browser",
        adapter="banking-lora@3",
        cache_scope="f" * 64,
        engines={"stt": "pocketsphinx", "tts": "espeak", "llm": "embedded"},
        script="demo",
        caller="c" * 64,
        ended_at=began + timedelta(minutes=1),
        ending=Ending.TRANSFERRED,
        duration_s=60.0,
        talk_s=20.0,
        confirmed=True,
        survey=4,
        recording=f"recordings/{began:%Y-%m-%d}/{call_id}.wav",
        dropped_frames=3,
        transfer_summary="The caller asked for a balance; verified.",
        verified=True,
        false_interruptions=2,
        turns=tuple(turn(call_id, index, began=began, typed=typed) for index in range(1, turns + 1)),
    )


def begun(record: CallRecord) -> CallRecord:
    """The same call as it began."""
    return replace(
        record, ended_at=None, ending=None, duration_s=0.0, talk_s=0.0, confirmed=None, survey=None,
        recording=None, dropped_frames=0, transfer_summary="", verified=False, false_interruptions=0,
        turns=(),
    )  # fmt: skip

"""Turn records as the server sends them, made by the server's own types."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from serving.call.record import CacheRecord, Decision, ToolRecord, TurnRecord
from serving.plain import plain

HIT = TurnRecord(
    call_id="c-7f3a",
    index=1,
    started_at=datetime(2026, 11, 20, 10, tzinfo=UTC),
    text="can i pay off my personal loan early",
    stt_engine="whisper turbo",
    confidence=0.93,
    audio_s=1.9,
    decision=Decision.CACHE_HIT,
    answer="You can pay off a personal loan at any time. There is no fee.",
    spoken="You can pay off a personal loan at any time. There is no fee.",
    interrupted=False,
    stages={"end_of_turn": 0.4, "stt": 0.2, "cache": 0.05, "tts": 0.15},
    voice_to_voice_s=0.8,
    reply_s=4.2,
    intent="loan_early_repayment",
    intent_probability=0.974,
    intent_version="banking-lora v3",
    cache=CacheRecord("hit", "semantic", "", 0.913),
)
QUOTE = replace(
    HIT,
    index=2,
    text="what is the monthly payment on twenty thousand dollars over five years",
    decision=Decision.TOOL,
    answer="The monthly payment is 395.93. Would you like a plan?",
    spoken="The monthly payment is 395.93.",
    interrupted=True,
    stages={"end_of_turn": 0.7, "stt": 0.2, "llm": 0.06, "tool": 0.04, "tts": 0.2},
    voice_to_voice_s=1.2,
    intent="loan_payment_quote",
    intent_probability=0.981,
    cache=CacheRecord("bypass", "not_cacheable", "a tool answers it"),
    llm_engine="embedded responder",
    tools=(
        ToolRecord(
            "calculate_payment",
            {"principal": "20000", "months": 60},
            ok=True,
            value={"payment": "395.93", "schedule": [{"month": 1}]},
            seconds=0.041,
        ),
    ),
)
FAILED = replace(
    HIT,
    index=3,
    text="block my card <card>",
    decision=Decision.APOLOGY,
    answer="I am sorry, something went wrong.",
    spoken="I am sorry, something went wrong.",
    intent="block_card",
    cache=CacheRecord("miss", "no_entry_with_this_signature", "", 0.612),
    tools=(ToolRecord("block_card", {"card": "<card>"}, ok=False, error="no answer in 5 s", seconds=5.0),),
    error="tool block_card: time-out",
)


def sent(record: TurnRecord, **changes: Any) -> dict[str, Any]:
    """The record as the page gets it."""
    made: dict[str, Any] = plain(replace(record, **changes))
    return made

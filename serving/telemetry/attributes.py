"""The words of telemetry: every attribute name, every span name, and what a value must be to leave.

Attributes and labels hold numbers, switches and words of our own: engine, decision, reason, version. What a
caller said, or could be recognised by, has no name here, so it cannot be sent. Nothing here exports anything.
"""

import hashlib
import re
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from serving.telemetry.redaction import contains_personal

if TYPE_CHECKING:
    from serving.call.record import TurnRecord

CHAMPION = "champion"
"""Arm of calls that take part in no comparison: until calls are routed to arms, of all. Observers take the
arm as an argument with this default, and nobody else names one."""
NONE = "none"
"""In place of a word that a record does not have: no adapter, no engine."""
OTHER = "other"
"""In place of a word that must not leave, or that would be one too many."""
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.:/?+-]{0,63}|[0-9]{1,6}", re.ASCII)


class Attribute(StrEnum):
    """Names of span attributes. Times are seconds; `arm`, `adapter` and `engine` mean what metrics mean."""

    ADAPTER = "voicebot.adapter"
    ARM = "voicebot.arm"
    ENGINE = "voicebot.engine"
    CALL_ID = "voicebot.call.id"
    """Random; the only thing here that leads to a call's record."""
    CALL_TRANSPORT = "voicebot.call.transport"
    CALL_ENDING = "voicebot.call.ending"
    CALL_TURNS = "voicebot.call.turns"
    CALL_DURATION_S = "voicebot.call.duration_s"
    CALL_TALK_S = "voicebot.call.talk_s"
    CALL_VERIFIED = "voicebot.call.verified"
    CALL_DROPPED_FRAMES = "voicebot.call.dropped_frames"
    CALL_FALSE_INTERRUPTIONS = "voicebot.call.false_interruptions"
    CALL_STT = "voicebot.call.stt"
    CALL_TTS = "voicebot.call.tts"
    CALL_LLM = "voicebot.call.llm"
    TURN_INDEX = "voicebot.turn.index"
    TURN_DECISION = "voicebot.turn.decision"
    TURN_INTENT = "voicebot.turn.intent"
    TURN_INTENT_PROBABILITY = "voicebot.turn.intent_probability"
    TURN_IN_SCOPE = "voicebot.turn.in_scope"
    TURN_CONFIDENCE = "voicebot.turn.confidence"
    TURN_AUDIO_S = "voicebot.turn.audio_s"
    TURN_REPLY_S = "voicebot.turn.reply_s"
    TURN_VOICE_TO_VOICE_S = "voicebot.turn.voice_to_voice_s"
    TURN_SPEECH_STARTED_S = "voicebot.turn.speech_started_s"
    """On the call's clock."""
    TURN_INTERRUPTED = "voicebot.turn.interrupted"
    TURN_BARGE_IN_S = "voicebot.turn.barge_in_s"
    TURN_RESUMED = "voicebot.turn.resumed"
    TURN_FAILED = "voicebot.turn.failed"
    """What failed: stages or engines, joined by commas."""
    CACHE_OUTCOME = "voicebot.cache.outcome"
    CACHE_REASON = "voicebot.cache.reason"
    CACHE_SIMILARITY = "voicebot.cache.similarity"
    TOOL_NAME = "voicebot.tool.name"
    TOOL_OK = "voicebot.tool.ok"
    TOOL_SECONDS = "voicebot.tool.seconds"


CALL_SPAN = "call"
TURN_SPAN = "turn"
PLAYOUT_SPAN = "playout"
"""The reply's sound, from its first played moment."""
TOOL_CALL_SPAN = "tool_call"
STAGE_SPANS = {"end_of_turn": "eou", "playout": "playout_start"}
"""Stages of a turn whose span has another name than they have: the wait for the end of the caller's turn, and
the wait of a reply that is made for its first sound to be played."""


def trace_id_of(call_id: str) -> str:
    """The trace of a call, 32 hexadecimal digits: the first half of its id's SHA-256.

    Whoever knows the call knows the trace, so that logs, records and spans meet without any state.
    """
    return _digest(call_id)[:32]


def span_id_of(call_id: str, place: str) -> str:
    """The id of a span, 16 hexadecimal digits.

    Args:
        call_id: the call.
        place: where in the call it lies, such as `turn/3/stt`.
    """
    return _digest(f"{call_id}/{place}")[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


@lru_cache(maxsize=1_024)
def word(value: str) -> str:
    """A word of ours as it is; `none` for an empty one; `other` for anything that could be a caller's.

    Records hold nothing else in the fields that telemetry reads. This is the lock behind that door: an
    engine that invents a name must neither be quoted nor make a series of its own.
    """
    if not value:
        return NONE
    return value if _WORD.fullmatch(value) and not contains_personal(value) else OTHER


def failed_parts(error: str) -> tuple[str, ...]:
    """The stages and engines that a turn's `error` names, such as `stt` in `stt: EngineError`."""
    return tuple(word(failure.partition(":")[0].strip()) for failure in error.split("; ") if failure)


def engine_of(turn: "TurnRecord", stage: str) -> str:
    """The engine that worked in a stage; empty for stages without one."""
    if stage == "stt":
        return turn.stt_engine
    if stage == "tts":
        return turn.tts_engine
    return turn.llm_engine if stage == "llm" else ""

"""What a call leaves behind: one record per turn, finalised once, and one for the call.

Everything here is already redacted; metrics, KPIs, reports and replay read these and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from serving.call.machine import Ending
from serving.telemetry.attributes import CHAMPION


class Decision(StrEnum):
    """What the bot decided to do with a turn."""

    CACHE_HIT = "cache_hit"
    ANSWER = "answer"
    """Answered by the engine from approved knowledge."""
    TOOL = "tool"
    CLARIFY = "clarify"
    """Asked for a missing or unsure value."""
    DISCLOSURE = "disclosure"
    """Verbatim compliance wording."""
    CONTROL = "control"
    """Greeting, thanks, repeat, goodbye."""
    OUT_OF_SCOPE = "out_of_scope"
    REPROMPT = "reprompt"
    """Not understood: asked to say it again."""
    TRANSFER = "transfer"
    APOLOGY = "apology"
    """Something failed; the caller was told so."""


@dataclass(frozen=True, slots=True)
class CacheRecord:
    """The cache's part of a turn (see `serving.cache.types`)."""

    outcome: str
    reason: str
    detail: str = ""
    similarity: float | None = None
    entry_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolRecord:
    """One tool call of a turn; arguments carry placeholders instead of personal values.

    Attributes:
        begun: false where it is known that the tool never ran, so that nothing was changed.
    """

    name: str
    arguments: Mapping[str, Any]
    ok: bool
    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    begun: bool = True


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One caller turn and the bot's reply.

    Attributes:
        index: position in the call, from 1.
        started_at: UTC moment from which the stages count: the end of the caller's speech, or the arrival
            of a typed text.
        text: what was heard or typed, redacted.
        stt_engine: engine's name, or `typed`.
        confidence: the engine's own, 0 to 1; 1 for typed turns.
        audio_s: length of the caller's speech, seconds.
        values: canonical typed values without personal ones.
        intent_version: adapter that tagged the turn.
        intent_energy: its energy of the text (`IntentTag.energy`); None in turns without an intent and in
            those that were recorded before it was.
        llm_engine: engine that answered; empty where none was asked.
        disclosures: `id@version` of compliance texts that were spoken to the end.
        answer: the reply, redacted.
        spoken: the part of it that was played.
        stages: contiguous stage times in seconds, in order; they add up to `voice_to_voice_s`.
        voice_to_voice_s: end of the caller's speech to the first sound played; None where nothing
            was played. For typed turns: from the text's arrival to the answer.
        reply_s: length of the reply's sound, seconds.
        error: what failed, without personal data; empty when nothing did.
        resumed: how often the reply was held for a sound that was no interruption, and went on.
        barge_in_s: first voiced sound of the caller who interrupted to the silence of the bot; None
            where nobody did.
        started_s: start of the caller's speech on the call's clock, seconds; None in typed turns.
        tts_engine: voice that spoke the reply; empty where it was not spoken.
    """

    call_id: str
    index: int
    started_at: datetime
    text: str
    stt_engine: str
    confidence: float
    audio_s: float
    decision: Decision
    answer: str
    spoken: str
    interrupted: bool
    stages: Mapping[str, float]
    voice_to_voice_s: float | None
    reply_s: float
    intent: str = ""
    intent_probability: float = 0.0
    in_scope: bool = True
    intent_version: str = ""
    intent_energy: float | None = None
    values: tuple[str, ...] = ()
    cache: CacheRecord | None = None
    llm_engine: str = ""
    tools: tuple[ToolRecord, ...] = ()
    disclosures: tuple[str, ...] = ()
    error: str = ""
    resumed: int = 0
    barge_in_s: float | None = None
    started_s: float | None = None
    tts_engine: str = ""


class Unrecorded(StrEnum):
    """Why there is no recording of a call."""

    OFF = "off"
    """Recordings are not kept, or the call was typed."""
    OPTED_OUT = "opted_out"
    """The caller asked for none; what was kept is removed."""
    UNANSWERED = "unanswered"
    """The server stopped before the caller's last words were understood; they may have asked for none."""
    EMPTY = "empty"
    """Nothing sounded."""
    UNWRITABLE = "unwritable"
    """It could not be written, for instance because the disk was full."""
    EXPIRED = "expired"
    """It was removed when its time was over."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call.

    Attributes:
        caller: keyed hash of the caller's id; empty when unknown.
        adapter: intent adapter that the call started with, and kept.
        cache_scope: key of the cache scope that the call used.
        engines: `stt`, `tts`, `llm` → engine name.
        confirmed: whether the caller confirmed that the matter is settled; None when not asked.
        survey: 1 to 5; None when not answered.
        recording: path of the stereo WAV under `home`; None when there is none.
        unrecorded: why there is none; None while the call lasts, where there is one, and in calls before 0.2.
        dropped_frames: 20 ms pieces of the caller's sound that came faster than they could be heard.
        false_interruptions: how often the bot held its speech for a sound that was no interruption.
        transfer_summary: what a person needs to know who takes the call over, redacted.
        verified: whether the caller's identity was verified in this call.
        arm: `champion` or `challenger` (`serving.arms.split.Arm`); champion where no split was in effect.
        split: id of the split that was in effect when the call began; empty where none was.
        caller_key: keyed hash that the call's arm was drawn by; empty where no split was in effect.
    """

    call_id: str
    started_at: datetime
    transport: str
    adapter: str
    cache_scope: str
    engines: Mapping[str, str]
    script: str = ""
    caller: str = ""
    ended_at: datetime | None = None
    ending: Ending | None = None
    duration_s: float = 0.0
    talk_s: float = 0.0
    confirmed: bool | None = None
    survey: int | None = None
    recording: str | None = None
    unrecorded: Unrecorded | None = None
    dropped_frames: int = 0
    false_interruptions: int = 0
    transfer_summary: str = ""
    verified: bool = False
    arm: str = CHAMPION
    split: str = ""
    caller_key: str = ""
    turns: tuple[TurnRecord, ...] = ()


def turn_of(data: Mapping[str, Any]) -> TurnRecord:
    """The turn that `serving.plain.plain` made plain."""
    fields = dict(data)
    fields["started_at"] = datetime.fromisoformat(fields["started_at"])
    fields["decision"] = Decision(fields["decision"])
    fields["cache"] = CacheRecord(**fields["cache"]) if fields["cache"] else None
    fields["tools"] = tuple(ToolRecord(**item) for item in fields["tools"])
    for name in ("values", "disclosures"):
        fields[name] = tuple(fields[name])
    return TurnRecord(**fields)


def call_of(data: Mapping[str, Any]) -> CallRecord:
    """The call, turns included, that `serving.plain.plain` made plain; times may be `datetime` already."""
    fields = dict(data)
    for name in ("started_at", "ended_at"):
        fields[name] = _utc(fields[name])
    fields["ending"] = Ending(fields["ending"]) if fields["ending"] else None
    fields["unrecorded"] = Unrecorded(fields["unrecorded"]) if fields.get("unrecorded") else None
    fields["turns"] = tuple(turn_of(turn) for turn in fields["turns"])
    return CallRecord(**fields)


def _utc(value: datetime | str | None) -> datetime | None:
    """SQLite drops the zone; all times here are UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment

"""A turn while it is open: what is known of it so far, and the record that it becomes, once."""

from dataclasses import dataclass, replace
from datetime import datetime

from serving.call.clock import Laps
from serving.call.dialogue import Reply
from serving.call.record import Decision, TurnRecord


@dataclass(slots=True)
class OpenTurn:
    """A turn in the making.

    Attributes:
        text: what was heard, not redacted.
        speech_end: end of the caller's speech on the call's clock; for typed turns, its arrival.
        spoken_text: what the bot says, with placeholders.
        first_sound: when the first sound of the reply plays; None before.
        utterance: number of the caller's utterance; 0 for typed turns.
        started: start of the caller's speech; None in typed turns.
        streamed: sentences of the answer that were there before the rest.
        heard: what was heard of an interrupted reply, where that was noted.
        resumed: how often the reply was held for nothing.
        barge_in_s: first voiced sound of an interruption to silence.
        tts: name of the voice that speaks.
    """

    index: int
    started_at: datetime
    speech_end: float
    laps: Laps
    engine: str
    text: str = ""
    confidence: float = 1.0
    audio_s: float = 0.0
    reply: Reply | None = None
    decision: Decision = Decision.REPROMPT
    spoken_text: str = ""
    first_sound: float | None = None
    reply_s: float = 0.0
    error: str = ""
    utterance: int = 0
    started: float | None = None
    streamed: str = ""
    heard: str | None = None
    resumed: int = 0
    barge_in_s: float | None = None
    tts: str = ""

    def failed(self, error: str) -> None:
        """Note a failure; an earlier one stays on record."""
        self.error = f"{self.error}; {error}" if self.error else error

    def finalised(self, call_id: str, *, text: str, heard: str, interrupted: bool) -> TurnRecord:
        """The turn's record.

        Args:
            call_id: the call.
            text: the caller's words, redacted.
            heard: the part of the reply that was played, redacted.
            interrupted: whether that was not all of it.
        """
        record = TurnRecord(
            call_id=call_id,
            index=self.index,
            started_at=self.started_at,
            text=text,
            stt_engine=self.engine,
            confidence=self.confidence,
            audio_s=self.audio_s,
            decision=self.decision,
            answer=self.spoken_text,
            spoken=heard,
            interrupted=interrupted,
            stages=dict(self.laps.seconds),
            voice_to_voice_s=None if self.first_sound is None else self.first_sound - self.speech_end,
            reply_s=self.reply_s,
            error=self.error,
            resumed=self.resumed,
            barge_in_s=self.barge_in_s,
            started_s=self.started,
            tts_engine=self.tts if heard else "",
        )
        return _with_reply(record, self.reply, spoken=not interrupted) if self.reply else record


def _with_reply(record: TurnRecord, reply: Reply, *, spoken: bool) -> TurnRecord:
    """A wording that was not heard to its end was not given, whatever was fetched for it."""
    tag = reply.tag
    return replace(
        record,
        intent=tag.label if tag else "",
        intent_probability=tag.probability if tag else 0.0,
        in_scope=tag.in_scope if tag else True,
        intent_version=tag.version if tag else "",
        intent_energy=tag.energy if tag else None,
        values=reply.values,
        cache=reply.cache,
        llm_engine=reply.llm_engine,
        tools=reply.tools,
        disclosures=reply.disclosures if spoken else (),
    )

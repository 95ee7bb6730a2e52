"""A recorded call in place of the world, for replays: what was heard, and what the bank said.

Nothing here recognises, looks up or stores anything. Personal values are as redacted as the record is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.audio import AudioFrame
from serving.call.ears import PARTIAL_EVERY_S, Began, GoesOn, Hears, Noticed, Over
from serving.call.record import ToolRecord, TurnRecord
from serving.call.stand_ins import hidden_values
from serving.errors import EngineError
from serving.language.protocols import ToolCall, ToolSchema
from serving.speech.protocols import Transcript
from serving.tools.executor import ToolExecutor
from serving.tools.protocols import Effect, ToolContext, ToolResult

_DECIDED_S = 0.6
"""From the end of a voice to the end of its turn where the record does not tell, seconds."""
_LONGEST_S = 3.0
"""The same at most: a turn may have waited for the bot as well."""


@dataclass(frozen=True, slots=True)
class Silenced:
    """A turn whose sound, or a part of it, is not in the recording.

    Attributes:
        began: of the voice, call clock, seconds.
        ended: of the voice.
    """

    turn: TurnRecord
    began: float
    ended: float


class RecordedEars:
    """Hears what the recogniser had made of the turns, one when asked, whatever sound comes.

    Args:
        engine: name of the recogniser.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._next: TurnRecord | None = None
        self._heard: dict[int, TurnRecord] = {}

    @property
    def engine(self) -> str:
        """Name of the recogniser that heard the call."""
        return self._engine

    def expect(self, turn: TurnRecord) -> None:
        """The next sound is this turn's."""
        self._next = turn

    def hear(self, frames: Sequence[AudioFrame]) -> list[Noticed]:
        """The turn that is expected, all of it in the first frame."""
        turn, self._next = self._next, None
        if turn is None:
            return []
        number = len(self._heard) + 1
        self._heard[number] = turn
        start = frames[0].start
        return [Began(start), Over(number, start, frames[0].end, cut=False)]

    def be_patient(self, patient: bool) -> None:
        """See `Hears.be_patient`; where turns end is on record."""

    def finish(self, utterance: int) -> Transcript:
        """What was recognised then.

        Raises:
            EngineError: recognition had failed.
        """
        return _transcript(self._heard[utterance])

    def close(self) -> None:
        """Nothing was begun."""


class FilledEars:
    """Hears the caller's sound; where the recording was silenced, what the recogniser had made of it.

    Args:
        own: hears the sound.
        silenced: turns to fill in, in order; the sound is silent there.
    """

    def __init__(self, own: Hears, silenced: Sequence[Silenced]) -> None:
        self._own = own
        self._waiting = list(silenced)
        self._talking = False
        self._open: Silenced | None = None
        self._looked = 0.0
        self._filled: list[TurnRecord] = []

    @property
    def engine(self) -> str:
        """Name of the recogniser that hears the sound."""
        return self._own.engine

    def hear(self, frames: Sequence[AudioFrame]) -> list[Noticed]:
        """See `Hears.hear`; of two voices at a time the sound's own comes first."""
        noticed: list[Noticed] = []
        for frame in frames:
            for item in self._own.hear([frame]):
                if isinstance(item, Began):
                    self._talking = True
                    noticed += self._over(self._open)
                elif isinstance(item, Over):
                    self._talking = False
                noticed.append(item)
            noticed += self._fill(frame.end)
        return noticed

    def be_patient(self, patient: bool) -> None:
        """See `Hears.be_patient`."""
        self._own.be_patient(patient)

    def finish(self, utterance: int) -> Transcript:
        """See `Hears.finish`; utterances that were filled in have numbers below zero.

        Raises:
            EngineError: recognition broke, now or then.
        """
        return self._own.finish(utterance) if utterance > 0 else _transcript(self._filled[-utterance - 1])

    def close(self) -> None:
        """See `Hears.close`."""
        self._own.close()

    def _fill(self, now: float) -> list[Noticed]:
        gap = self._open
        if gap is None:
            if not self._waiting or self._talking or self._waiting[0].began > now:
                return []
            self._open = self._waiting.pop(0)
            self._looked = now
            return [Began(self._open.began)]
        if now >= gap.ended + min(gap.turn.stages.get("end_of_turn", _DECIDED_S), _LONGEST_S):
            return self._over(gap)
        if now - self._looked < PARTIAL_EVERY_S:
            return []
        self._looked = now
        return [GoesOn(now, min(now, gap.ended) - gap.began, "")]

    def _over(self, gap: Silenced | None) -> list[Noticed]:
        if gap is None:
            return []
        self._open = None
        self._filled.append(gap.turn)
        return [Over(-len(self._filled), gap.began, gap.ended, cut=False)]


class RecordedTools(ToolExecutor):
    """Answers tool calls from the record; what was not called then is refused now.

    What only the caller was told is in no record: something else of its kind stands for it.

    Args:
        schemas: of the tools.
        recorded: the call's, in order; each answers once.
    """

    def __init__(self, schemas: tuple[ToolSchema, ...], recorded: Sequence[ToolRecord]) -> None:
        super().__init__((), timeout_s=1.0)
        self._recorded_schemas = schemas
        self.left: tuple[ToolRecord, ...] = tuple(recorded)
        """What has not been asked for yet."""

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """Schemas of the tools."""
        return self._recorded_schemas

    def execute(self, call: ToolCall, context: ToolContext) -> ToolResult:  # noqa: ARG002 (as everywhere)
        """The recorded result of the same call."""
        asked = dict(call.arguments)
        for index, record in enumerate(self.left):
            if record.name == call.name and dict(record.arguments) == asked:
                self.left = (*self.left[:index], *self.left[index + 1 :])
                value = dict(record.value)
                hidden = hidden_values(value)
                return ToolResult(
                    *(call.name, asked, value, record.error, 0.0, Effect.READ),
                    hidden=hidden,
                    begun=record.begun,
                )
        return ToolResult(call.name, asked, {}, "Not called in the recording.", 0.0, Effect.READ)


def _transcript(turn: TurnRecord) -> Transcript:
    if turn.error.startswith("stt:"):
        raise EngineError("Recognition had failed.")
    return Transcript(turn.text, turn.confidence, turn.stt_engine, turn.audio_s)

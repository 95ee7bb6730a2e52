"""A recorded call through today's code, on a virtual clock: what would be decided differently now.

From sound where the recording was kept, else from what the recogniser had made of it. Nothing outside is
touched: records go nowhere, and what the caller had done at the bank is answered from the record. The same
recording gives the same replay every time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.audio import FRAME_SECONDS, SPEECH_RATE, AudioClip, AudioFrame, Samples, read_wav_channels
from serving.call.ears import Began, Noticed, Over
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.machine import Phase
from serving.call.record import CallRecord, ToolRecord, TurnRecord
from serving.call.scheduler import VirtualScheduler
from serving.errors import EngineError, InvalidInputError
from serving.language.protocols import ToolCall, ToolSchema
from serving.speech.protocols import Transcript
from serving.tools.executor import ToolExecutor
from serving.tools.protocols import Effect, ToolContext, ToolResult

MAX_RECORDING_S = 7_200.0
"""Longest recording that is replayed, seconds."""
_AFTER_S = 30.0
"""Silence after the last sound, so that the last reply is played, seconds."""
_TURN_LIMIT_S = 600.0
"""Virtual time that a turn may take, seconds."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is decided differently today.

    Attributes:
        turn: index; 0 for the call as a whole.
        what: `text`, `decision`, `intent`, `cache`, `tools`, `answer`, `ending` or `turns`.
    """

    turn: int
    what: str
    recorded: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    Attributes:
        source: `audio`, or `text` where no sound was kept.
        turns: of the replay.
        adapter: that replayed it.
    """

    call: CallRecord
    source: str
    adapter: str
    turns: tuple[TurnRecord, ...]
    differences: tuple[Difference, ...]


class Opens(Protocol):
    """Opens calls that leave no trace; see `serving.call.rehearsal.Rehearsal`."""

    def open_replay(
        self, call: CallRecord, line: Line, scheduler: VirtualScheduler, ears: "RecordedEars | None"
    ) -> LiveCall:
        """A call like the recorded one; ears of its own where `ears` is None."""
        ...


class ReplayLine:
    """A line that plays at the pace of a real one and nobody hears."""

    transport = "replay"
    rate = SPEECH_RATE

    def __init__(self, scheduler: VirtualScheduler) -> None:
        self._scheduler = scheduler
        self._free = 0.0
        self.call: LiveCall | None = None
        """To be told of marks."""

    def play(self, samples: Samples) -> None:
        """Takes as long as it sounds."""
        self._free = max(self._free, self._scheduler.now()) + len(samples) / self.rate

    def mark(self, name: str) -> None:
        """Comes back when all before it has been played."""
        self._scheduler.later(max(self._free, self._scheduler.now()), lambda: self._back(name))

    def clear(self) -> None:
        """Silence at once."""
        self._free = self._scheduler.now()

    def tell(self, event: str, data: Mapping[str, Any]) -> None:
        """Nobody looks."""

    def end(self, *, transfer: bool) -> None:
        """Nobody is connected."""

    def _back(self, name: str) -> None:
        if self.call is not None:
            self.call.marked(name)


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

    def guess(self, utterance: int) -> None:
        """Nothing has to be guessed."""

    def finish(self, utterance: int) -> Transcript:
        """What was recognised then.

        Raises:
            EngineError: recognition had failed.
        """
        turn = self._heard[utterance]
        if turn.error.startswith("stt:"):
            raise EngineError("Recognition had failed.")
        return Transcript(turn.text, turn.confidence, turn.stt_engine, turn.audio_s)

    def close(self) -> None:
        """Nothing was begun."""


class RecordedTools(ToolExecutor):
    """Answers tool calls from the record; what was not called then is refused now.

    Args:
        schemas: of the tools.
        recorded: the call's, in order; each answers once.
    """

    def __init__(self, schemas: tuple[ToolSchema, ...], recorded: Sequence[ToolRecord]) -> None:
        super().__init__((), timeout_s=1.0)
        self._recorded_schemas = schemas
        self._left = list(recorded)

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """Schemas of the tools."""
        return self._recorded_schemas

    def execute(self, call: ToolCall, context: ToolContext) -> ToolResult:  # noqa: ARG002 (as everywhere)
        """The recorded result of the same call."""
        for index, record in enumerate(self._left):
            if record.name == call.name and dict(record.arguments) == dict(call.arguments):
                del self._left[index]
                return ToolResult(
                    call.name, dict(call.arguments), dict(record.value), record.error, 0.0, Effect.READ
                )
        return ToolResult(
            call.name, dict(call.arguments), {}, "Not called in the recording.", 0.0, Effect.READ
        )


class NoRecords:
    """A database that forgets."""

    def begin(self, call: CallRecord) -> None:
        """Nothing."""

    def add_turn(self, turn: TurnRecord) -> None:
        """Nothing."""

    def end(self, call: CallRecord) -> None:
        """Nothing."""

    def save(self, call: CallRecord) -> None:
        """Nothing."""


def has_sound(call: CallRecord) -> bool:
    """Whether the call's recording is still there."""
    return call.recording is not None and Path(call.recording).is_file()


def replay(call: CallRecord, runtime: Opens) -> Replayed:
    """Take a call through today's code.

    Raises:
        InvalidInputError: the call has not ended, or its recording cannot be read.
    """
    if call.ending is None:
        raise InvalidInputError(f"Call {call.call_id} has not ended.", advice="Replay it afterwards.")
    scheduler = VirtualScheduler()
    line = ReplayLine(scheduler)
    sound = has_sound(call)
    ears = None if sound else RecordedEars(call.engines.get("stt", "typed"))
    live = runtime.open_replay(call, line, scheduler, ears)
    line.call = live
    live.start()
    if ears is None:
        assert call.recording is not None
        caller = read_wav_channels(Path(call.recording), max_seconds=MAX_RECORDING_S)[0]
        _play(caller.resampled(SPEECH_RATE), live, scheduler)
    else:
        _tell(call, ears, live, scheduler)
    live.gone()
    scheduler.run_until(scheduler.now() + _AFTER_S)
    turns = live.call.turns
    found = tuple(differences(call, turns, heard=sound))
    return Replayed(call, "audio" if sound else "text", live.call.adapter, turns, found)


def differences(call: CallRecord, turns: Sequence[TurnRecord], *, heard: bool) -> list[Difference]:
    """What was decided otherwise.

    Args:
        call: as recorded.
        turns: of the replay.
        heard: whether the words were recognised anew, and are compared as well.
    """
    found = []
    if len(call.turns) != len(turns):
        found.append(Difference(0, "turns", str(len(call.turns)), str(len(turns))))
    for before, after in zip(call.turns, turns, strict=False):
        facts = _facts(before), _facts(after)
        found += [
            Difference(before.index, what, was, now)
            for (what, was), now in zip(facts[0].items(), facts[1].values(), strict=True)
            if was != now and (heard or what != "text")
        ]
    return found


def _facts(turn: TurnRecord) -> dict[str, str]:
    tools = ", ".join(f"{tool.name}({_arguments(tool)}){'' if tool.ok else ' failed'}" for tool in turn.tools)
    return {
        "text": turn.text,
        "decision": turn.decision.value,
        "intent": turn.intent,
        "cache": turn.cache.outcome if turn.cache else "",
        "tools": tools,
        "answer": turn.answer,
    }


def _arguments(tool: ToolRecord) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(tool.arguments.items()))


def _play(caller: AudioClip, live: LiveCall, scheduler: VirtualScheduler) -> None:
    """The caller's side of the recording, frame by frame, then silence until the bot has finished."""
    size = round(caller.rate * FRAME_SECONDS)
    samples = caller.samples
    for start in range(0, len(samples), size):
        if live.ended:
            return
        scheduler.run_until(scheduler.now() + FRAME_SECONDS)
        part = samples[start : start + size]
        live.sound(np.pad(part, (0, size - len(part))))
    _silence(live, scheduler, _AFTER_S)


def _tell(call: CallRecord, ears: RecordedEars, live: LiveCall, scheduler: VirtualScheduler) -> None:
    """The recorded turns, each when the bot listens."""
    for turn in call.turns:
        _silence(live, scheduler, _TURN_LIMIT_S)
        if live.ended:
            return
        ears.expect(turn)
        live.sound(np.zeros(round(SPEECH_RATE * FRAME_SECONDS), np.int16))
        scheduler.run_until(scheduler.now() + FRAME_SECONDS)
    _silence(live, scheduler, _TURN_LIMIT_S)


def _silence(live: LiveCall, scheduler: VirtualScheduler, most_s: float) -> None:
    """Wait until the bot listens, or the call is over."""
    until = scheduler.now() + most_s
    while live.state.phase not in {Phase.LISTENING, Phase.ENDED} and scheduler.now() < until:
        scheduler.run_until(scheduler.now() + FRAME_SECONDS)
        live.sound(np.zeros(round(SPEECH_RATE * FRAME_SECONDS), np.int16))


def like(call: CallRecord, adapter: str, scope: str) -> CallRecord:
    """The record that a replay begins with."""
    return replace(
        call,
        started_at=datetime.now(UTC),
        transport="replay",
        adapter=adapter,
        cache_scope=scope,
        ended_at=None,
        ending=None,
        recording=None,
        turns=(),
    )

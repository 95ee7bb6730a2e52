"""A recorded call through today's code, on a virtual clock: what would be decided differently now.

From sound where the recording was kept, else from what the recogniser had made of it. Nothing outside is
touched: records go nowhere, and what the caller had done at the bank is answered from the record. The same
recording gives the same replay every time.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.audio import FRAME_SECONDS, SPEECH_RATE, AudioClip, Samples, read_wav_channels
from serving.call.differences import Difference, differences
from serving.call.ears import Hears
from serving.call.line import Line
from serving.call.live import LiveCall
from serving.call.machine import Phase
from serving.call.ports import Responding
from serving.call.record import CallRecord, TurnRecord
from serving.call.recorded import FilledEars, RecordedEars, RecordedTools, Silenced
from serving.call.recorded_times import TurnTime, silenced_turns, turn_times, without
from serving.call.scheduler import VirtualScheduler
from serving.call.stand_ins import StandIns
from serving.errors import InvalidInputError
from serving.language.protocols import ToolSchema

LIVE = frozenset({"browser", "twilio"})
"""Transports of callers who do not wait for the bot, and may fall silent."""
MAX_RECORDING_S = 7_200.0
"""Longest recording that is replayed, seconds."""
_AFTER_S = 30.0
"""Silence after the last sound, so that the last reply is played, seconds."""
_TURN_LIMIT_S = 600.0
"""Virtual time that a turn may take, seconds."""
_LONGEST_ANSWER_S = 30.0
"""Longest that an answer is taken to have been worked on, seconds."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    Attributes:
        source: `audio`, or `text` where no sound was kept.
        turns: of the replay.
        adapter: that replayed it.
        notes: what could not be replayed; none of it is counted as a difference.
    """

    call: CallRecord
    source: str
    adapter: str
    turns: tuple[TurnRecord, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


class Retold:
    """A recorded call in place of the world; whoever opens a replay builds it in.

    Args:
        call: as recorded.
        silenced: turns whose sound was not kept; None where there is no sound at all.
    """

    def __init__(self, call: CallRecord, silenced: Sequence[Silenced] | None) -> None:
        self._call = call
        self._silenced = silenced
        self.recorded_ears = RecordedEars(call.engines.get("stt", "typed"))
        """What hears where there is no sound."""
        self.stand_ins: StandIns | None = None
        """Once the call is open."""
        self._tools = RecordedTools((), ())

    def ears(self, own: Callable[[], Hears]) -> Hears:
        """The call's ears.

        Args:
            own: makes ears for sound.
        """
        return self.recorded_ears if self._silenced is None else FilledEars(own(), self._silenced)

    def tools(self, schemas: tuple[ToolSchema, ...]) -> RecordedTools:
        """What answers for the bank; before `responding`."""
        self._tools = RecordedTools(schemas, [tool for turn in self._call.turns for tool in turn.tools])
        return self._tools

    def responding(self, inner: Responding) -> Responding:
        """Today's responder, asked in words without placeholders."""
        self.stand_ins = StandIns(inner, self._call, self._tools, cut=self._silenced is None)
        return self.stand_ins


class Opens(Protocol):
    """Opens calls that leave no trace; see `serving.call.rehearsal.Rehearsal`."""

    def open_replay(
        self, call: CallRecord, line: Line, scheduler: VirtualScheduler, retold: Retold
    ) -> LiveCall:
        """A call like the recorded one, with what is retold of it in place of the world."""
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
    times = turn_times(call)
    caller = _caller(call) if has_sound(call) else None
    silenced = silenced_turns(call, times, caller) if caller else None
    pace = _pace(call.turns if caller else ())
    scheduler = VirtualScheduler(lambda name: pace(name, scheduler.now()))
    line = ReplayLine(scheduler)
    retold = Retold(call, silenced)
    live = runtime.open_replay(call, line, scheduler, retold)
    line.call = live
    live.start()
    if caller is None or silenced is None:
        _tell(call, times, retold.recorded_ears, live, scheduler)
    else:
        typed = [(time.came, turn.text) for turn, time in zip(call.turns, times, strict=True) if time.typed]
        _play(without(caller, silenced), typed, live, scheduler)
    live.gone()
    scheduler.run_until(scheduler.now() + _AFTER_S)
    return _compared(call, live.call, retold.stand_ins, heard=caller is not None)


def _compared(call: CallRecord, again: CallRecord, stand_ins: StandIns | None, *, heard: bool) -> Replayed:
    """What differs; an intent alone may come from the words that stand for what is not on record."""
    unsayable = dict(stand_ins.unsayable) if stand_ins else {}
    stood_in = stand_ins.stood_in if stand_ins else set()
    notes = [
        f"Turn {index}: nothing that could have been said for {names} is known, so it was not decided again."
        for index, names in unsayable.items()
    ]
    found = differences(call, again.turns, heard=heard, skipped=unsayable)
    kept = []
    for item in found:
        alone = all(other is item or other.turn != item.turn for other in found)
        if item.what == "intent" and item.turn in stood_in and alone:
            notes.append(
                f"Turn {item.turn}: the intent was {item.recorded or 'none'} and is {item.replayed or 'none'}"
                " for other words in place of its placeholders; all else is decided the same."
            )
        else:
            kept.append(item)
    source = "audio" if heard else "text"
    return Replayed(call, source, again.adapter, again.turns, tuple(kept), tuple(notes))


def _caller(call: CallRecord) -> AudioClip:
    assert call.recording is not None
    return read_wav_channels(Path(call.recording), max_seconds=MAX_RECORDING_S)[0].resampled(SPEECH_RATE)


def _pace(turns: Sequence[TurnRecord]) -> Callable[[str, float], float]:
    """What work costs, by its name and when it begins: answers take as long as they took.

    So who interrupts the bot does so where they did.
    """
    decided = [
        (turn.started_s + turn.audio_s + turn.stages.get("end_of_turn", 0.0), turn)
        for turn in turns
        if turn.started_s is not None
    ]

    def cost(name: str, now: float) -> float:
        if name != "answer" or not decided:
            return 0.0
        _, turn = min(decided, key=lambda item: abs(item[0] - now))
        taken = sum(turn.stages.values()) if turn.voice_to_voice_s is None else turn.voice_to_voice_s
        return min(max(0.0, taken - turn.stages.get("end_of_turn", 0.0)), _LONGEST_ANSWER_S)

    return cost


def _play(
    caller: AudioClip, typed: Sequence[tuple[float, str]], live: LiveCall, scheduler: VirtualScheduler
) -> None:
    """The caller's side, frame by frame with what was typed, then silence until the bot has finished."""
    size = round(caller.rate * FRAME_SECONDS)
    left = deque(typed)
    end = max([caller.seconds, *(moment + FRAME_SECONDS for moment, _ in typed)])
    for index in range(math.ceil(end / FRAME_SECONDS)):
        if live.ended:
            return
        scheduler.run_until(scheduler.now() + FRAME_SECONDS)
        part = caller.samples[index * size : (index + 1) * size]
        live.sound(np.pad(part, (0, size - len(part))))
        while left and left[0][0] <= scheduler.now():
            live.typed(left.popleft()[1])
    _silence(live, scheduler, _AFTER_S)


def _tell(
    call: CallRecord,
    times: Sequence[TurnTime],
    ears: RecordedEars,
    live: LiveCall,
    scheduler: VirtualScheduler,
) -> None:
    """The recorded turns, each when the bot listens; a caller who was silent for long is so again."""
    free = math.inf
    for turn, time in zip(call.turns, times, strict=True):
        _silence(live, scheduler, _TURN_LIMIT_S)
        if call.transport in LIVE and not time.typed:
            _wait(live, scheduler, min(time.came - free, _TURN_LIMIT_S))
            _silence(live, scheduler, _TURN_LIMIT_S)
        free = time.heard
        if live.ended:
            return
        if time.typed and turn.text:  # a line takes no empty text; where one was answered, nothing was said
            live.typed(turn.text)
        else:
            ears.expect(turn)
            live.sound(np.zeros(round(SPEECH_RATE * FRAME_SECONDS), np.int16))
        scheduler.run_until(scheduler.now() + FRAME_SECONDS)
    _silence(live, scheduler, _TURN_LIMIT_S)


def _silence(live: LiveCall, scheduler: VirtualScheduler, most_s: float) -> None:
    """Wait until the bot listens, or the call is over."""
    until = scheduler.now() + most_s
    while live.state.phase not in {Phase.LISTENING, Phase.ENDED} and scheduler.now() < until:
        _wait(live, scheduler, FRAME_SECONDS)


def _wait(live: LiveCall, scheduler: VirtualScheduler, seconds: float) -> None:
    """Be silent for a while."""
    until = scheduler.now() + seconds
    while scheduler.now() < until - FRAME_SECONDS / 2:
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

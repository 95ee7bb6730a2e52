"""When the turns of a recorded call were, and which of them its sound does not hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.audio import FRAME_SECONDS, AudioClip
from serving.call.record import CallRecord
from serving.call.recorded import Silenced
from serving.call.stand_ins import redacted_names

_EDGE_S = 0.1
_PART_S = 0.2
"""No device is perfectly silent for so long while somebody talks, seconds."""
_SILENT = 8
"""Loudest sample of a stretch that was silenced, of 32,768."""


@dataclass(frozen=True, slots=True)
class TurnTime:
    """When a turn was, seconds on the call's clock.

    Attributes:
        came: the caller began to talk, or the text arrived.
        ended: the caller had finished.
        heard: the bot's reply had been played.
        typed: not spoken.
    """

    came: float
    ended: float
    heard: float
    typed: bool


def turn_times(call: CallRecord) -> list[TurnTime]:
    """When each turn of a call was.

    A record tells by the day's time when a text arrived, and when a voice that paused had finished. Where the
    caller waited for the bot, as in files, the call's time went otherwise: a text came when the bot had
    replied to the turn before.
    """
    found: list[TurnTime] = []
    before = TurnTime(0.0, 0.0, 0.0, typed=False)
    for turn in call.turns:
        later = [other.started_s for other in call.turns[turn.index :] if other.started_s is not None]
        latest = min(later, default=call.duration_s or math.inf)
        stamped = (turn.started_at - call.started_at).total_seconds()
        if turn.started_s is None:
            fits = before.ended <= stamped <= latest
            ended = came = stamped if fits else max(before.ended, min(before.heard, latest - FRAME_SECONDS))
        else:
            came, voiced = turn.started_s, turn.started_s + turn.audio_s
            ended = stamped if voiced <= stamped <= latest else voiced
        heard = ended + (turn.voice_to_voice_s or 0.0) + turn.reply_s + FRAME_SECONDS
        before = TurnTime(came, ended, heard, typed=turn.started_s is None)
        found.append(before)
    return found


def silenced_turns(call: CallRecord, times: Sequence[TurnTime], caller: AudioClip) -> list[Silenced]:
    """Spoken turns of which the recording lacks the sound, or a part that the record shows to be personal."""
    found = []
    for turn, time in zip(call.turns, times, strict=True):
        if time.typed or time.ended <= time.came:
            continue
        edge = min(_EDGE_S, (time.ended - time.came) / 3)  # it rings where the line's rate was another one
        first, last = round((time.came + edge) * caller.rate), round((time.ended - edge) * caller.rate)
        silent = np.abs(caller.samples[first:last].astype(np.int32)) <= _SILENT
        size = round(_PART_S * caller.rate)
        part = redacted_names(turn.text) and any(
            silent[start : start + size].all() for start in range(0, len(silent) - size + 1, size // 4)
        )
        if silent.all() or part:
            found.append(Silenced(turn, time.came, time.ended))
    return found


def without(caller: AudioClip, silenced: Sequence[Silenced]) -> AudioClip:
    """The caller's sound without what is left of turns that are filled in."""
    samples = caller.samples.copy()
    for gap in silenced:
        first, last = (gap.began - FRAME_SECONDS, gap.ended + FRAME_SECONDS)
        samples[max(0, round(first * caller.rate)) : round(last * caller.rate)] = 0
    return AudioClip(samples, caller.rate)

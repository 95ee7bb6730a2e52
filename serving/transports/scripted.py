"""A caller who speaks a script in a voice of its own, with noise where the script asks for it."""

import zlib

from serving.audio import AudioClip, add_noise, concatenate
from serving.call.caller import CallerLine, Feedback
from serving.call.script import CallScript, ScriptTurn
from serving.speech.protocols import TtsEngine
from serving.spoken import verbalise


class ScriptCaller:
    """Speaks a script's lines, or types them where no voice is given.

    Args:
        script: the lines.
        voice: the caller's text-to-speech; None types.
    """

    def __init__(self, script: CallScript, voice: TtsEngine | None) -> None:
        self.transport = "script" if voice else "script-text"
        self._turns = iter(script.turns)
        self._voice = voice
        self.feedback = Feedback(script.outcome == "resolved", script.survey)

    def next_line(self) -> CallerLine | None:
        """The next line of the script."""
        turn = next(self._turns, None)
        if turn is None:
            return None
        return (
            CallerLine(None, turn.say)
            if self._voice is None
            else CallerLine(speak(turn, self._voice), turn.say)
        )


def speak(turn: ScriptTurn, voice: TtsEngine) -> AudioClip:
    """The sound of a line; its noise is the same every time."""
    clip = concatenate(list(voice.synthesise(verbalise(turn.say))), voice.rate)
    if turn.noise_snr_db is None:
        return clip
    return add_noise(clip, turn.noise_snr_db, seed=zlib.crc32(turn.say.encode()))

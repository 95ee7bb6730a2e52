"""What of a caller's sound is not kept: all that was not understood, and all that must not be heard again.

An utterance stays in the recording only when its words were recognised and hold neither digits of a card nor
what says who is calling; words that were recognised unsurely must hold no number at all. Everything else (a
caller who hangs up in the middle of a number, recognition that breaks) is silenced. Sound that never reached
the ears is silenced where that is known (`live_hearing`).
"""

from dataclasses import replace

from serving.call.dialogue import DialogueState
from serving.call.ears import Over
from serving.call.recording import Recording
from serving.call.understanding import left_open, unrecorded
from serving.spoken.digit_runs import digits_alone
from serving.spoken.unfinished import Unfinished

_MARGIN_S = 0.02


class Muting:
    """Silences a caller's utterances in the recording.

    Args:
        recording: of the call.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._began: float | None = None
        self._unclear: dict[int, Over] = {}
        self._begun: Unfinished | None = None
        """What the latest words left unfinished; the dialogue knows it only when they are answered."""
        self._kept: list[Over] = []
        """The latest utterances, if they were a digit or two: they count when more follow."""

    def began(self, at: float) -> None:
        """An utterance began."""
        self._began = at

    def over(self, over: Over) -> None:
        """It is over, and nobody knows yet what it holds."""
        self._began = None
        self._unclear[over.utterance] = over

    def judge(self, over: Over, text: str | None, dialogue: DialogueState, *, sure: bool = True) -> None:
        """Keep an utterance or silence it.

        Args:
            over: the utterance.
            text: its true words; None where they were not recognised.
            dialogue: as far as it is known.
            sure: whether recognition was.
        """
        self._unclear.pop(over.utterance, None)
        known = replace(dialogue, unfinished=self._begun or dialogue.unfinished)
        if text is not None and not self._secret(text, known, sure=sure):
            more = self._begun is not None and self._begun.bare
            self._kept = [*self._kept, over] if more else []
            return
        self._mute(over)
        if text is not None and digits_alone(text):
            for part in self._kept:
                self._mute(part)
        self._kept = []

    def close(self, now: float) -> None:
        """The call is over: what was not understood by now will not be."""
        for over in self._unclear.values():
            self._mute(over)
        if self._began is not None:
            self._recording.mute_caller(self._began - _MARGIN_S, now + _MARGIN_S)
        self._unclear.clear()

    def _mute(self, over: Over) -> None:
        self._recording.mute_caller(over.began - _MARGIN_S, over.at + _MARGIN_S)

    def _secret(self, text: str, known: DialogueState, *, sure: bool) -> bool:
        try:
            values, self._begun = left_open(text, known)
            return (values and not sure) or unrecorded(text, known)
        except Exception:
            return True

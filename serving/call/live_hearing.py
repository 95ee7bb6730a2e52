"""What a live call hears: sound on its way to the ears, and keys on their way to a text."""

from collections import deque
from collections.abc import Callable

from serving.audio import FRAME_SECONDS, AudioClip, AudioFrame, Samples, silence
from serving.call.ears import Hears, Noticed, Over, Quiet
from serving.call.faults import fault
from serving.call.recording import Recording
from serving.call.scheduler import Done, Scheduler, Timer
from serving.speech.protocols import Transcript

INBOUND_S = 1.0
"""The caller's sound that may wait to be heard; more is dropped, oldest first (design D9)."""
_RESYNC_S = 0.25
"""The caller's sound belongs where it follows the sound before, unless it is this late, seconds."""
_RESYNC_AFTER_S = 0.5
"""How long sound must have been late until its place is moved, seconds."""
_NO_SOUND_S = 1.0
"""Time without any sound after which the line counts as silent, seconds."""
LIVE_LIMIT_S = 15.0
"""How long a recogniser or a voice may take while a caller waits in silence, seconds; more is a hang."""
KEYS_S = 2.0
"""Silence after which keyed digits are complete, seconds."""
_MOST_KEYS = 64


class Hearing:
    """The caller's sound, bounded, one batch at a time with the ears.

    Args:
        ears: this call's own.
        rate: of the line, Hz.
        recording: gets the caller's side; what the ears never got to is silenced in it.
        scheduler: the call's time and hands.
        notice: told of what the ears noticed.
        lost: told once when nothing can be heard any more.
    """

    def __init__(
        self,
        ears: Hears,
        rate: int,
        recording: Recording,
        scheduler: Scheduler,
        *,
        notice: Callable[[Noticed], None],
        lost: Callable[[str], None],
    ) -> None:
        self._ears = ears
        self._rate = rate
        self._recording = recording
        self._scheduler = scheduler
        self._notice, self._lost = notice, lost
        self._frames: deque[AudioFrame] = deque()
        self._seconds = 0.0
        self._end: float | None = None
        self._busy = False
        self._closed = False
        self._talking = False
        self._behind_since: float | None = None
        self._watch: Timer | None = None
        self._latest = 0.0
        self._heard_to = 0.0
        """The end of what the ears have told all about."""
        self._missed: tuple[float, float] | None = None
        """What was dropped since then."""
        self.dropped = 0
        """Frames of 20 ms that came faster than they could be heard."""

    def sound(self, samples: Samples) -> None:
        """Take the caller's next sound."""
        if self._closed or not len(samples):
            return
        clip = AudioClip(samples, self._rate)
        late = self._scheduler.now() - clip.seconds
        frame = AudioFrame(clip, self._place(late))
        self._end = frame.end
        self._recording.caller(frame.start, clip)
        self._take(frame)
        self._watch_for_silence()

    def _take(self, frame: AudioFrame) -> None:
        clip = frame.clip
        self._frames.append(frame)
        self._seconds += clip.seconds
        while self._seconds > INBOUND_S and len(self._frames) > 1:
            dropped = self._frames.popleft()
            self._seconds -= dropped.clip.seconds
            self.dropped += max(1, round(dropped.clip.seconds / FRAME_SECONDS))
            self._missed = (self._missed[0] if self._missed else dropped.start, dropped.end)
        self._listen()

    def _watch_for_silence(self) -> None:
        """A line that brings no more sound is silent: what was begun must come to its end."""
        self._latest = self._scheduler.now()
        if self._watch is None:
            self._watch = self._scheduler.later(self._latest + _NO_SOUND_S, self._no_sound)

    def _no_sound(self) -> None:
        self._watch = None
        if self._closed or self._end is None:
            return
        if self._scheduler.now() < self._latest + _NO_SOUND_S:  # one timer a second, not one for each frame
            self._watch = self._scheduler.later(self._latest + _NO_SOUND_S, self._no_sound)
            return
        if not self._talking:
            return
        clip = silence(_NO_SOUND_S, self._rate)
        frame = AudioFrame(clip, self._end)
        self._end = frame.end
        self._take(frame)
        self._watch_for_silence()

    def _place(self, late: float) -> float:
        """Where a sound begins that is there now and would have begun at `late`.

        It follows the sound before. After a stall much comes at once and fills the gap that way; only when
        the sound has been behind for a while was some of it lost, and its place is now.
        """
        now = self._scheduler.now()
        if self._end is None:
            return max(0.0, late)
        if late - self._end <= _RESYNC_S:
            self._behind_since = None
            return min(self._end, now)
        self._behind_since = now if self._behind_since is None else self._behind_since
        if now - self._behind_since < _RESYNC_AFTER_S:
            return self._end
        self._behind_since = None
        return late

    def finish(self, over: Over, done: Done[Transcript]) -> None:
        """Recognise an utterance that is over."""
        self._scheduler.work("stt", lambda: self._ears.finish(over.utterance), done, LIVE_LIMIT_S)

    def close(self) -> None:
        """Nothing more is heard; what has not been by now is not kept."""
        self._closed = True
        self._silence_unheard()
        if not self._busy:
            self._ears.close()

    def _silence_unheard(self) -> None:
        """Nobody knows what was said in it."""
        end = max(self._scheduler.now(), self._end or 0.0)
        self._recording.mute_caller(self._heard_to, end)
        self._missed = None

    def _silence_missed(self) -> None:
        if self._missed is not None:
            self._recording.mute_caller(*self._missed)
            self._missed = None

    def _listen(self) -> None:
        if self._busy or not self._frames:
            return
        frames = list(self._frames)
        self._frames.clear()
        self._seconds = 0.0
        self._busy = True
        end = frames[-1].end

        def done(noticed: list[Noticed] | None, error: Exception | None) -> None:
            self._heard(noticed, error, end)

        self._scheduler.work("ears", lambda: self._ears.hear(frames), done, LIVE_LIMIT_S)

    def _heard(self, noticed: list[Noticed] | None, error: Exception | None, end: float) -> None:
        self._busy = False
        if noticed is None:
            self._closed = True
            self._silence_unheard()
            self._lost(fault("vad", error) if error else "vad: nothing")
            return
        self._silence_missed()
        self._heard_to = end
        for item in noticed:
            if isinstance(item, Quiet):
                self._scheduler.work("guess", item.recognise, _told_nobody, LIVE_LIMIT_S)
            elif not self._closed:
                self._talking = not isinstance(item, Over)
                self._notice(item)
        if self._closed:
            self._ears.close()
        else:
            self._listen()


def _told_nobody(_result: None, _error: Exception | None) -> None:
    """Guesses are asked for where they are needed."""


class Keys:
    """Keys that the caller presses, collected until `#` or a pause.

    Args:
        scheduler: the call's time.
        told: of what was keyed.
    """

    def __init__(self, scheduler: Scheduler, told: Callable[[str], None]) -> None:
        self._scheduler = scheduler
        self._told = told
        self._keys = ""
        self._timer: Timer | None = None

    def press(self, key: str) -> None:
        """Take a key of `serving.call.line.KEYS`."""
        if key == "#":
            self.complete()
            return
        self._cancel_timer()
        self._keys = (self._keys + key)[:_MOST_KEYS]
        self._timer = self._scheduler.later(self._scheduler.now() + KEYS_S, self.complete)

    def complete(self) -> None:
        """No more keys come: tell what was keyed, if anything was."""
        self._cancel_timer()
        keys, self._keys = self._keys, ""
        if keys:
            self._told(keys)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Feeding a live line: a little ahead of playback, held, resumed and stopped; and what was heard of it.

Marks that come back from the far end are the playback clock; between them time passes evenly. Each mark
carries the epoch of its speech, so echoes of what a `clear` threw away are never counted as heard.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.audio import FRAME_SECONDS, AudioClip, Samples
from serving.call.line import Line
from serving.call.playout import heard_of
from serving.call.scheduler import Scheduler, Timer

AHEAD_S = 0.4
"""Most sound that the far end holds unplayed (design D9): it must be thrown away when a caller interrupts."""
_REFILL_S = 0.2
"""Sound left at the far end when more is sent."""
_MARK_EVERY_S = 0.2
WATCHDOG_S = 5.0
"""How long after its expected end a speech counts as played although no mark came back."""


@dataclass(slots=True)
class _Piece:
    """A sound on its way, and the words it carries."""

    text: str
    samples: Samples
    spoken: bool
    sent: int = 0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A stretch of sound that was sent: when it should play, and how much of its piece is over then."""

    piece: _Piece
    start: float
    end: float
    upto: int


class LivePlayout:
    """The bot's sound on one line.

    Args:
        line: where it goes.
        scheduler: the call's time.
        ended: told of the epoch whose last sound was played.
        began: told of an epoch and when the first sound of its reply was played.
        sent: told when a sound plays, for the recording.
    """

    def __init__(
        self,
        line: Line,
        scheduler: Scheduler,
        *,
        ended: Callable[[int], None],
        began: Callable[[int, float], None],
        sent: Callable[[float, AudioClip], None],
    ) -> None:
        self._line = line
        self._scheduler = scheduler
        self._ended, self._began, self._on_sent = ended, began, sent
        self._timer: Timer | None = None
        self._epoch = 0
        self._marks = 0  # of the whole call: a filler and its answer are one epoch
        self._free_at = 0.0
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[_Piece] = deque()
        self._sent: list[_Sent] = []
        self._lag = 0.0
        self._marked: dict[str, float] = {}
        self._since_mark = 0.0
        self._complete = False
        self._held = False
        self._first_mark = ""
        self._over = False

    @property
    def unsent_s(self) -> float:
        """Sound that waits to be sent, seconds."""
        return sum(len(piece.samples) - piece.sent for piece in self._queue) / self._line.rate

    @property
    def drained_at(self) -> float:
        """When the last sound that was sent has been played."""
        return self._free_at + self._lag

    def begin(self, epoch: int) -> None:
        """A new speech; the one before must have ended or been stopped."""
        self._cancel_timer()
        self._epoch = epoch
        self._reset()

    def add(self, text: str, clip: AudioClip, *, spoken: bool = True) -> None:
        """Queue a sound.

        Args:
            text: the words it carries, with placeholders; empty for a further sound of the same words.
            clip: at any rate.
            spoken: whether it is part of the reply; a filler is not.
        """
        samples = clip.resampled(self._line.rate).samples
        if len(samples):
            self._queue.append(_Piece(text, samples, spoken))
            self._over = False
            self._feed()

    def complete(self) -> None:
        """Nothing more will be added."""
        self._complete = True
        self._feed()

    def hold(self) -> None:
        """Send nothing more until `resume`; what was sent plays on."""
        self._held = True
        self._cancel_timer()

    def resume(self) -> None:
        """Go on where the sound was held."""
        self._held = False
        self._feed()

    def stop(self) -> str:
        """Throw away what was not played; returns what was heard, with placeholders."""
        heard = self.heard()
        self._cancel_timer()
        self._line.clear()
        self._free_at = self._scheduler.now()
        self._reset()
        self._over = True
        return heard

    def heard(self) -> str:
        """Words whose sound was played by now; of a piece in the middle, by the share that was."""
        now = self._scheduler.now() - self._lag
        upto: dict[int, int] = {}
        pieces: dict[int, _Piece] = {}
        for sent in self._sent:
            pieces[id(sent.piece)] = sent.piece
            if sent.end <= now + 1e-6:
                upto[id(sent.piece)] = sent.upto
            elif sent.start < now:
                share = (now - sent.start) / (sent.end - sent.start)
                begun = upto.get(id(sent.piece), 0)
                upto[id(sent.piece)] = begun + int((sent.upto - begun) * share)
        played = ((pieces[key], samples) for key, samples in upto.items())
        return heard_of(
            (piece.text, samples / len(piece.samples)) for piece, samples in played if piece.spoken
        )

    def marked(self, name: str) -> None:
        """A mark came back: what was sent before it has been played, if it is of this speech."""
        due = self._marked.pop(name, None)
        if due is None or self._over:
            return
        now = self._scheduler.now()
        self._lag = min(max(0.0, now - due), WATCHDOG_S)
        if name == self._first_mark:
            self._began(self._epoch, max(now, due) - FRAME_SECONDS)
        if not self._marked and not self._queue:
            self._finish_if_played()

    def _feed(self) -> None:
        """Send what the far end should have now, and come back before it runs dry."""
        if self._held or self._over:
            return
        self._cancel_timer()
        now = self._scheduler.now()
        while self._queue and max(self._free_at, now) - now < AHEAD_S - FRAME_SECONDS / 2:
            self._send(self._queue[0], now)
            if self._queue[0].sent >= len(self._queue[0].samples):
                self._queue.popleft()
        if self._queue:
            self._timer = self._scheduler.later(self._free_at - _REFILL_S, self._feed)
        elif self._sent:
            self._mark()
            self._timer = self._scheduler.later(self._free_at + WATCHDOG_S, self._give_up)
        if self._complete and not self._queue and not self._sent:
            self._finish_if_played()

    def _send(self, piece: _Piece, now: float) -> None:
        rate = self._line.rate
        size = round(rate * FRAME_SECONDS)
        samples = piece.samples[piece.sent : piece.sent + size]
        piece.sent += len(samples)
        whole = np.pad(samples, (0, size - len(samples))) if len(samples) < size else samples
        start = max(self._free_at, now)
        self._free_at = start + len(whole) / rate
        self._line.play(whole)
        self._sent.append(_Sent(piece, start, self._free_at, piece.sent))
        self._on_sent(start, AudioClip(whole, rate))
        self._since_mark += FRAME_SECONDS
        first = piece.spoken and not self._first_mark
        if first or self._since_mark >= _MARK_EVERY_S - 1e-6:
            self._mark()
        if first:
            self._first_mark = f"{self._epoch}.{self._marks}"

    def _mark(self) -> None:
        if self._marked and max(self._marked.values()) >= self._free_at:
            return
        self._marks += 1
        name = f"{self._epoch}.{self._marks}"
        self._marked[name] = self._free_at
        self._since_mark = 0.0
        self._line.mark(name)

    def _give_up(self) -> None:
        """No mark came back for long: the far end does not tell, or is gone."""
        self._marked.clear()
        self._finish_if_played()

    def _finish_if_played(self) -> None:
        if self._complete and not self._queue and not self._marked and not self._over:
            self._over = True
            self._cancel_timer()
            self._ended(self._epoch)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

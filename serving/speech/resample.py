"""Change the rate of sound that arrives frame by frame, with two milliseconds of delay.

Whole clips use soxr (`AudioClip.resampled`). Its streaming form hands out blocks of up to 100 ms,
too late for a voice detector that must stop the bot within that time, so live frames go through
this polyphase windowed-sinc filter instead. Splitting the input differently never changes the
output.
"""

from math import gcd

import numpy as np
import numpy.typing as npt

from serving.audio import SPEECH_RATE, Samples
from serving.errors import InvalidInputError

_ZERO_CROSSINGS = 16
"""Half width of the sinc in zero crossings at the lower rate."""
_KAISER_BETA = 9.0
"""Stop band about 90 dB down, below 16-bit noise."""
_PASS_BAND = 0.94
"""Cut-off as a share of the lower Nyquist frequency; leaves room for the filter's slope."""


class StreamResampler:
    """Resample one mono stream of int16 samples.

    Args:
        rate: rate of the input, Hz (4,000 to 192,000).
        target: rate of the output, Hz.

    Raises:
        InvalidInputError: a rate outside the range.
    """

    def __init__(self, rate: int, target: int = SPEECH_RATE) -> None:
        for value in (rate, target):
            if not 4_000 <= value <= 192_000:
                raise InvalidInputError(
                    f"A rate of {value} Hz cannot be used; 4000 to 192000 Hz is possible."
                )
        common = gcd(rate, target)
        self.rate = rate
        self.target = target
        self._up = target // common
        self._down = rate // common
        self._bank = _filter_bank(rate, target, self._up)
        self._taps = self._bank.shape[1]
        self.reset()

    @property
    def delay(self) -> float:
        """Seconds of input that the filter holds back."""
        return 0.0 if self.rate == self.target else (self._taps // 2) / self.rate

    def reset(self) -> None:
        """Forget the past; the next sample is the first of a stream."""
        half = self._taps // 2
        self._held: npt.NDArray[np.float32] = np.zeros(half - 1, np.float32)
        self._position = 0
        """Next output sample: its window starts at `_position // up` in `_held`, phase `% up`."""

    def feed(self, samples: Samples) -> Samples:
        """Take the next samples; give every output sample that can be computed now."""
        if self.rate == self.target:
            return samples
        self._held = np.concatenate([self._held, samples.astype(np.float32)])
        windows = len(self._held) - self._taps + 1
        if windows <= 0:
            return np.zeros(0, np.int16)
        count = max(0, -(-(windows * self._up - self._position) // self._down))
        steps = self._position + self._down * np.arange(count)
        starts, phases = steps // self._up, steps % self._up
        view = np.lib.stride_tricks.sliding_window_view(self._held, self._taps)
        values = np.einsum("nt,nt->n", view[starts], self._bank[phases])
        self._position += self._down * count
        spent = min(self._position // self._up, len(self._held))
        self._held = self._held[spent:]
        self._position -= spent * self._up
        limited: Samples = np.clip(np.round(values), -32_768, 32_767).astype(np.int16)
        return limited

    def flush(self) -> Samples:
        """The samples still held back, as if silence followed; the stream starts anew."""
        if self.rate == self.target:
            return np.zeros(0, np.int16)
        last = self.feed(np.zeros(self._taps // 2, np.int16))
        self.reset()
        return last


def _filter_bank(rate: int, target: int, phases: int) -> npt.NDArray[np.float32]:
    """Windowed-sinc filters, shape (phases, taps), each of unit gain at zero frequency."""
    cutoff = _PASS_BAND * min(1.0, target / rate)
    half = int(np.ceil(_ZERO_CROSSINGS / min(1.0, target / rate)))
    offsets = np.arange(-half + 1, half + 1)[None, :] - (np.arange(phases) / phases)[:, None]
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1.0 - (offsets / half) ** 2, 0.0, 1.0))) / np.i0(
        _KAISER_BETA
    )
    bank = np.sinc(offsets * cutoff) * window
    return np.asarray(bank / bank.sum(axis=1, keepdims=True), dtype=np.float32)

"""Sound as the live loop handles it: 16-bit mono PCM with its rate, and files at the edges.

All engines exchange `AudioClip`; a transport cuts clips into 20 ms `AudioFrame`s stamped with
the call's clock. Files of any rate and channel count come in through `read_wav`, which refuses
what is not usable speech with a reason. No engine is imported here.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInputError

FRAME_SECONDS = 0.02
"""Length of a transport frame, the packet time of telephony (RFC 3551 default)."""
SPEECH_RATE = 16_000
"""Rate in Hz at which voice activity detection and speech-to-text listen."""
PCM_SCALE = 32_768.0

Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioClip:
    """A piece of mono sound.

    Attributes:
        samples: int16, shape (n,).
        rate: samples per second (Hz).
    """

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.int16:
            raise ValueError("AudioClip needs a one-dimensional int16 array")

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate

    def floats(self) -> Floats:
        """Samples as float32 in [-1, 1)."""
        return self.samples.astype(np.float32) / np.float32(PCM_SCALE)

    def resampled(self, rate: int) -> "AudioClip":
        """The same sound at another rate (band-limited, soxr high quality)."""
        if rate == self.rate or not len(self.samples):
            return AudioClip(self.samples, rate)
        import soxr

        return AudioClip(soxr.resample(self.samples, self.rate, rate), rate)

    def frames(self, start: float = 0.0) -> Iterator["AudioFrame"]:
        """Cut into 20 ms frames, the last one padded with silence.

        Args:
            start: time of the first sample on the call's clock, seconds.
        """
        size = round(self.rate * FRAME_SECONDS)
        for index in range(0, len(self.samples), size):
            part = self.samples[index : index + size]
            if len(part) < size:
                part = np.pad(part, (0, size - len(part)))
            yield AudioFrame(AudioClip(part, self.rate), start + index / self.rate)


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A clip of one frame's length and the time of its first sample on the call's clock (s)."""

    clip: AudioClip
    start: float

    @property
    def end(self) -> float:
        """Time just after the last sample, seconds."""
        return self.start + self.clip.seconds


def from_floats(values: npt.NDArray[np.floating], rate: int) -> AudioClip:
    """Clip from floats in [-1, 1]; values outside are limited, never wrapped."""
    limited = np.clip(np.asarray(values, dtype=np.float64) * PCM_SCALE, -32_768, 32_767)
    return AudioClip(np.round(limited).astype(np.int16), rate)


def silence(seconds: float, rate: int) -> AudioClip:
    """A clip of zeros."""
    return AudioClip(np.zeros(round(seconds * rate), dtype=np.int16), rate)


def concatenate(clips: list[AudioClip], rate: int) -> AudioClip:
    """Join clips, resampling each to `rate`."""
    parts = [clip.resampled(rate).samples for clip in clips]
    return AudioClip(np.concatenate(parts) if parts else np.zeros(0, np.int16), rate)


def add_noise(clip: AudioClip, snr_db: float, seed: int) -> AudioClip:
    """Mix white noise in at a signal-to-noise ratio in dB, the same for the same seed."""
    signal = clip.floats().astype(np.float64)
    power = float(np.mean(signal**2)) if len(signal) else 0.0
    if power == 0.0:
        return clip
    noise = np.random.default_rng(seed).normal(size=len(signal))
    return from_floats(signal + noise * np.sqrt(power / 10 ** (snr_db / 10)), clip.rate)


def read_wav(path: Path, *, max_seconds: float) -> AudioClip:
    """Read an audio file as mono at its own rate; channels are averaged.

    Args:
        path: WAV, FLAC or OGG.
        max_seconds: longer files are refused before their samples are read.

    Raises:
        InvalidInputError: absent, not audio, cut short, empty, too long, or under 8 kHz.
    """
    channels = read_wav_channels(path, max_seconds=max_seconds)
    if len(channels) == 1:
        return channels[0]
    mean = np.round(np.mean([clip.samples for clip in channels], axis=0))
    return AudioClip(np.asarray(mean, np.int16), channels[0].rate)


def read_wav_channels(path: Path, *, max_seconds: float = float("inf")) -> list[AudioClip]:
    """Read the channels of an audio file; arguments and errors as for `read_wav`."""
    import soundfile

    if not path.is_file():
        raise InvalidInputError(f"Audio file {path} does not exist.")
    try:
        info = soundfile.info(str(path))
        if info.frames == 0:
            raise InvalidInputError(f"Audio file {path} holds no sound.", advice="Record it again.")
        if info.samplerate < 8_000:
            raise InvalidInputError(f"Audio file {path} has {info.samplerate} Hz; 8000 Hz or more is needed.")
        if info.duration > max_seconds:
            raise InvalidInputError(
                f"Audio file {path} is {info.duration:.0f} s long; the limit is {max_seconds:.0f} s.",
                advice="Split it into single turns, or raise VOICEBOT_MAX_WAV_S.",
            )
        samples, rate = soundfile.read(str(path), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InvalidInputError(
            f"{path} is not a readable audio file ({error.error_string}).",
            advice="Give WAV, FLAC or OGG.",
        ) from error
    if len(samples) == 0:
        raise InvalidInputError(f"Audio file {path} is cut off: its header promises sound that is not there.")
    return [AudioClip(np.ascontiguousarray(channel), int(rate)) for channel in samples.T]


def write_wav(path: Path, channels: list[AudioClip]) -> None:
    """Write clips of one rate as the channels of a 16-bit WAV, atomically.

    Shorter channels are padded with silence. A call's recording has the caller left, the bot right.
    """
    import soundfile

    rates = {clip.rate for clip in channels}
    if len(rates) != 1:
        raise ValueError("write_wav needs one rate for all channels")
    length = max(len(clip.samples) for clip in channels)
    data = np.stack([np.pad(c.samples, (0, length - len(c.samples))) for c in channels], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=".wav", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        soundfile.write(str(temporary), data, rates.pop(), subtype="PCM_16")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""Sound as the live loop handles it: 16-bit mono PCM with its rate, and files at the edges.

All engines exchange `AudioClip`; a transport cuts clips into 20 ms `AudioFrame`s stamped with
the call's clock. Files of any rate and channel count come in through `read_wav`, which refuses
what is not usable speech with a reason. No engine is imported here.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidInputError
from serving.files import replacing

if TYPE_CHECKING:
    from soundfile import SoundFile

FRAME_SECONDS = 0.02
"""Length of a transport frame, the packet time of telephony (RFC 3551 default)."""
SPEECH_RATE = 16_000
"""Rate in Hz at which voice activity detection and speech-to-text listen."""
PCM_SCALE = 32_768.0
MIN_FILE_RATE = 8_000
MAX_FILE_RATE = 192_000
MAX_FILE_SAMPLES = 100_000_000
"""Of all channels together: 17 minutes of stereo at 48 kHz, 200 MB. A FLAC of silence unpacks to a
thousand times its size, so that a file's own size limits nothing."""
_BLOCK = 1 << 16
_LENGTH_UNKNOWN = 1 << 62
"""Frames from which libsndfile means that the header names no length."""
_SIZE_UNKNOWN = 0x7FFF0000
"""Programs that write a WAV to a pipe cannot know its size and put something at least this large."""

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
        if self.rate < 1:
            raise ValueError(f"AudioClip needs a positive rate, got {self.rate}")

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
    """Clip from floats in [-1, 1]; values outside are limited, never wrapped, and NaN is silence."""
    return AudioClip(_pcm(np.asarray(values)), rate)


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
        InvalidInputError: absent, not audio, cut short (OGG does not tell), empty, too long or too large,
            or of a rate outside 8 to 192 kHz.
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
        raise InvalidInputError(f"Audio file {path} does not exist or is no file.")
    try:
        # By descriptor: from a name, soundfile guesses the format and takes .raw for headerless sound.
        with path.open("rb") as file, soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            _refuse_unusable(path, sound, max_seconds)
            if _missing_bytes(path):
                raise _cut_off(path)
            samples, rate = _samples(path, sound), sound.samplerate
    except soundfile.LibsndfileError as error:
        raise InvalidInputError(
            f"{path} is not a readable audio file ({error.error_string}).",
            advice="Give WAV, FLAC or OGG.",
        ) from error
    except OSError as error:
        raise InvalidInputError(f"Audio file {path} cannot be read: {error.strerror}.") from error
    return [AudioClip(np.ascontiguousarray(channel), rate) for channel in samples.T]


def write_wav(path: Path, channels: list[AudioClip]) -> None:
    """Write clips of one rate as the channels of a 16-bit WAV, atomically; only the owner may read it.

    Shorter channels are padded with silence. A call's recording has the caller left, the bot right.

    Raises:
        OSError: the file cannot be written, for instance because the disk is full; what was there
            before stays.
    """
    rates = {clip.rate for clip in channels}
    if len(rates) != 1:
        raise ValueError("write_wav needs one rate for all channels")
    length = max(len(clip.samples) for clip in channels)
    data = np.stack([np.pad(c.samples, (0, length - len(c.samples))) for c in channels], axis=1)
    write_wav_blocks(path, [data], channels=len(channels), rate=rates.pop())


def write_wav_blocks(
    path: Path, blocks: Iterable[npt.NDArray[np.int16]], *, channels: int, rate: int
) -> None:
    """As `write_wav`, for sound that comes in blocks of shape (samples, channels).

    Raises:
        OSError: as there.
    """
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, private=True) as temporary:
        try:
            with soundfile.SoundFile(
                str(temporary), "w", rate, channels, format="WAV", subtype="PCM_16"
            ) as sound:
                for block in blocks:
                    sound.write(block)
        except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
            raise OSError(errno.EIO, "the sound could not be written", str(path)) from error


def _pcm(values: npt.NDArray[np.floating]) -> Samples:
    """Floats of any shape as 16-bit samples."""
    scaled = np.nan_to_num(values.astype(np.float64) * PCM_SCALE, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return np.round(np.clip(scaled, -32_768, 32_767)).astype(np.int16)


def _refuse_unusable(path: Path, sound: "SoundFile", max_seconds: float) -> None:
    """Judge a file by its header, before any sample is unpacked."""
    if sound.frames == 0:
        raise InvalidInputError(f"Audio file {path} holds no sound.", advice="Record it again.")
    if not MIN_FILE_RATE <= sound.samplerate <= MAX_FILE_RATE:
        raise InvalidInputError(
            f"Audio file {path} has {sound.samplerate} Hz; {MIN_FILE_RATE} to {MAX_FILE_RATE} Hz is needed."
        )
    if sound.frames >= _LENGTH_UNKNOWN:
        raise InvalidInputError(
            f"Audio file {path} does not say how long it is.", advice="Convert it to WAV."
        )
    seconds = sound.frames / sound.samplerate
    if seconds > max_seconds:
        raise InvalidInputError(
            f"Audio file {path} is {seconds:.0f} s long; the limit is {max_seconds:.0f} s.",
            advice="Split it into single turns, or raise VOICEBOT_MAX_WAV_S.",
        )
    if sound.frames * sound.channels > MAX_FILE_SAMPLES:
        raise InvalidInputError(
            f"Audio file {path} would unpack to more than {MAX_FILE_SAMPLES:,} samples.",
            advice="Convert it to 16 kHz mono.",
        )


def _samples(path: Path, sound: "SoundFile") -> Samples:
    """All samples, int16 of shape (n, channels), unpacked block by block.

    Through floats: read as integers, a float file would come out as silence.
    """
    samples = np.zeros((sound.frames, sound.channels), np.int16)
    filled = 0
    while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
        samples[filled : filled + len(block)] = _pcm(block)
        filled += len(block)
    if filled < len(samples):
        raise _cut_off(path)
    return samples


def _cut_off(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"Audio file {path} is cut off: its header promises sound that is not there.",
        advice="Record or copy it again.",
    )


def _missing_bytes(path: Path) -> int:
    """How many bytes of sound a RIFF header promises beyond the file's end; 0 for other formats."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[0:4] != b"RIFF":
            return 0
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return 0 if length >= _SIZE_UNKNOWN else max(0, file.tell() + length - size)
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0

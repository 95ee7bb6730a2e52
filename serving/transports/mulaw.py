"""The sound of telephone lines: ITU-T G.711 mu-law at 8 kHz, by table, both ways.

The tables are computed from the standard's segments (a bias of 33 on 14 bits, eight segments of sixteen
steps, all bits inverted on the line). 16-bit samples are first shortened to 14 bits, rounding down, which is
what common telephone software does.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from serving.audio import Samples

MULAW_RATE = 8_000
"""Samples, and bytes, per second."""
MULAW_SILENCE = 0xFF
"""The code of zero."""
_BIAS = 33
_SEGMENTS = np.array([0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF, 0x1FFF])
"""Largest biased magnitude of each segment."""

Codes = npt.NDArray[np.uint8]


def encode_mulaw(samples: Samples) -> bytes:
    """One byte a sample; louder than the standard can say is limited."""
    return _encoding()[samples.view(np.uint16)].tobytes()


def decode_mulaw(data: bytes) -> Samples:
    """One 16-bit sample a byte; every byte has one."""
    return _decoding()[np.frombuffer(data, np.uint8)]


@cache
def _encoding() -> Codes:
    """Code of each 16-bit sample, by the sample read as unsigned."""
    value = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(value) + _BIAS, _SEGMENTS[-1])
    segment = np.searchsorted(_SEGMENTS, magnitude)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    return np.asarray(code ^ np.where(value < 0, 0x7F, 0xFF), np.uint8)


@cache
def _decoding() -> Samples:
    """16-bit sample of each code."""
    code = ~np.arange(256, dtype=np.uint8)
    step, segment = (code & 0x0F).astype(np.int32), ((code & 0x70) >> 4).astype(np.int32)
    magnitude = (((step << 1) + _BIAS) << segment) - _BIAS
    samples = np.asarray(np.where(code & 0x80, -magnitude, magnitude) * 4, np.int16)
    samples.flags.writeable = False
    return samples

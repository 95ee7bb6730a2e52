"""Mu-law by table: the standard's own corners, and every sample against another implementation."""

import sys
import warnings

import numpy as np
import pytest

from serving.transports.mulaw import MULAW_SILENCE, decode_mulaw, encode_mulaw

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)
EVERY_CODE = bytes(range(256))

LAST_OF_SEGMENT = {
    0xFF: 0, 0xFE: 8, 0xF0: 120, 0xEF: 132, 0xE0: 372, 0xDF: 396, 0xD0: 876, 0xCF: 924, 0xC0: 1_884,
    0xBF: 1_980, 0xB0: 3_900, 0xAF: 4_092, 0xA0: 7_932, 0x9F: 8_316, 0x90: 15_996, 0x8F: 16_764, 0x80: 32_124,
}  # fmt: skip
"""Code → value at each segment's ends, from the decoder table of G.711 (there in 14 bits, so times four)."""


@pytest.mark.parametrize(("code", "value"), LAST_OF_SEGMENT.items(), ids=hex)
def test_the_corners_of_the_standards_table_are_met_in_both_directions(code: int, value: int) -> None:
    assert decode_mulaw(bytes([code]))[0] == value
    assert decode_mulaw(bytes([code & 0x7F]))[0] == -value
    assert encode_mulaw(np.array([value], np.int16)) == bytes([code])


def test_zero_is_silence_and_the_loudest_is_limited() -> None:
    assert encode_mulaw(np.array([0, 32_767, -32_768], np.int16)) == bytes([MULAW_SILENCE, 0x80, 0x00])


def test_a_code_that_was_decoded_becomes_itself_again() -> None:
    again = encode_mulaw(decode_mulaw(EVERY_CODE))
    assert [code for code, back in zip(EVERY_CODE, again, strict=True) if code != back] == [0x7F]
    assert again[0x7F] == MULAW_SILENCE  # the second zero


def test_no_sample_moves_further_than_half_a_step_of_its_segment() -> None:
    moved = np.abs(decode_mulaw(encode_mulaw(EVERY_SAMPLE)).astype(int) - EVERY_SAMPLE)
    quiet = np.abs(EVERY_SAMPLE.astype(int)) < 32_124
    allowed = np.maximum(8, (np.abs(EVERY_SAMPLE.astype(int)) + 132) / 32 + 4)
    assert (moved <= allowed)[quiet].all()


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the standard library")
def test_every_sample_and_every_code_is_as_in_the_standard_library() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop

    assert encode_mulaw(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2)
    assert decode_mulaw(EVERY_CODE).tobytes() == audioop.ulaw2lin(EVERY_CODE, 2)


def test_nothing_is_nothing() -> None:
    assert encode_mulaw(np.zeros(0, np.int16)) == b""
    assert len(decode_mulaw(b"")) == 0


def test_a_slice_of_other_sound_can_be_encoded() -> None:
    assert encode_mulaw(EVERY_SAMPLE[::2]) == encode_mulaw(EVERY_SAMPLE)[::2]


def test_the_decoded_sound_is_the_callers_own_to_change() -> None:
    first = decode_mulaw(b"\x80\x80")
    first[:] = 0
    assert decode_mulaw(b"\x80")[0] == 32_124

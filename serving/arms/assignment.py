"""Which caller gets which arm: a pure function of a keyed hash, so every server decides alike.

A caller keeps the arm from call to call, and a larger share only ever moves callers to the challenger.
Nothing here is stored or looked up; who holds a call's `caller_key` and its split can compute the arm again.
"""

import hashlib

from serving.arms.split import Arm, Split
from serving.spoken.values import Kind
from serving.telemetry.redaction import keyed_hash

_SCALE = 1 << 64


def caller_key(caller: str, call_id: str, key: bytes) -> str:
    """What a call is assigned by: a keyed hash of its caller, of the call itself where nobody is named.

    Without the key nobody can find the telephone number by trying all of them. It is another hash than the
    record's `caller`, so that one cannot be looked up by the other without the key.

    Args:
        caller: number or customer id in one way of writing it; empty where unknown.
        call_id: the call's id.
        key: the installation's key of personal hashes (`load_pii_key`); servers that share callers share it.

    Returns:
        32 hexadecimal digits.

    Raises:
        InvalidInputError: a key of fewer than 16 bytes.
    """
    unit = f"arm\x1fcaller\x1f{caller}" if caller else f"arm\x1fcall\x1f{call_id}"
    return keyed_hash(Kind.ACCOUNT, unit, key)


def position(split_id: str, key: str) -> int:
    """Where a caller stands among all: uniform over 0 to 2**64 − 1, and independent from split to split."""
    return int.from_bytes(hashlib.sha256(f"{split_id}\x1f{key}".encode()).digest()[:8])


def arm_of(split: Split, key: str) -> Arm:
    """The arm of a new call: the challenger's for the callers who stand within its share.

    Args:
        split: 0 percent (also one that has ended) gives everybody the champion.
        key: from `caller_key`.
    """
    # position / 2**64 < percent / 100, in whole numbers: 0 % takes nobody, 100 % everybody.
    within = position(split.id, key) * 100 < split.percent * _SCALE
    return Arm.CHALLENGER if within else Arm.CHAMPION

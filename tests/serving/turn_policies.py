"""Limits of the calls in tests of the turn machine."""

from serving.call.machine import TurnPolicy

POLICY = TurnPolicy(confidence_floor=0.4, max_failures=3, max_chars=100)
LIVE = TurnPolicy(
    0.4, 3, 100, idle_s=8.0, filler_s=1.5, backchannels=frozenset({"okay", "mm hm", "uh huh"}),
)  # fmt: skip

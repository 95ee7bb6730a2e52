"""A pass of the cycle collector stops every line: what a server loaded, it need not look at."""

import subprocess
import sys

SERVER = """
import gc
from serving.call.scheduler import freeze_what_is_loaded

class Cycle:
    def __init__(self):
        self.me = self

loaded = [Cycle() for _ in range(50_000)]
before = len(gc.get_objects())
freeze_what_is_loaded()
calls = [Cycle() for _ in range(100)]
looked_at = len(gc.get_objects())
del calls
print(before > 50_000, looked_at, gc.collect(), len(loaded))
"""


def test_a_full_pass_looks_only_at_what_came_after_and_still_frees_it() -> None:
    told = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True).stdout
    many, looked_at, freed, loaded = told.split()
    assert many == "True"
    assert 100 <= int(looked_at) < 1_000
    assert int(freed) >= 100
    assert loaded == "50000"

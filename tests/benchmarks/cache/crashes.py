"""kill -9 a writer of the cache, many times over: at every step of its work, and at any moment.

python -m tests.benchmarks.cache.crashes --runs 500
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from loguru import logger

from tests.serving.cache.crashing import check_killed_after, check_killed_at, days_of, steps_of
from tests.serving.cache.version_1 import old_cache

LONGEST_S = 0.25
"""Latest moment at which a writer without a plan is killed."""


def run(runs: int, folder: Path, seed: int) -> tuple[int, int]:
    """Kill a writer `runs` times; half of the runs, at least, each at another step.

    Returns:
        How many different steps were tried, and how many entries the others had written.

    Raises:
        AssertionError: something that was committed is lost, or something else is served.
    """
    before = old_cache(folder / "before")
    days = days_of(folder / "days", before)
    steps = steps_of(folder / "all", before)
    moments, names, written = random.Random(seed), set(), 0  # moments, no secrets
    for number in range(runs):
        there = folder / str(number)
        if number % 2:
            there.mkdir()
            written += check_killed_after(there, moments.uniform(0, LONGEST_S))
        else:
            shutil.copytree(before, there)
            step = number // 2 % len(steps)
            check_killed_at(there, step + 1, days)
            names.add(step)
        shutil.rmtree(there)
    return len(names), written


def main() -> None:
    """Run and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    logger.disable("serving")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        steps, written = run(given.runs, Path(folder), given.seed)
    took = time.perf_counter() - started
    sys.stdout.write(
        f"{given.runs} runs, 0 lost: each of {steps} steps, {given.runs // 2} times at any moment "
        f"({written} entries); {took:.0f} s\n"
    )


if __name__ == "__main__":
    main()

"""Our live loop beside Pipecat's in one run: `python -m tests.benchmarks.live.compare`.

Both sides get the same sound, engine delays and silence; each step is a process of its own, pinned to one
core, and the sides take turns so that a machine that gets busier does so for both. Prints a table, ratios
and JSON; nothing here passes or fails.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.live.peer import ROOT, NoPeerError, peer_python
from tests.benchmarks.live.search import SIZES, largest

LIMIT_MS = 20.0
"""Added latency (p95) up to which a number of concurrent calls counts as held."""
FEW = (1, 10)
"""Concurrent calls at which added latency is compared."""
Step = dict[str, Any]
"""`tests.benchmarks.live.workload.Step`, as the side's process told it."""


@dataclass(frozen=True, slots=True)
class Side:
    """How to run one side.

    Attributes:
        command: interpreter and module; `--calls`, `--seconds` and `--core` follow.
    """

    name: str
    command: tuple[str, ...]

    def step(self, calls: int, seconds: float, core: int) -> Step:
        """One number of calls in a process of its own.

        Raises:
            RuntimeError: it ended without a result.
        """
        arguments = ["--calls", str(calls), "--seconds", str(seconds), "--core", str(core)]
        done = subprocess.run(
            [*self.command, *arguments],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds + 600,
        )
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            raise RuntimeError(f"{self.name} with {calls} calls: {done.stderr.strip()[-2_000:]}")
        step: Step = json.loads(lines[-1])
        _say(_line(step))
        return step


def sides(settings: Sequence[str] = ("shipped", "lean")) -> list[Side]:
    """Ours, and the peer's where it can be had."""
    ours = Side("ours", (sys.executable, "-m", "tests.benchmarks.live.our_side"))
    try:
        python = str(peer_python())
    except NoPeerError as error:
        _say(f"Without Pipecat: {error}")
        return [ours]
    module = ("-m", "tests.benchmarks.live.pipecat_peer", "--setting")
    return [ours, *(Side(f"pipecat {name}", (python, *module, name)) for name in settings)]


def held(step: Step) -> bool:
    """Whether all turns were answered and p95 of what was added is within the limit."""
    return bool(step["turns"]) and not step["missed"] and step["added_ms"][1] < LIMIT_MS


def measure(chosen: Sequence[Side], seconds: float, core: int, most: int) -> dict[str, Any]:
    """Latency at few calls, then the largest number of calls, side by side."""
    latency: dict[str, dict[str, Step]] = {side.name: {} for side in chosen}
    for calls in FEW:
        for side in chosen:
            # One call gives few turns: it is heard for three times as long.
            latency[side.name][str(calls)] = side.step(calls, seconds * (3 if calls == 1 else 1), core)
    sizes = tuple(size for size in SIZES if size <= most)
    capacity = {
        side.name: largest(lambda calls, side=side: held(side.step(calls, seconds, core)), sizes)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        for side in chosen
    }
    return {
        "latency": latency,
        "capacity": capacity,
        "limit_ms": LIMIT_MS,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
    }


def ratios(result: dict[str, Any]) -> list[str]:
    """What the figures mean, in sentences; each against the peer's setting that does best in it."""
    peers = [name for name in result["capacity"] if name != "ours"]
    if not peers:
        return ["No comparison: Pipecat was not run."]
    told = []
    for calls in map(str, FEW):
        ours = result["latency"]["ours"][calls]
        theirs = [result["latency"][name][calls] for name in peers]
        for place, label in ((0, "median"), (1, "p95")):
            mine, best = ours["added_ms"][place], min(step["added_ms"][place] for step in theirs)
            told.append(
                f"{calls} call(s), added latency, {label}: {mine:.1f} ms, Pipecat {best:.1f} ms "
                f"({_ratio(mine, best)}; at most 0.50 expected)"
            )
        best = min(step["voice_ms"][0] for step in theirs)
        told.append(
            f"{calls} call(s), voice to voice as it is, median: {ours['voice_ms'][0]:.0f} ms, Pipecat "
            f"{best:.0f} ms; unavoidable are {ours['unavoidable_ms']:.0f} and "
            f"{theirs[0]['unavoidable_ms']:.0f} ms"
        )
        best = min(step["core"] for step in theirs)
        told.append(
            f"{calls} call(s), share of a core: {ours['core']:.1%}, Pipecat {best:.1%} "
            f"({_ratio(ours['core'], best)})"
        )
    most = max(result["capacity"][name] for name in peers)
    mine = result["capacity"]["ours"]
    told.append(
        f"Concurrent calls on one core with p95 added under {LIMIT_MS:g} ms: {mine}, Pipecat {most} "
        f"({_ratio(mine, most)}; at least 2.00 expected)"
    )
    return told


def _ratio(mine: float, theirs: float) -> str:
    return f"ratio {mine / theirs:.2f}" if theirs > 0 and mine >= 0 else "no ratio"


def _line(step: Step) -> str:
    p50, p95, worst = step["added_ms"]
    return (
        f"{step['side']:<16}{step['calls']:>5} calls {step['turns']:>6} turns {step['missed']:>4} missed   "
        f"added p50 {p50:>8.1f}  p95 {p95:>8.1f}  worst {worst:>8.1f} ms   "
        f"voice to voice {step['voice_ms'][0]:>7.0f} ms   core {step['core']:>6.1%}"
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time of each step")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core of both sides")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="largest number of calls to try")
    args = parser.parse_args()
    result = measure(sides(), args.seconds, args.core, args.most)
    for sentence in ratios(result):
        _say(sentence)
    _say(json.dumps(result))


if __name__ == "__main__":
    main()

"""Operators' work on a registry of 1,000 versions: look, decide, promote, roll back, register one more.

Under `make test` each runs once, on 5 versions. Aims: a look within a second, a change within two, a poll of
the servers within 50 ms; registering the last of 1,000 at most twice as slow as the first.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.adapters.decision import Check, GateDecision
from serving.adapters.inspection import inspect_registry
from serving.adapters.manifest import REQUIRED_FILES, Kind, Provenance, seal
from serving.adapters.promotion import promote, rollback
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision, looks_at
from serving.adapters.versions import CHALLENGER, CHAMPION
from tests.serving.adapters.fitting import KNOWN

NAME = "banking-lora"
VERSIONS = 1_000
_TEST = "e" * 64


def write_bundle(folder: Path, number: int) -> Path:
    """A sealed bundle with tiny files, of which only the labels are looked at."""
    folder.mkdir(parents=True)
    for name in REQUIRED_FILES[Kind.INTENT]:
        (folder / name).write_text(json.dumps({"labels": KNOWN}))
    (folder / "card.md").write_text(f"# Adapter {number}\n")
    tensors = ("base_model.model.classifier.bias",)
    seal(
        folder,
        Provenance(Kind.INTENT, NAME, "tiny", "a" * 64, "a" * 64, 1, tensors, "d" * 64, "f" * 64, number),
    )
    return folder


class Filled:
    """A registry with many versions, each judged, and what it takes to add one more.

    Attributes:
        registry: the registry.
        seconds: time of each registration, in order.
    """

    def __init__(self, folder: Path, versions: int) -> None:
        mlruns = folder / "mlruns"
        self.registry = AdapterRegistry(f"sqlite:///{mlruns / 'mlflow.db'}", mlruns)
        self.seconds: list[float] = []
        self._folder = folder
        self._numbers = itertools.count(1)
        for _ in range(versions):
            self.register()
        self.judge(versions - 1)
        promote(self.registry, NAME, versions - 1, by="ci", reason="first")

    def register(self) -> int:
        number = next(self._numbers)
        bundle = write_bundle(self._folder / "bundles" / str(number), number)
        started = time.perf_counter()
        version = self.registry.register(NAME, bundle, by="ci").version
        self.seconds.append(time.perf_counter() - started)
        return version

    def judge(self, version: int) -> None:
        champion = self.registry.champion_version(NAME)
        checks = (Check("non_inferior", True, "Equal.", {"gained": 1, "lost": 1}),)
        decision = GateDecision(NAME, None, champion, _TEST, checks, True)
        attach_decision(self.registry, NAME, version, decision, by="gate")


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    measured = request.config.getoption("benchmark_enable")
    made = Filled(tmp_path_factory.mktemp("registry"), VERSIONS if measured else 5)
    yield made
    if measured:
        first, last = made.seconds[10:110], made.seconds[VERSIONS - 100 : VERSIONS]
        sys.stdout.write(
            f"\nregistering: {1e3 * statistics.median(first):.0f} ms among the first 110 versions, "
            f"{1e3 * statistics.median(last):.0f} ms among the last 100 of {VERSIONS:,}\n"
        )


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_a_server_polls_the_aliases(benchmark: Any, filled: Filled) -> None:
    assert CHAMPION in benchmark.pedantic(filled.registry.aliases, (NAME,), rounds=50, warmup_rounds=2)


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_show_one_version(benchmark: Any, filled: Filled) -> None:
    def show() -> bool:
        version = filled.registry.get(NAME, CHAMPION)
        return bool(version.verify() and version.decision())

    assert benchmark.pedantic(show, rounds=20, warmup_rounds=2)


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_list_all_versions(benchmark: Any, filled: Filled) -> None:
    found = benchmark.pedantic(filled.registry.versions, (NAME,), rounds=5, warmup_rounds=1)
    assert [version.version for version in found] == list(range(1, len(filled.seconds) + 1))


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_the_whole_history_checked(benchmark: Any, filled: Filled) -> None:
    assert benchmark.pedantic(filled.registry.history, (NAME,), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_count_the_looks_at_a_test_set(benchmark: Any, filled: Filled) -> None:
    assert benchmark.pedantic(looks_at, (filled.registry, _TEST), rounds=5, warmup_rounds=1) >= 1


@pytest.mark.benchmark(group="reading a registry of 1,000 versions")
def test_verify_everything(benchmark: Any, filled: Filled) -> None:
    found = benchmark.pedantic(inspect_registry, (filled.registry,), rounds=1)
    assert {item.question for item in found if item.sound is False} == {"weights"}  # the files hold none


@pytest.mark.benchmark(group="changing a registry of 1,000 versions")
def test_register_judge_and_promote(benchmark: Any, filled: Filled) -> None:
    def once() -> None:
        version = filled.register()
        filled.judge(version)
        promote(filled.registry, NAME, version, by="ann", reason="better")

    benchmark.pedantic(once, rounds=5)
    assert CHALLENGER not in filled.registry.aliases(NAME)


@pytest.mark.benchmark(group="changing a registry of 1,000 versions")
def test_roll_back(benchmark: Any, filled: Filled) -> None:
    before = filled.registry.aliases(NAME)
    if "previous" not in before:  # this test may run alone
        filled.judge(1)
        promote(filled.registry, NAME, 1, by="ann", reason="better")
    done = benchmark.pedantic(rollback, (filled.registry, NAME), {"by": "ann", "reason": "worse"}, rounds=10)
    assert done.champion_after == filled.registry.champion_version(NAME)

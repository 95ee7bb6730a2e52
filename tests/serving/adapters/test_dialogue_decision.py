"""A decision on a dialogue adapter that stands is used again, also where its base is not on this machine."""

from pathlib import Path

import pytest

from flows.dialogue_judging import DialogueJudge
from flows.judging import judge_version
from serving.adapters.decision import Check, GateDecision
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import attach_decision, looks_at
from serving.errors import InvalidInputError, MissingError
from serving.settings import Settings
from tests.serving.adapters.talk_bundles import TALK, talk_bundle
from training.dialogue.judge import TestDialogues


@pytest.fixture
def home(mlruns: Path, tmp_path: Path) -> Settings:
    """An operator's machine beside a vLLM server: no language model lies on it."""
    return Settings(home=tmp_path / "home", mlruns=mlruns)


def decided(registry: AdapterRegistry, settings: Settings, folder: Path, *, passed: bool) -> str:
    """Register version 1 with a decision; gives the test set."""
    registry.register(TALK, talk_bundle(folder / "talk", 1), by="ci")
    test = TestDialogues.of(settings.data).sha256
    check = Check("exact_call", passed, "Exact calls: 90 % of 174.")
    attach_decision(registry, TALK, 1, GateDecision(TALK, 1, None, test, (check,), passed), by="gate")
    return test


def test_a_passing_decision_needs_no_base_to_be_used_again(
    registry: AdapterRegistry, home: Settings, tmp_path: Path
) -> None:
    test = decided(registry, home, tmp_path, passed=True)
    looks = looks_at(registry, test)
    verdict = judge_version(home, TALK, 1, by="ann")
    assert (verdict.decision.passed, verdict.accuracy) == (True, None)
    assert looks_at(registry, test) == looks


def test_judging_anew_without_a_base_names_it_and_counts_no_look(
    registry: AdapterRegistry, home: Settings, tmp_path: Path
) -> None:
    test = decided(registry, home, tmp_path, passed=False)
    looks = looks_at(registry, test)
    with pytest.raises(MissingError, match="VOICEBOT_LOCAL_LLM"):
        judge_version(home, TALK, 1, by="ann")
    assert looks_at(registry, test) == looks


def test_a_waiver_for_a_check_that_dialogues_do_not_have_is_refused_before_anything_is_judged(
    registry: AdapterRegistry, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(registry, home, tmp_path, passed=False)
    judged: list[object] = []
    monkeypatch.setattr(DialogueJudge, "judge", lambda _judge, case: judged.append(case))
    with pytest.raises(InvalidInputError, match=r"no check 'critical_intents'; there are .*invented_numbers"):
        judge_version(home, TALK, 1, by="ann", waived={"critical_intents": "that is the other gate's"})
    assert judged == []

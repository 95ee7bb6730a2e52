"""The flow train-dialogue and the promotion of what it made: a tiny random base, a handful of dialogues."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.dialogue_gate import DIALOGUE_CHECKS
from serving.adapters.audit import Action
from serving.adapters.kinds import DIALOGUE_NAME
from serving.adapters.registry import AdapterRegistry
from serving.adapters.verdicts import looks_at
from serving.errors import InvalidInputError, MissingError, RefusedError, UnavailableError
from serving.settings import Settings
from tests.circle.fixtures import installed_at
from tests.training.dialogue.few import few_dialogues, tiny_base

RECIPE = {"epochs": 2, "learning_rate": 0.01, "rank": 4}
LIMIT_S = "60"
"""No answer runs into it: what a model says must not hang on how busy the machine is."""


@pytest.fixture(scope="module")
def parts(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data with a handful of dialogues, and a base."""
    folder = tmp_path_factory.mktemp("dialogue")
    data = few_dialogues(data_dir, folder / "data")
    return data, tiny_base(data, folder / "base")


@pytest.fixture(scope="module")
def home(
    prefect_server: None, parts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    data, base = parts
    with installed_at(tmp_path_factory.mktemp("home")), pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOICEBOT_DATA_DIR", str(data))
        patch.setenv("VOICEBOT_LOCAL_LLM", str(base))
        patch.setenv("VOICEBOT_LOCAL_LLM_TIMEOUT_S", LIMIT_S)
        yield Settings.load()


@pytest.fixture
def at_home(home: Settings, parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of this test come from the environment, as those of a worker."""
    for name, value in {
        "HOME": home.home,
        "MLRUNS": home.mlruns,
        "OPERATOR": "test-operator",
        "DATA_DIR": parts[0],
        "LOCAL_LLM": parts[1],
        "LOCAL_LLM_TIMEOUT_S": LIMIT_S,
    }.items():
        monkeypatch.setenv(f"VOICEBOT_{name}", str(value))
    return Settings.load()


@pytest.fixture(scope="module")
def trained(home: Settings) -> Any:
    from flows.train_dialogue import DialogueTrainRequest, train_dialogue

    return train_dialogue(DialogueTrainRequest(changes=RECIPE))


def waived(failed: tuple[str, ...]) -> dict[str, str]:
    """Reasons for what failed, and for the time of an answer, which hangs on what else the machine does."""
    return dict.fromkeys([*failed, "latency"], "a test of the way, not of the model")


def metric_history(settings: Settings, run_id: str, name: str) -> list[float]:
    from mlflow import MlflowClient

    return [point.value for point in MlflowClient(settings.mlflow_uri).get_metric_history(run_id, name)]


def test_the_run_becomes_a_judged_challenger_with_its_curve_and_the_judge_s_figures(
    trained: Any, at_home: Settings
) -> None:
    from mlflow import MlflowClient

    registry = AdapterRegistry.from_settings(at_home)
    version = registry.get(DIALOGUE_NAME, "challenger")
    assert (trained.name, trained.version, version.version) == (DIALOGUE_NAME, 1, 1)
    assert (version.run_id, version.tags["kind"]) == (trained.run_id, "dialogue")
    decision = version.decision()
    assert decision is not None
    assert len(decision.checks) == len(DIALOGUE_CHECKS)
    assert trained.gate == "failed"
    assert "exact_call" in trained.failed
    losses = metric_history(at_home, trained.run_id, "step_loss")
    assert len(losses) >= 2
    assert losses[-1] < losses[0]
    run = MlflowClient(at_home.mlflow_uri).get_run(trained.run_id)
    assert run.info.status == "FINISHED"
    assert {"test.exact_call", "test.base.exact_call", "test.hallucinated_number"} <= set(run.data.metrics)
    assert run.data.params["rank"] == "4"
    assert run.data.tags["base.model"] == "base"


def test_the_gate_holds_it_back_until_a_person_overrules_it_and_rolls_back(
    trained: Any, at_home: Settings
) -> None:
    from flows.promote_adapter import promote_adapter, rollback_adapter
    from flows.train_dialogue import DialogueTrainRequest, train_dialogue

    registry = AdapterRegistry.from_settings(at_home)
    with pytest.raises(RefusedError, match="prove too little"):
        promote_adapter(DIALOGUE_NAME)
    done = promote_adapter(DIALOGUE_NAME, waive=waived(trained.failed), reason="the first")
    assert (done.promoted, done.gate, done.champion_before, done.cache_entries) == (True, "waived", None, 0)
    second = train_dialogue(DialogueTrainRequest(seed=1, changes=RECIPE))
    assert {"non_inferior", "exact_call"} <= set(second.failed)
    decision = registry.get(DIALOGUE_NAME, 2).decision()
    assert decision is not None
    assert decision.champion_version == 1
    assert looks_at(registry, decision.test_sha256) == 4
    promote_adapter(DIALOGUE_NAME, waive=waived(second.failed))
    assert rollback_adapter(DIALOGUE_NAME) == 1
    assert registry.aliases(DIALOGUE_NAME) == {"champion": 1, "previous": 2}
    acts = [row.act.action for row in registry.history(DIALOGUE_NAME) if row.step == "done"]
    assert acts[-3:] == [Action.DECIDE, Action.PROMOTE, Action.ROLLBACK]


def test_a_run_that_ended_before_its_registration_is_not_trained_again(
    trained: Any, at_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.train_dialogue import DialogueTrainRequest, train_dialogue

    request = DialogueTrainRequest(seed=2, changes=RECIPE | {"epochs": 1})
    known = len(AdapterRegistry.from_settings(at_home).versions(DIALOGUE_NAME))

    def fail(*_arguments: object, **_options: object) -> None:
        raise UnavailableError("The database went away.")

    with monkeypatch.context() as patch:
        patch.setattr("flows.train_dialogue.tracked_run", fail)
        with pytest.raises(UnavailableError):
            train_dialogue(request)
    assert list((at_home.home / "training").glob("dialogue-*/bundle/manifest.json"))
    monkeypatch.setattr("training.dialogue.bundle.train_dialogue_adapter", fail)
    assert train_dialogue(request).version == known + 1
    assert not list((at_home.home / "training").glob("dialogue-*"))


def test_a_run_is_taken_up_only_with_the_same_weights_tokenizer_and_rules(
    parts: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that was finished for another tokenizer would be registered, and refused for ever after."""
    from flows.train_dialogue import DialogueTrainRequest, prepare_dialogues

    data, base = parts
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(data))
    other = tmp_path / "base"
    shutil.copytree(base, other)

    def key(model: Path) -> str:
        return prepare_dialogues.fn(DialogueTrainRequest(model=str(model), changes=RECIPE)).key

    before = key(base)
    assert key(other) == before
    (other / "chat_template.jinja").write_text("{{ messages }}")
    assert key(other) != before
    monkeypatch.setattr("serving.language.prompt.prompt_sha256", lambda _bank: "0" * 64)
    assert key(base) != before


def test_a_request_without_a_base_or_with_an_unknown_recipe_starts_nothing(
    at_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.train_dialogue import DialogueTrainRequest, prepare_dialogues

    with pytest.raises(InvalidInputError, match="no 'depth'"):
        prepare_dialogues.fn(DialogueTrainRequest(changes={"depth": 3}))
    monkeypatch.delenv("VOICEBOT_LOCAL_LLM")
    with pytest.raises(MissingError, match="needs a base"):
        prepare_dialogues.fn(DialogueTrainRequest())

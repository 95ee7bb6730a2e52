"""What a training request is refused for before anything is trained, and how its work folder is kept."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.label_check import check_labels, show_doubts
from flows.train_adapter import NOISE_FILE, log_runs, prepare_data, train_bundle
from flows.training_inputs import OWN_MODEL, TrainRequest, repetitions, training_inputs
from flows.work_folder import trained_before, work_folder
from serving.adapters.manifest import verify
from serving.adapters.registry import AdapterRegistry
from serving.errors import InvalidInputError, UnavailableError
from serving.settings import Settings
from tests.circle.fixtures import Circle, installed_at
from tests.training.conftest import WORDS, make_encoder, make_split
from training.label_noise import COLUMNS
from training.sources import load_splits

KEY = "0123456789ab"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Settings]:
    with installed_at(tmp_path) as settings:
        yield settings


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    rows = [f"question {i} about {('cards', 'money')[i % 2]},{i % 2}" for i in range(40)]
    path = tmp_path / "other.csv"
    path.write_text("\n".join(["text,category", *rows]), encoding="utf-8")
    return str(path)


def test_an_impossible_name_is_refused_at_once() -> None:
    with pytest.raises(InvalidInputError, match="Bad Name"):
        TrainRequest(name="Bad Name")


def test_other_data_never_take_the_challenger_of_the_model_that_serves(
    installation: Settings, foreign: str
) -> None:
    with pytest.raises(InvalidInputError, match="other data") as caught:
        prepare_data.fn(TrainRequest(dataset=foreign))
    assert "--name" in caught.value.advice
    facts = prepare_data.fn(TrainRequest(dataset=foreign, name="other"))
    assert (facts.own, facts.source, facts.train + facts.validation) == (False, "other.csv", 40)


def test_own_intents_without_one_that_an_approved_answer_is_for_are_refused(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(installation.data, tmp_path / "data"))
    for path in (data / "intents").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("\ncard_arrival:", "\ncard_arival:"), encoding="utf-8")
    monkeypatch.setenv("VOICEBOT_DATA_DIR", str(data))
    with pytest.raises(InvalidInputError, match=r"answers\.yaml answers 1 intents .*: card_arrival"):
        prepare_data.fn(TrainRequest())


def test_texts_that_stand_twice_are_said_when_the_data_are_read(tmp_path: Path) -> None:
    rows = [f"question {i} about {('cards', 'money')[i % 2]},{i % 2}" for i in range(40)]
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("\n".join(["text,category", *rows, "Question 3 about cards,0"]), encoding="utf-8")
    test.write_text("\n".join(["text,category", *rows[:2], "new,0"]), encoding="utf-8")
    splits = load_splits(train, test=test)
    assert repetitions(splits) == ["2 test texts stand in train too"]
    doubled = replace(splits, validation=splits.train)
    assert repetitions(doubled)[0] == f"{len(splits.train)} validation texts stand in train too"


def test_the_recipe_may_change_its_seed_and_its_choices(installation: Settings, foreign: str) -> None:
    changes = {"seed": 3, "balance": "loss", "shots": 5, "refit": False}
    _, splits, config = training_inputs(TrainRequest(dataset=foreign, name="few", changes=changes))
    assert (config.seed, config.balance, len(splits.train)) == (3, "loss", 10)


def test_the_doubtful_labels_of_the_training_data_are_kept_with_the_adapters_run(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for group in WORDS.values() for word in group]
    monkeypatch.setenv("VOICEBOT_ENCODER", str(make_encoder(tmp_path / "encoder", words)))
    rows = make_split("train", 10, 1)
    lines = [f"{text},{label}" for text, label in zip(rows.texts, rows.labels, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,category", *lines]), encoding="utf-8")
    changes = {"epochs": 1, "rank": 2, "max_length": 32, "threads": 1, "validation_share": 0.2}
    request = TrainRequest(dataset=str(tmp_path / "rows.csv"), name="tiny", changes=changes)
    facts = prepare_data.fn(request)
    bundle = train_bundle.fn(request, tmp_path / "work")
    run_id, _ = log_runs.fn(request, facts, bundle)
    from mlflow import MlflowClient

    artifacts = MlflowClient(tracking_uri=installation.mlflow_uri).list_artifacts(run_id)
    assert {item.path for item in artifacts} == {"bundle", NOISE_FILE}
    heading = (tmp_path / "work" / NOISE_FILE).read_text(encoding="utf-8").partition("\n")[0]
    assert heading == ",".join(COLUMNS)


def test_doubtful_labels_are_listed_by_a_command_that_writes_all_of_them(
    installation: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("card", "loan")
    rows = [f"my {words[i % 2]} number {i} please,{words[i % 2]}" for i in range(40)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text,category", *rows, "my loan number 77 please,card"]), encoding="utf-8")
    out = tmp_path / "new" / "doubts.csv"
    found = check_labels(installation, str(path), out)
    show_doubts(found, 5)
    assert "of 41 labels of rows.csv are doubtful" in capsys.readouterr().out
    surest = found.summary(5)["surest"][0]
    assert (surest["text"], surest["suggested"]) == ("my loan number 77 please", "loan")
    assert out.read_text(encoding="utf-8").count("\n") == found.summary(5)["doubts"] + 1


def test_the_projects_own_folder_is_own_data_by_whatever_path(installation: Settings) -> None:
    own = str(installation.data / "calls" / ".." / "intents")
    assert TrainRequest(dataset=own, name=OWN_MODEL).is_own(installation)


def test_the_key_of_a_run_changes_with_its_recipe_and_name(installation: Settings, foreign: str) -> None:
    requests = [
        TrainRequest(dataset=foreign, name="one"),
        TrainRequest(dataset=foreign, name="two"),
        TrainRequest(dataset=foreign, name="one", seed=1),
        TrainRequest(dataset=foreign, name="one", changes={"validation_share": 0.3}),
    ]
    facts = [prepare_data.fn(request) for request in requests]
    assert len({found.key for found in facts}) == 4
    assert facts[3].validation > facts[0].validation


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    with work_folder(tmp_path, KEY):
        with (
            pytest.raises(UnavailableError, match="Another process trains"),
            work_folder(tmp_path, KEY),
        ):
            pytest.fail("two are in the same folder")
        with work_folder(tmp_path, "ba9876543210") as other:
            assert other.is_dir()
    assert not list(tmp_path.iterdir())


def test_work_that_failed_is_found_again(tmp_path: Path) -> None:
    def fail() -> None:
        with work_folder(tmp_path, KEY) as folder:
            (folder / "bundle.ckpt").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with work_folder(tmp_path, KEY) as folder:
        assert (folder / "bundle.ckpt").is_file()


def test_a_place_that_is_a_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "training").touch()
    with pytest.raises(UnavailableError, match="cannot be written"), work_folder(tmp_path / "training", KEY):
        pytest.fail("there is no folder")


def test_a_damaged_bundle_is_set_aside_and_trained_again(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert not trained_before(bundle, base_sha256="0" * 64)
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    assert not trained_before(bundle, base_sha256="0" * 64)
    assert not bundle.exists()
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["bundle.aside"]


def test_a_bundle_for_another_base_is_not_taken_for_this_ones(
    finished_circle: Circle, tmp_path: Path
) -> None:
    registered = AdapterRegistry.from_settings(finished_circle.settings).get(OWN_MODEL, 1).bundle
    bundle = Path(shutil.copytree(registered, tmp_path / "bundle"))
    assert trained_before(bundle, base_sha256=verify(bundle).provenance.base_sha256)
    assert not trained_before(bundle, base_sha256="0" * 64)

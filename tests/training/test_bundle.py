"""From a tiny trained adapter to a sealed bundle, and back through serving's loader and the gate."""

import json
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from serving.adapters.decision import Check
from serving.adapters.loader import LocalCopy, load_frozen_head, load_tagger
from serving.adapters.manifest import read_manifest, verify
from serving.errors import IntegrityError, InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import IntentConfig
from training.baseline import Baseline, fit_baseline
from training.checkpoint import save_checkpoint
from training.code_version import CodeVersion, code_version
from training.config import TrainConfig
from training.data import Splits, make_dataset
from training.judge import Adapter, Against, judge_adapter
from training.model import Head
from training.outcome import Progress
from training.pipeline import AdapterRun, run_key, train_adapter


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    encoder: SentenceEncoder,
    splits: Splits,
    baseline: Baseline,
    config: TrainConfig,
) -> AdapterRun:
    folder = tmp_path_factory.mktemp("runs") / "bundle"
    code = CodeVersion("0123456789abcdef", dirty=True)
    return train_adapter(encoder, splits, config.with_(epochs=6), folder, baseline=baseline, code=code)


def test_the_bundle_holds_exactly_the_files_that_serving_expects(run: AdapterRun) -> None:
    assert sorted(path.name for path in run.bundle.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "baseline.safetensors",
        "card.md",
        "intent.json",
        "manifest.json",
        "metrics.json",
    ]


def test_the_adapter_file_holds_exactly_lora_and_head(run: AdapterRun) -> None:
    saved = set(load_file(run.bundle.folder / "adapter_model.safetensors"))
    assert saved == set(run.trained.changed)


def test_serving_loads_the_bundle_and_answers_as_it_was_measured(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits
) -> None:
    assert run.bundle.reload_difference < 1e-4
    assert splits.test is not None
    copied = LocalCopy("banking-lora", 1, run.bundle.folder)
    tagger = load_tagger(copied, encoder)
    tags = tagger.tag_all(splits.test.texts)
    right = np.mean([tag.label == gold for tag, gold in zip(tags, splits.test.labels, strict=True)])
    assert run.test is not None
    assert right == run.test.adapter.accuracy.estimate
    assert len(tagger.config.probes) == 8
    frozen = load_frozen_head(copied, encoder).tag_all(splits.test.texts)
    right = np.mean([tag.label == gold for tag, gold in zip(frozen, splits.test.labels, strict=True)])
    assert right == run.test.baseline.accuracy.estimate


def test_the_manifest_tells_where_the_adapter_comes_from(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits
) -> None:
    origin = verify(run.bundle.folder, base_sha256=encoder.base_sha256).provenance
    assert origin.base_sha256 == origin.base_sha256_after == encoder.base_sha256
    assert origin.dataset_sha256 == splits.sha256
    assert origin.trainable_parameters == run.trained.parameters
    assert (origin.git_sha, origin.git_dirty) == ("0123456789abcdef", True)


def test_the_threshold_was_set_on_texts_the_model_had_not_seen_and_rejects_at_most_5_percent(
    run: AdapterRun,
) -> None:
    assert run.validation.adapter.out_of_scope is not None
    assert run.validation.adapter.out_of_scope.in_scope_rejection.estimate <= 0.05
    config = IntentConfig.load(run.bundle.folder)
    assert config.energy_threshold == run.validation.adapter.out_of_scope.threshold
    assert config.out_of_scope_label == "out_of_scope"


def test_the_card_shows_the_measured_numbers_and_the_baseline_beside_them(run: AdapterRun) -> None:
    card = (run.bundle.folder / "card.md").read_text(encoding="utf-8")
    assert run.test is not None
    assert f"{run.test.adapter.accuracy.estimate:.4f}" in card
    assert f"{run.test.baseline.accuracy.estimate:.4f}" in card
    assert "McNemar" in card
    assert run.trained.base_before in card


def test_the_metrics_are_strict_json_with_both_splits(run: AdapterRun) -> None:
    metrics = json.loads((run.bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["results"]) == {"validation", "test"}
    assert metrics["training"]["trained_parameters"] == run.trained.parameters
    assert metrics["config"]["rank"] == 4


def test_a_folder_that_exists_is_never_overwritten(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    before = read_manifest(run.bundle.folder).sha256
    with pytest.raises(InvalidInputError, match="exists already"):
        train_adapter(encoder, splits, config, run.bundle.folder)
    assert read_manifest(run.bundle.folder).sha256 == before


def test_a_baseline_of_other_data_is_refused(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    other = replace(splits, train=splits.train.take(range(1, len(splits.train))))
    with pytest.raises(InvalidInputError, match="other data"):
        train_adapter(encoder, other, config, tmp_path / "bundle", baseline=baseline)


def test_a_killed_run_goes_on_and_leaves_only_the_bundle(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    folder = tmp_path / f"adapter-{run_key(encoder, splits, config)}"

    def die(progress: Progress) -> None:
        if progress.epoch == 2 and progress.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(encoder, splits, config, folder, baseline=baseline, on_progress=die)
    assert not folder.exists()
    finished = train_adapter(encoder, splits, config, folder, baseline=baseline)
    assert finished.trained.resumed_at == 6
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["training"]
    assert (told["resumed_at"], told["losses"]) == (6, list(finished.trained.losses))
    assert "losses" not in (folder / "card.md").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("content", [b"no checkpoint", None], ids=["damaged", "of another run"])
def test_a_checkpoint_that_cannot_be_used_is_set_aside_and_stops_no_run(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig, tmp_path: Path, content: bytes | None
) -> None:
    checkpoint = tmp_path / "bundle.ckpt"
    if content is None:
        save_checkpoint(checkpoint, {"base": "another one"}, {})
    else:
        checkpoint.write_bytes(content)
    run = train_adapter(encoder, splits, config, tmp_path / "bundle")
    assert run.set_aside is not None
    assert run.set_aside.is_file()
    assert run.trained.resumed_at == 0
    assert not checkpoint.exists()


def test_the_run_key_changes_with_recipe_data_base_and_name(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    other = copy(encoder)
    other.base_sha256 = "0" * 64
    keys = {
        run_key(encoder, splits, config),
        run_key(encoder, splits, config.with_(seed=9)),
        run_key(encoder, splits, config, "another-model"),
        run_key(other, splits, config),
        run_key(encoder, replace(splits, test=None), config),
    }
    assert len(keys) == 5


def test_a_model_that_changed_outside_lora_and_head_is_not_bundled(
    encoder: SentenceEncoder, splits: Splits, baseline: Baseline, config: TrainConfig, tmp_path: Path
) -> None:
    from training.bundle import Finished, write_bundle
    from training.trainer import train

    trained = train(encoder, splits, baseline.start, config.with_(epochs=1))
    foreign = replace(trained, changed=(*trained.changed, "base_model.model.encoder.embeddings.weight"))
    with pytest.raises(InvalidInputError, match="changed more than LoRA"):
        write_bundle(tmp_path / "b", Finished(encoder, splits, baseline, foreign, 0.0, ()))
    assert list(tmp_path.iterdir()) == []


# The baseline


def test_the_baseline_is_saved_and_read_back(baseline: Baseline, tmp_path: Path) -> None:
    read = Baseline.load(baseline.save(tmp_path / "baseline"))
    assert np.array_equal(read.head.weight, baseline.head.weight)
    assert np.array_equal(read.start.bias, baseline.start.bias)
    assert (read.labels, read.threshold) == (baseline.labels, baseline.threshold)


def test_a_damaged_baseline_is_reported(baseline: Baseline, tmp_path: Path) -> None:
    baseline.save(tmp_path)
    (tmp_path / "baseline.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(IntegrityError):
        Baseline.load(tmp_path)


def test_two_labels_give_two_rows_of_weights_with_the_same_answers(
    encoder: SentenceEncoder, splits: Splits, config: TrainConfig
) -> None:
    pair = ("card_arrival", "loan_payment_quote")
    two = Splits(splits.train.only(pair), splits.validation.only(pair), None, "two")
    fitted = fit_baseline(encoder, two, config)
    assert fitted.head.weight.shape == (2, encoder.dimension)
    assert fitted.validation_accuracy >= 0.9


def test_a_scaled_head_gives_the_same_logits_from_longer_vectors() -> None:
    head = Head(np.array([[2.0, -4.0]], dtype=np.float32), np.array([1.0], dtype=np.float32))
    vector = np.array([0.6, 0.8], dtype=np.float32)
    assert head.scaled(20.0).weight @ (20 * vector) + head.bias == pytest.approx(
        head.weight @ vector + head.bias
    )


# The judge


def named(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_the_first_adapter_is_judged_without_a_champion(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits
) -> None:
    assert splits.test is not None
    judged = judge_adapter(encoder, splits.test, Adapter(run.bundle.folder, 1))
    checks = named(judged.decision.checks)
    assert checks["bundle_sound"].passed
    assert checks["only_adapter_changed"].passed
    assert checks["non_inferior"].passed is None
    assert checks["latency"].passed
    assert judged.latency_p95_ms > 0
    assert run.test is not None
    assert judged.challenger.accuracy == run.test.adapter.accuracy
    assert judged.decision.test_sha256 == splits.test.sha256


def test_a_champion_on_the_same_test_set_is_compared_text_by_text(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits
) -> None:
    assert splits.test is not None
    champion = Against(Adapter(run.bundle.folder, 1), splits.test.sha256)
    judged = judge_adapter(encoder, splits.test, Adapter(run.bundle.folder, 2), champion, looks=3)
    checks = named(judged.decision.checks)
    assert checks["same_test_set"].passed
    assert checks["same_test_set"].evidence["looks"] == 3
    assert checks["non_inferior"].evidence["difference"] == 0
    # Forty texts cannot prove that it is no worse, and the gate says so.
    assert checks["non_inferior"].passed is False
    assert judged.decision.champion_version == 1


def test_an_altered_bundle_is_not_judged_at_all(
    run: AdapterRun, encoder: SentenceEncoder, splits: Splits, tmp_path: Path
) -> None:
    assert splits.test is not None
    folder = tmp_path / "altered"
    shutil.copytree(run.bundle.folder, folder)
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"metrics\.json was altered"):
        judge_adapter(encoder, splits.test, Adapter(folder))


def test_a_test_set_with_labels_that_the_challenger_does_not_know_is_refused(
    run: AdapterRun, encoder: SentenceEncoder
) -> None:
    test = make_dataset([("hello", "brand_new_intent")], "test", "t")
    with pytest.raises(InvalidInputError, match="brand_new_intent"):
        judge_adapter(encoder, test, Adapter(run.bundle.folder))


def test_a_champion_needs_a_version(run: AdapterRun, encoder: SentenceEncoder, splits: Splits) -> None:
    assert splits.test is not None
    with pytest.raises(InvalidInputError, match="version number"):
        judge_adapter(
            encoder, splits.test, Adapter(run.bundle.folder), Against(Adapter(run.bundle.folder), None)
        )


def test_the_code_version_outside_a_checkout_is_unknown(tmp_path: Path) -> None:
    assert code_version(tmp_path) == CodeVersion("unknown", dirty=False)

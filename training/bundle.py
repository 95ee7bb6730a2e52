"""From a trained model to a sealed bundle that serving can load.

The folder appears whole or not at all, and only after serving's own loader has read it back and given
the same logits as the trained model. What the bundle says about itself (metrics, card, manifest)
comes from the run's own numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.gate_evidence import GatePolicy
from evaluation.intents import IN_SCOPE_REJECTION, energies
from serving.adapters.lora import merged_classifier
from serving.adapters.manifest import CARD_FILE, METRICS_FILE, Kind, Manifest, Provenance, seal, verify
from serving.errors import IntegrityError, InvalidInputError
from serving.files import new_folder
from serving.language.encoder import SentenceEncoder
from serving.language.intent import IntentConfig, Probe, TorchIntentTagger, labels_sha256, save_baseline
from serving.plain import plain
from training.baseline import Baseline, out_of_scope_label
from training.card import render_card
from training.code_version import CodeVersion
from training.data import Dataset, Splits
from training.measure import Comparison, adapter_logits
from training.model import save_adapter
from training.outcome import Trained

ADAPTER_NAME = "banking-lora"
_PROBES = 8
_PARITY_TEXTS = 64
METRICS_SCHEMA = 1


@dataclass(frozen=True)
class Bundle:
    """A sealed bundle.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
        reload_difference: largest difference of a logit between trained and loaded model.
    """

    folder: Path
    manifest: Manifest
    reload_difference: float


@dataclass(frozen=True)
class Finished:
    """Everything that a bundle is made of.

    Attributes:
        encoder: the base.
        splits: the data.
        baseline: the frozen baseline of the same data.
        trained: outcome of the training loop.
        threshold: energy threshold of the adapter.
        comparisons: adapter beside baseline, a split each.
    """

    encoder: SentenceEncoder
    splits: Splits
    baseline: Baseline
    trained: Trained
    threshold: float
    comparisons: tuple[Comparison, ...]


def write_bundle(
    folder: Path, run: Finished, *, name: str = ADAPTER_NAME, code: CodeVersion | None = None
) -> Bundle:
    """Write, seal and prove a bundle.

    Args:
        folder: where it shall appear; must not exist.
        run: what was trained and measured.
        name: registered model's name.
        code: version of the code; unknown where not given.

    Raises:
        InvalidInputError: the folder exists, or something else than LoRA and head changed.
        IntegrityError: the loaded model does not answer as the trained one; nothing is left behind.
    """
    provenance = _provenance(run, name, code or CodeVersion())
    settings = _intent_config(run)
    try:
        with new_folder(folder) as place:
            save_adapter(run.trained.model, place)
            settings.save(place)
            save_baseline(place, run.baseline.head.weight, run.baseline.head.bias)
            difference = _reload_difference(place, run, settings)
            facts = _facts(run, difference)
            _write(place / METRICS_FILE, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False))
            _write(place / CARD_FILE, _card(run, provenance, facts))
            seal(place, provenance)
            verify(place, base_sha256=run.encoder.base_sha256)
    except FileExistsError as error:
        raise InvalidInputError(
            f"{folder} exists already.", advice="Name a new folder; bundles are never overwritten."
        ) from error
    return Bundle(folder, verify(folder), difference)


def _provenance(run: Finished, name: str, code: CodeVersion) -> Provenance:
    trained = run.trained
    foreign = [n for n in trained.changed if ".lora_" not in n and ".classifier." not in n]
    if foreign:
        raise InvalidInputError(f"Training changed more than LoRA and the head: {', '.join(foreign[:3])}.")
    return Provenance(
        kind=Kind.INTENT,
        name=name,
        base_model=run.encoder.name,
        base_sha256=trained.base_before,
        base_sha256_after=trained.base_after,
        trainable_parameters=trained.parameters,
        changed_tensors=trained.changed,
        dataset_sha256=run.splits.sha256,
        labels_sha256=labels_sha256(trained.labels),
        seed=trained.config.seed,
        git_sha=code.sha,
        git_dirty=code.dirty,
    )


def _intent_config(run: Finished) -> IntentConfig:
    trained = run.trained
    texts = _probe_texts(run.splits.validation)
    logits = adapter_logits(trained, run.encoder, texts)
    probes = tuple(
        Probe(text, trained.labels[int(row.argmax())], float(energy))
        for text, row, energy in zip(texts, logits, energies(logits), strict=True)
    )
    return IntentConfig(
        labels=trained.labels,
        base_sha256=run.encoder.base_sha256,
        energy_threshold=run.threshold,
        baseline_energy_threshold=run.baseline.threshold,
        in_scope_rejection=IN_SCOPE_REJECTION,
        scale=trained.config.scale,
        max_length=trained.config.max_length,
        out_of_scope_label=out_of_scope_label(trained.labels),
        probes=probes,
    )


def _probe_texts(data: Dataset) -> tuple[str, ...]:
    """A few validation texts, spread over the labels."""
    step = max(1, len(data) // _PROBES)
    return data.texts[::step][:_PROBES]


def _reload_difference(folder: Path, run: Finished, settings: IntentConfig) -> float:
    """Largest difference of a logit after loading the files through serving's own code."""
    texts = run.splits.validation.texts[:_PARITY_TEXTS]
    classifier = merged_classifier(folder, run.encoder, settings)
    loaded = TorchIntentTagger(classifier, run.encoder, settings, "reload").logits(texts)
    difference = float(np.abs(loaded - adapter_logits(run.trained, run.encoder, texts)).max())
    limit = GatePolicy().max_reload_difference
    if not difference <= limit:
        raise IntegrityError(
            f"The saved adapter does not answer like the trained one: logits differ by {difference:.2e}, "
            f"{limit:.0e} at most.",
            advice="This is a defect of saving or loading; report it with the libraries' versions.",
        )
    return difference


def _facts(run: Finished, difference: float) -> dict[str, Any]:
    """Everything in `metrics.json`."""
    trained, baseline = run.trained, run.baseline
    return {
        "schema": METRICS_SCHEMA,
        "config": trained.config.to_dict(),
        "dataset": _dataset_facts(run.splits),
        "training": {
            "epochs": trained.epochs,
            "steps": len(trained.losses),
            "trained_parameters": trained.parameters,
            "seconds": trained.seconds,
            "log": plain(trained.log),
            "losses": list(trained.losses),
            "resumed_at": trained.resumed_at,
            "reload_difference": difference,
        },
        "baseline": {
            "trained_parameters": baseline.parameters,
            "validation_accuracy": baseline.validation_accuracy,
            "seconds": baseline.seconds,
        },
        "results": {comparison.split: comparison.summary() for comparison in run.comparisons},
    }


def _dataset_facts(splits: Splits) -> dict[str, Any]:
    test = splits.test
    return {
        "source": splits.source,
        "labels": len(splits.labels),
        "train_texts": len(splits.train),
        "validation_texts": len(splits.validation),
        "test_texts": len(test) if test else 0,
        "test_texts_also_in_train": splits.shared_with_test(),
        "validation_texts_also_in_train": splits.shared_with_validation(),
        "train_texts_under_two_labels": splits.contradictions(),
        "sha256": splits.sha256,
        "test_sha256": test.sha256 if test else None,
    }


def _card(run: Finished, provenance: Provenance, facts: Mapping[str, Any]) -> str:
    training = {key: value for key, value in facts["training"].items() if key not in {"log", "losses"}}
    return render_card(
        provenance.name,
        run.encoder.name,
        facts["dataset"],
        facts["config"],
        training | {"baseline_trained_parameters": facts["baseline"]["trained_parameters"]},
        run.comparisons,
        {
            "data (train and validation)": provenance.dataset_sha256,
            "labels": provenance.labels_sha256,
            "base before training": provenance.base_sha256,
            "base after training": provenance.base_sha256_after,
            "code": provenance.git_sha + (" (changed)" if provenance.git_dirty else ""),
        },
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")

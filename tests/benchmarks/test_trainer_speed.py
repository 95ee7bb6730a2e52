"""Examples per second of our trainer beside Hugging Face's Trainer with PEFT, the same recipe in one run.

Same encoder, LoRA, head, start, texts, batch size, optimizer, learning rates, dropout and one epoch with its
validation, on one thread. The peer runs twice: as it comes (shuffled batches, padded to the longest text of
each), and with its own batches of similar length. Aim: 1.5 times the peer as it comes.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from serving.cli.console import print_table
from serving.language.encoder import SentenceEncoder, load_encoder
from serving.settings import Settings
from training.baseline import Baseline, fit_baseline
from training.batches import Tokens
from training.config import TrainConfig
from training.data import Splits
from training.model import build_model, torch_threads
from training.sources import load_splits
from training.trainer import train

TEXTS, HELD_OUT = 640, 64
SHORTLY = 64
"""Texts where nothing is measured: both sides run, and that is all."""
CONFIG = TrainConfig(epochs=1, refit=False, patience=0, checkpoint_steps=10**9)


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return load_encoder()


@pytest.fixture(scope="module")
def splits(request: pytest.FixtureRequest) -> Splits:
    """A sample of the project's texts in which every intent has some."""
    texts = SHORTLY if request.config.getoption("benchmark_disable") else TEXTS
    whole = load_splits(Settings.load().data / "intents")
    rng = np.random.default_rng(0)
    train_rows = whole.train.take(rng.permutation(len(whole.train))[:texts].tolist())
    known = set(train_rows.labels)
    held = [i for i, label in enumerate(whole.validation.labels) if label in known][:HELD_OUT]
    return Splits(train_rows, whole.validation.take(held), None, "sample")


@pytest.fixture(scope="module")
def baseline(encoder: SentenceEncoder, splits: Splits) -> Baseline:
    return fit_baseline(encoder, splits, CONFIG)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


class Answers(nn.Module):
    """Our classifier with the arguments and the loss that Hugging Face's Trainer expects of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> dict[str, Any]:
        logits = self.model(input_ids, attention_mask)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def ours(encoder: SentenceEncoder, splits: Splits, baseline: Baseline) -> None:
    train(encoder, splits, baseline.start, CONFIG)


def theirs(encoder: SentenceEncoder, splits: Splits, baseline: Baseline, sampling: str, folder: Path) -> None:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    torch.manual_seed(0)
    model = Answers(build_model(encoder, baseline.start.scaled(CONFIG.scale), CONFIG))
    batcher = encoder.batcher(CONFIG.max_length)
    data = [Tokens(batcher, splits.labels, part) for part in (splits.train, splits.validation)]
    rows = [
        [{"input_ids": ids, "label": label} for ids, label in zip(part.ids, part.labels, strict=True)]
        for part in data
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        ids, mask = batcher.pad([row["input_ids"] for row in batch])
        labels = torch.tensor([row["label"] for row in batch])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=CONFIG.batch_size,
        per_device_eval_batch_size=64,
        num_train_epochs=1,
        learning_rate=CONFIG.learning_rate,
        weight_decay=CONFIG.weight_decay,
        max_grad_norm=CONFIG.clip_norm,
        warmup_steps=CONFIG.warmup_share,
        optim="adamw_torch_fused",
        train_sampling_strategy=sampling,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        use_cpu=True,
        remove_unused_columns=False,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows[0], eval_dataset=rows[1], data_collator=collate
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time, which a busy machine stretches less than wall time."""
    started = time.process_time()
    work()
    return time.process_time() - started


@pytest.mark.benchmark(group="training, one epoch")
def test_our_trainer_beside_hugging_faces(
    benchmark: Any, encoder: SentenceEncoder, splits: Splits, baseline: Baseline, tmp_path: Path
) -> None:
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(encoder, splits, baseline),
        "peer": lambda: theirs(encoder, splits, baseline, "random", tmp_path),
        "peer, similar lengths": lambda: theirs(encoder, splits, baseline, "group_by_length", tmp_path),
    }
    best = dict.fromkeys(sides, float("inf"))

    def all_sides() -> None:
        for name, work in sides.items():
            best[name] = min(best[name], cpu_seconds(work))

    benchmark.pedantic(all_sides, rounds=2, warmup_rounds=0)
    rows = [
        (name, f"{seconds:.1f}", f"{len(splits.train) / seconds:.0f}", f"{seconds / best['ours']:.2f}")
        for name, seconds in best.items()
    ]
    title = f"One epoch of {len(splits.train)} texts with validation, one thread"
    print_table(title, ["", "CPU-s", "texts/s", "time, ours = 1"], rows)
    assert min(best.values()) > 0

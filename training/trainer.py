"""The training loop of an intent adapter: LoRA and head on a frozen encoder, resumable to the step.

Two stages. `train` learns on the training texts and keeps the epoch with the lowest validation loss (accuracy
on a few hundred texts moves by chance); `refit`, where asked for, starts anew on train + validation for
that number of epochs. It never sees a test text, and knows neither Prefect nor MLflow nor a screen: a
callback gets every step.
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from serving.language.encoder import SentenceEncoder
from serving.language.intent import frozen_sha256
from training.batches import epoch_batches, learning_rate_share
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.data import Dataset, Splits
from training.model import (
    Head,
    adapter_moved,
    all_finite,
    build_model,
    changed_tensors,
    cross_entropy,
    logits_of,
    parameter_count,
    tensor_hashes,
    torch_threads,
    trainable,
)
from training.outcome import REFIT, TRAIN, DivergedError, EpochLog, Progress, ProgressListener, Trained


@dataclass(slots=True)
class _State:
    """Everything that changes while a run goes on, besides weights and optimizer."""

    stage: str = TRAIN
    epochs: int = 0
    epoch: int = 1
    batch: int = 0
    losses: list[float] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    done: bool = False

    def stale(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch


def train(
    encoder: SentenceEncoder,
    splits: Splits,
    head: Head,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    on_progress: ProgressListener | None = None,
) -> Trained:
    """Train an adapter, or go on with the run whose checkpoint is there.

    With the same inputs, libraries and threads it gives the same weights, whether or not it was
    interrupted. Torch's global random state and thread count are put back afterwards.

    Args:
        encoder: the base; not changed.
        splits: train and validation; `test` is not read.
        head: start of the head for unit vectors, such as the frozen baseline's.
        config: the recipe.
        checkpoint: file to save to and resume from; None saves nothing.
        on_progress: called after every step and epoch.

    Raises:
        DivergedError: a loss or gradient is not finite; the message names the batch, and the last good
            checkpoint stays.
        UnavailableError: a checkpoint could not be written.
        DamagedCheckpointError, ForeignCheckpointError: the checkpoint cannot be read, or is of another run.
    """
    with torch_threads(config.threads), torch.random.fork_rng(devices=[]):
        return _Run(encoder, splits, head, config, checkpoint, on_progress or _ignore).go()


class _Run:
    """One run: fixed inputs, and the state that a checkpoint holds."""

    def __init__(
        self,
        encoder: SentenceEncoder,
        splits: Splits,
        head: Head,
        config: TrainConfig,
        checkpoint: Path | None,
        listen: ProgressListener,
    ) -> None:
        self.encoder, self.config, self.listen = encoder, config, listen
        self.start_head = head.scaled(config.scale)
        self.labels = splits.labels
        self.batcher = encoder.batcher(config.max_length)
        self.texts = _Tokens(self, splits.train)
        self.held_out = _Tokens(self, splits.validation)
        self.both = _Tokens(self, splits.train.plus(splits.validation))
        self.checkpoint = checkpoint
        self.identity = {
            "config": json.dumps(config.to_dict(), sort_keys=True),
            "data": splits.sha256,
            "base": encoder.base_sha256,
        }
        self.state = _State(epochs=config.epochs)
        self.best: dict[str, Tensor] = {}
        self.best_logits = torch.empty(0)
        self._begin_stage()
        self.base_before = frozen_sha256(self.model)
        self.hashes_before = tensor_hashes(self.model)

    def _begin_stage(self) -> None:
        """Fresh weights, optimizer and random state for the stage that `state` names."""
        torch.manual_seed(2 * self.config.seed + (self.state.stage == REFIT))
        self.model = build_model(self.encoder, self.start_head, self.config)
        self.weights = trainable(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )

    def go(self) -> Trained:
        started = time.perf_counter()
        resumed_at = self._resume()
        while not self.state.done:
            self._epoch()
            self._end_epoch()
        self.model.eval()
        return Trained(
            model=self.model,
            labels=self.labels,
            config=self.config,
            epochs=self.state.best_epoch,
            log=tuple(EpochLog(**row) for row in self.state.log),
            losses=tuple(self.state.losses),
            validation_logits=self.best_logits.numpy(),
            base_before=self.base_before,
            base_after=frozen_sha256(self.model),
            changed=changed_tensors(self.hashes_before, tensor_hashes(self.model)),
            parameters=parameter_count(self.model),
            moved=adapter_moved(self.model),
            finite=all_finite(self.model),
            seconds=time.perf_counter() - started,
            resumed_at=resumed_at,
        )

    def _epoch(self) -> None:
        """The batches of the present epoch that are still to be done."""
        state, texts = self.state, self.both if self.state.stage == REFIT else self.texts
        seed = 2 * self.config.seed + (state.stage == REFIT)
        batches = epoch_batches(texts.lengths, self.config.batch_size, seed, state.epoch)
        before = (state.epoch - 1) * len(batches)
        total = state.epochs * len(batches)
        for number in range(state.batch, len(batches)):
            loss = self._step(texts, batches[number], before + number, total)
            state.losses.append(loss)
            state.batch = number + 1
            self.listen(Progress(state.stage, state.epoch, before + state.batch, total, loss))
            if state.batch < len(batches) and len(state.losses) % self.config.checkpoint_steps == 0:
                self._save()

    def _step(self, texts: "_Tokens", rows: list[int], step: int, steps: int) -> float:
        """One optimizer step; refuses to continue with a number that is not finite."""
        share = learning_rate_share(step, steps, self.config.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.config.learning_rate
        tokens, mask = self.batcher.pad([texts.ids[row] for row in rows])
        logits = self.model(tokens, mask)
        loss = cross_entropy(logits, texts.targets[rows], self.config.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights.values(), self.config.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            shown = ", ".join(str(row) for row in sorted(rows)[:8])
            raise DivergedError(
                f"The loss became {loss.item():.3g} (gradient {norm.item():.3g}) in stage "
                f"{self.state.stage}, epoch {self.state.epoch}, batch {self.state.batch + 1}, rows {shown} …",
                advice="Lower the learning rate, or look at these rows; the last good checkpoint is kept.",
            )
        self.optimizer.step()
        return float(loss.item())

    def _end_epoch(self) -> None:
        """Log the epoch, keep it where it is the best, and decide what comes next."""
        state = self.state
        mean = float(np.mean(state.losses[-state.batch :]))
        log = EpochLog(state.stage, state.epoch, mean)
        if state.stage == TRAIN:
            log = self._validated(mean)
        state.log.append(asdict(log))
        done_steps = state.epoch * state.batch
        self.listen(
            Progress(
                state.stage,
                state.epoch,
                done_steps,
                state.epochs * state.batch,
                mean,
                log.validation_accuracy,
            )
        )
        patience = self.config.patience
        gave_up = state.stage == TRAIN and 0 < patience <= state.stale()
        if state.epoch < state.epochs and not gave_up:
            state.epoch, state.batch = state.epoch + 1, 0
        elif state.stage == TRAIN:
            self._end_training()
        else:
            state.done = True
        self._save()

    def _validated(self, mean: float) -> EpochLog:
        state = self.state
        logits = torch.from_numpy(logits_of(self.model, self.batcher, self.held_out.ids))
        accuracy = float((logits.argmax(dim=1) == self.held_out.targets).float().mean())
        loss = float(cross_entropy(logits, self.held_out.targets))
        if not math.isfinite(loss):
            raise DivergedError(
                f"The validation loss became {loss:.3g} after epoch {state.epoch}.",
                advice="Lower the learning rate; the last good checkpoint is kept.",
            )
        if loss < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, loss
            self.best = {name: tensor.detach().clone() for name, tensor in self.weights.items()}
            self.best_logits = logits
        return EpochLog(TRAIN, state.epoch, mean, loss, accuracy)

    def _end_training(self) -> None:
        """Either the best epoch's weights are the result, or the refit begins."""
        state = self.state
        if self.config.refit:
            state.stage, state.epochs, state.epoch, state.batch = REFIT, state.best_epoch, 1, 0
            self._begin_stage()
            return
        _copy_into(self.weights, self.best)
        state.done = True

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "position": json.dumps(asdict(self.state)),
            "weights": {name: tensor.detach() for name, tensor in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "best": self.best,
            "best_logits": self.best_logits,
        }
        save_checkpoint(self.checkpoint, self.identity, state)

    def _resume(self) -> int:
        """Take up a checkpoint where there is one; the number of steps that it brings."""
        found = load_checkpoint(self.checkpoint, self.identity) if self.checkpoint else None
        if found is None:
            return 0
        self.state = _State(**json.loads(found["position"]))
        _copy_into(self.weights, found["weights"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.best, self.best_logits = found["best"], found["best_logits"]
        torch.set_rng_state(found["random"])
        return len(self.state.losses)


class _Tokens:
    """A dataset as the loop needs it: token ids, their number, and label positions."""

    def __init__(self, run: _Run, data: Dataset) -> None:
        place = {label: index for index, label in enumerate(run.labels)}
        self.ids = run.batcher.ids(data.texts)
        self.lengths = [len(row) for row in self.ids]
        self.targets = torch.tensor([place[label] for label in data.labels])


def _copy_into(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(values[name])


def _ignore(_: Progress) -> None:
    """Nobody listens."""

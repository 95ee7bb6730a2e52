"""The training loop of an intent adapter: LoRA and head on a frozen encoder, resumable to the step.

Two stages. `train` learns on the training texts and keeps the epoch with the lowest validation loss (accuracy
on a few hundred texts moves by chance); `refit`, where asked for, starts anew on train + validation for
that number of epochs. It never sees a test text, and knows neither Prefect nor MLflow nor a screen: a
callback gets every step.
"""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from serving.errors import InvalidInputError
from serving.language.encoder import SentenceEncoder
from serving.language.intent import frozen_sha256
from training.batches import Tokens, learning_rate_share
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.data import Splits
from training.model import (
    Head,
    adapter_moved,
    all_finite,
    build_model,
    changed_tensors,
    copy_into,
    cross_entropy,
    parameter_count,
    tensor_hashes,
    torch_threads,
    trainable,
)
from training.outcome import REFIT, TRAIN, DivergedError, EpochLog, Progress, ProgressListener, Trained
from training.position import Position
from training.processes import Alone, Processes
from training.shared_work import batch_gradients, shared_logits

_RANK_SEEDS = 1_000_003
"""Distance of the dropout seeds of two processes; more than any seed of a stage."""


def train(
    encoder: SentenceEncoder,
    splits: Splits,
    head: Head,
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    on_progress: ProgressListener | None = None,
    processes: Processes | None = None,
) -> Trained:
    """Train an adapter, or go on with the run whose checkpoint is there.

    With the same inputs, libraries and threads it gives the same weights, whether or not it was
    interrupted. Several processes give the weights that one would give, up to rounding and to what dropout
    draws. Torch's global random state and thread count are put back afterwards.

    Args:
        encoder: the base; not changed.
        splits: train and validation; `test` is not read.
        head: start of the head for unit vectors, such as the frozen baseline's.
        config: the recipe.
        checkpoint: file to save to and resume from; None saves nothing.
        on_progress: called after every step and epoch.
        processes: the group that trains together, each calling this with the same arguments; default: this
            process alone.

    Raises:
        InvalidInputError: the configuration asks for shots, and the splits hold more.
        DivergedError: a loss or gradient is not finite; the message names the batch, and the last good
            checkpoint stays.
        UnavailableError: a checkpoint could not be written.
        DamagedCheckpointError, ForeignCheckpointError: the checkpoint cannot be read, or is of another run.
    """
    with torch_threads(config.threads), torch.random.fork_rng(devices=[]):
        group = processes or Alone()
        return _Run(encoder, splits, head, config, checkpoint, on_progress or _ignore, group).go()


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
        processes: Processes,
    ) -> None:
        self.encoder, self.config, self.listen, self.processes = encoder, config, listen, processes
        self.start_head = head.scaled(config.scale)
        self.labels = splits.labels
        self.batcher = encoder.batcher(config.max_length)
        if config.shots and max(splits.train.counts.values()) > config.shots:
            raise InvalidInputError(
                f"The splits hold more than the {config.shots} texts per intent that were asked for.",
                advice="Cut them with Splits.few_shot, or read them with load_splits(…, config=…).",
            )
        self.texts = Tokens(self.batcher, self.labels, splits.train, config.balance)
        self.held_out = Tokens(self.batcher, self.labels, splits.validation)
        both = splits.train.plus(splits.validation)
        self.both = Tokens(self.batcher, self.labels, both, config.balance)
        self.checkpoint = checkpoint
        self.identity = {
            "config": json.dumps(config.to_dict(), sort_keys=True),
            "data": splits.sha256,
            "base": encoder.base_sha256,
            "processes": str(processes.count),
        }
        self.state = Position(epochs=config.epochs)
        self.best: dict[str, Tensor] = {}
        self.best_logits = torch.empty(0)
        self._begin_stage()
        self.base_before = frozen_sha256(self.model)
        self.hashes_before = tensor_hashes(self.model)

    def _begin_stage(self) -> None:
        """Fresh weights, optimizer and random state for the stage that `state` names."""
        seed = 2 * self.config.seed + (self.state.stage == REFIT)
        torch.manual_seed(seed)
        self.model = build_model(self.encoder, self.start_head, self.config)
        if self.processes.rank:  # the same weights everywhere, then dropout of its own
            torch.manual_seed(seed + self.processes.rank * _RANK_SEEDS)
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
            log=self.state.epochs_log(),
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
        batches = texts.batches(self.config.batch_size, seed, state.epoch)
        before = (state.epoch - 1) * len(batches)
        total = state.epochs * len(batches)
        for number in range(state.batch, len(batches)):
            loss = self._step(texts, batches[number], before + number, total)
            state.losses.append(loss)
            state.batch = number + 1
            self.listen(Progress(state.stage, state.epoch, before + state.batch, total, loss))
            if state.batch < len(batches) and len(state.losses) % self.config.checkpoint_steps == 0:
                self._save()

    def _step(self, texts: Tokens, rows: list[int], step: int, steps: int) -> float:
        """One optimizer step; refuses to continue with a number that is not finite."""
        share = learning_rate_share(step, steps, self.config.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.config.learning_rate
        self.optimizer.zero_grad()
        loss = batch_gradients(
            self.model, self.batcher, texts, rows, self.config.label_smoothing, self.processes
        )
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
        logits = shared_logits(self.model, self.batcher, self.held_out.ids, self.processes)
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
        copy_into(self.weights, self.best)
        state.done = True

    def _save(self) -> None:
        path = self.checkpoint
        if path is None:
            return
        state = {
            "position": self.state.to_json(),
            "weights": {name: tensor.detach() for name, tensor in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "random": self.processes.gather(torch.get_rng_state()),
            "best": self.best,
            "best_logits": self.best_logits,
        }
        self.processes.from_main(lambda: save_checkpoint(path, self.identity, state))

    def _resume(self) -> int:
        """Take up a checkpoint where there is one; the number of steps that it brings."""
        path = self.checkpoint
        found = self.processes.from_main(lambda: load_checkpoint(path, self.identity)) if path else None
        if found is None:
            return 0
        self.state = Position.from_json(found["position"])
        copy_into(self.weights, found["weights"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.best, self.best_logits = found["best"], found["best_logits"]
        torch.set_rng_state(found["random"][self.processes.rank])
        return len(self.state.losses)


def _ignore(_: Progress) -> None:
    """Nobody listens."""

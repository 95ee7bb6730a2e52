"""The training loop of a dialogue adapter: LoRA on a frozen causal language model, resumable to the step.

The epoch with the lowest validation loss is kept. A step is several packed sequences whose gradients are
added up and divided by the number of learned tokens, so that packing changes no loss. It knows neither
Prefect nor MLflow nor a screen: a callback gets every step.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from serving.errors import InvalidInputError
from serving.language.causal_lm import CausalLm
from serving.language.encoder import tensors_sha256
from training.batches import learning_rate_share
from training.checkpoint import load_checkpoint, save_checkpoint
from training.dialogue.config import DialogueConfig
from training.dialogue.network import base_sha256, batch_of, check_gradients, loss_sum, with_lora
from training.dialogue.rendering import Example, Rendered, epoch_order, packs
from training.model import changed_tensors, parameter_count, saved_name, torch_threads, trainable
from training.outcome import TRAIN, DivergedError, EpochLog, Progress, ProgressListener


@dataclass(frozen=True, eq=False)
class TrainedDialogue:
    """The outcome of a run.

    Attributes:
        model: the LoRA-wrapped model, with the weights of the best epoch.
        best_epoch: the one with the lowest validation loss (the last one without validation).
        losses: mean loss per learned token of every step.
        base_before, base_after: hash of the frozen weights.
        changed: names of the tensors that differ from the start, as PEFT saves them.
        parameters: number of parameters that could change.
        tokens: tokens that went through the model in this process.
        seconds: time of these steps, without validation and checkpoints.
        peak_bytes: most GPU memory in use; 0 on a CPU.
        resumed_at: steps that came from a checkpoint.
    """

    model: nn.Module
    config: DialogueConfig
    best_epoch: int
    log: tuple[EpochLog, ...]
    losses: tuple[float, ...]
    base_before: str
    base_after: str
    changed: tuple[str, ...]
    parameters: int
    tokens: int
    seconds: float
    peak_bytes: int
    resumed_at: int = 0

    @property
    def device(self) -> torch.device:
        """Where it was trained."""
        return next(self.model.parameters()).device

    @property
    def tokens_per_second(self) -> float:
        """Speed of the training steps."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(slots=True)
class _State:
    """Everything that changes while a run goes on, besides weights and optimizer."""

    epoch: int = 1
    step: int = 0
    losses: list[float] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    done: bool = False


def train_dialogue(
    lm: CausalLm,
    examples: Rendered,
    held_out: Rendered | None,
    config: DialogueConfig,
    *,
    checkpoint: Path | None = None,
    on_progress: ProgressListener | None = None,
) -> TrainedDialogue:
    """Train an adapter, or go on with the run whose checkpoint is there.

    Args:
        lm: a freshly loaded model that was asked nothing before; LoRA is put into it.
        examples: what is learned.
        held_out: validation examples; None keeps the last epoch.
        config: the recipe.
        checkpoint: file to save to and resume from; None saves nothing.
        on_progress: called after every step and epoch.

    Raises:
        IntegrityError: an adapted layer gets no gradient, or LoRA does not fit the model.
        InvalidInputError: an example is longer than a packed sequence, or 4-bit was asked of another model.
        DivergedError: a loss or gradient is not finite; the last good checkpoint stays.
        UnavailableError: a checkpoint could not be written.
        DamagedCheckpointError, ForeignCheckpointError: the checkpoint cannot be read, or is of another run.
    """
    if config.four_bit != bool(getattr(lm.model, "is_loaded_in_4bit", False)):
        raise InvalidInputError("four_bit must say how the model was loaded.")
    if max(map(len, examples.examples)) > config.max_length:
        raise InvalidInputError(f"An example is longer than max_length ({config.max_length}).")
    with torch_threads(config.threads), torch.random.fork_rng():
        return _Run(lm, examples, held_out, config, checkpoint, on_progress).go()


class _Run:
    """One run: fixed inputs, and the state that a checkpoint holds."""

    def __init__(
        self,
        lm: CausalLm,
        examples: Rendered,
        held_out: Rendered | None,
        config: DialogueConfig,
        checkpoint: Path | None,
        listen: ProgressListener | None,
    ) -> None:
        self.config, self.listen, self.checkpoint = config, listen or _ignore, checkpoint
        self.examples = examples.examples
        self.held_out = held_out.examples if held_out else ()
        self.packed = packs(self.examples, config.max_length)
        self.per_epoch = math.ceil(len(self.packed) / config.packs)
        self.device = lm.model.device
        torch.manual_seed(config.seed)
        self.model = with_lora(
            lm, config.rank, config.alpha,
            four_bit=config.four_bit, checkpointing=config.checkpointing, targets=config.targets,
        )  # fmt: skip
        self.weights = trainable(self.model)
        self.base_before = base_sha256(self.model)
        self.hashes_before = _lora_hashes(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.identity = {
            "config": json.dumps(config.to_dict(), sort_keys=True),
            "data": examples.sha256 + (held_out.sha256 if held_out else ""),
            "base": self.base_before,
        }
        self.state, self.best = _State(), dict[str, Tensor]()
        self.tokens, self.seconds = 0, 0.0

    def go(self) -> TrainedDialogue:
        resumed_at = self._resume()
        if not self.state.done:
            # On the smallest pack: what breaks the chain of gradients breaks it for any.
            smallest = min(self.packed, key=lambda pack: sum(len(self.examples[at]) for at in pack))
            check_gradients(self.model, batch_of([self.examples[smallest[0]]], self.device))
        while not self.state.done:
            self._epoch()
            self._end_epoch()
        _copy_into(self.weights, self.best)
        self.model.eval()
        return TrainedDialogue(
            model=self.model,
            config=self.config,
            best_epoch=self.state.best_epoch,
            log=tuple(EpochLog(**row) for row in self.state.log),
            losses=tuple(self.state.losses),
            base_before=self.base_before,
            base_after=base_sha256(self.model),
            changed=changed_tensors(self.hashes_before, _lora_hashes(self.model)),
            parameters=parameter_count(self.model),
            tokens=self.tokens,
            seconds=self.seconds,
            peak_bytes=torch.cuda.max_memory_allocated() if self.device.type == "cuda" else 0,
            resumed_at=resumed_at,
        )

    def _epoch(self) -> None:
        """The steps of the present epoch that are still to be done."""
        state, config = self.state, self.config
        order = epoch_order(len(self.packed), config.seed, state.epoch)
        total = config.epochs * self.per_epoch
        for number in range(state.step, self.per_epoch):
            chosen = [self.packed[at] for at in order[number * config.packs : (number + 1) * config.packs]]
            done = (state.epoch - 1) * self.per_epoch + number
            loss = self._step([[self.examples[at] for at in pack] for pack in chosen], done, total)
            state.losses.append(loss)
            state.step = number + 1
            self.listen(Progress(TRAIN, state.epoch, done + 1, total, loss))
            if state.step < self.per_epoch and len(state.losses) % config.checkpoint_steps == 0:
                self._save()

    def _step(self, chosen: Sequence[Sequence[Example]], step: int, steps: int) -> float:
        """One optimizer step; refuses to continue with a number that is not finite."""
        started = time.perf_counter()
        share = learning_rate_share(step, steps, self.config.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.config.learning_rate
        self.optimizer.zero_grad()
        learned = sum(sum(example.learned) for pack in chosen for example in pack)
        total = 0.0
        for pack in chosen:
            batch = batch_of(pack, self.device)
            loss = loss_sum(self.model, batch) / learned
            loss.backward()
            total += float(loss.item())
            self.tokens += batch.ids.shape[1]
        norm = nn.utils.clip_grad_norm_(self.weights.values(), self.config.clip_norm)
        if not (math.isfinite(total) and bool(torch.isfinite(norm))):
            raise DivergedError(
                f"The loss became {total:.3g} (gradient {norm.item():.3g}) in epoch {self.state.epoch}, "
                f"step {self.state.step + 1}.",
                advice="Lower the learning rate; the last good checkpoint is kept.",
            )
        self.optimizer.step()
        self.seconds += time.perf_counter() - started
        return total

    def _end_epoch(self) -> None:
        """Log the epoch, keep it where it is the best, and decide whether there is another one."""
        state = self.state
        mean = sum(state.losses[-state.step :]) / state.step
        found = self._validation_loss()
        state.log.append(asdict(EpochLog(TRAIN, state.epoch, mean, found)))
        if found is None or found < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, math.inf if found is None else found
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.weights.items()}
        gave_up = 0 < self.config.patience <= state.epoch - state.best_epoch
        if state.epoch < self.config.epochs and not gave_up:
            state.epoch, state.step = state.epoch + 1, 0
        else:
            state.done = True
        self._save()

    def _validation_loss(self) -> float | None:
        """Mean loss per learned token; computed in training mode, which without dropout is the same.

        Gradients are switched off on a GPU only: on a CPU a pass without them repacks quantised layers.
        """
        if not self.held_out:
            return None
        total, learned = 0.0, 0
        with torch.set_grad_enabled(self.device.type != "cuda"):
            for pack in packs(self.held_out, self.config.max_length):
                batch = batch_of([self.held_out[at] for at in pack], self.device)
                total += float(loss_sum(self.model, batch).item())
                learned += batch.learned
        mean = total / learned
        if not math.isfinite(mean):
            raise DivergedError(
                f"The validation loss became {mean:.3g} after epoch {self.state.epoch}.",
                advice="Lower the learning rate; the last good checkpoint is kept.",
            )
        return mean

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "position": json.dumps(asdict(self.state)),
            "weights": {name: tensor.detach() for name, tensor in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
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
        self.best = found["best"]
        return len(self.state.losses)


def _lora_hashes(model: nn.Module) -> dict[str, str]:
    """Hashes of what may change, by the names under which PEFT saves it; the frozen rest has its own hash."""
    return {saved_name(name): tensors_sha256({"": tensor}) for name, tensor in trainable(model).items()}


def _copy_into(weights: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(values[name])


def _ignore(_: Progress) -> None:
    """Nobody listens."""

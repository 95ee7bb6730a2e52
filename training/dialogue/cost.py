"""What a dialogue adapter costs at a model's true shape: speed, memory, size, right gradients, latency.

Weights are random, so nothing learned here is worth anything; time and memory are those of a real model of
the same shape. On a CUDA GPU the base is held in bfloat16 and in 4 bits (NF4), elsewhere in float32 and
small.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluation.dialogues import load_dialogues
from serving.errors import InvalidInputError, MissingError
from serving.files import new_folder
from serving.language.causal_lm import CausalLm, load_causal_lm, precision_of, with_adapter
from training.dialogue.bundle import Chosen
from training.dialogue.check import DIALOGUES_FILE
from training.dialogue.config import DialogueConfig
from training.dialogue.desk import ToolDesk
from training.dialogue.network import Batch, batch_of, loss_sum, with_lora
from training.dialogue.random_model import make_random_model
from training.dialogue.rendering import Rendered, render
from training.dialogue.trainer import train_dialogue
from training.model import quiet_peft, save_adapter, torch_threads

_ROUNDS = 5
"""Generations that are timed; the median counts."""


@dataclass(frozen=True, slots=True)
class CostPlan:
    """What is measured.

    Attributes:
        dialogues: dialogues that are learned; one epoch.
        max_length: tokens of a packed sequence.
        rank: of LoRA.
        adapters: adapters on one base whose latency is measured.
        answer_tokens: length of a timed answer.
    """

    dialogues: int = 64
    max_length: int = 4_096
    rank: int = 16
    adapters: int = 4
    answer_tokens: int = 32


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What training costs in one precision.

    Attributes:
        precision: `float32`, `bfloat16` or `nf4`.
        base_bytes: memory of the loaded base's parameters.
        peak_bytes: most GPU memory while training; 0 on a CPU.
        adapter_bytes: size of the saved adapter.
        first_loss, last_loss: mean loss per learned token of the first and last step.
    """

    precision: str
    parameters: int
    base_bytes: int
    peak_bytes: int
    tokens_per_second: float
    steps: int
    adapter_bytes: int
    trained_parameters: int
    first_loss: float
    last_loss: float


@dataclass(frozen=True, slots=True)
class GradientCheck:
    """Gradients through 4-bit layers beside those through plain layers with the same (dequantised) weights.

    Attributes:
        layers: adapted layers that were compared.
        smallest_cosine: of the two gradients of any LoRA B matrix.
        largest_difference: norm of the difference over the norm of the plain gradient, of any.
    """

    layers: int
    smallest_cosine: float
    largest_difference: float


@dataclass(frozen=True, slots=True)
class LatencyCost:
    """Milliseconds of one answer, and of putting an adapter beside a base.

    Attributes:
        base_ms: the base alone.
        merged_ms: one adapter in its weights.
        beside_ms: one adapter beside its weights, as serving holds it.
        several_ms: the same, each answer by another of `adapters`.
        adapters: how many stood beside one base.
        load_ms: median time to put one there.
        bytes_each: memory that one takes.
    """

    tokens: int
    base_ms: float
    merged_ms: float
    beside_ms: float
    several_ms: float
    adapters: int
    load_ms: float
    bytes_each: int


@dataclass(frozen=True, slots=True)
class CostReport:
    """All figures of a shape.

    Attributes:
        device: name of the GPU, or `cpu`.
        gradients: None where there are no 4-bit layers.
    """

    shape: str
    device: str
    training: tuple[TrainingCost, ...]
    gradients: GradientCheck | None
    latency: LatencyCost


def measure_cost(
    shape: str, data: Path, work: Path, plan: CostPlan = CostPlan(), tell: Callable[[str], None] = print
) -> CostReport:
    """Make a random model of a shape and measure.

    Args:
        shape: one of `random_model.SHAPES`; the large one needs a GPU.
        data: the project's data folder.
        work: an empty folder for the model and adapters (15 GB for the large shape).
        plan: how much.
        tell: takes a sentence before each part.

    Raises:
        InvalidInputError: no such shape, or nothing fits into a sequence.
        MissingError: the large shape without a GPU.
    """
    rows = load_dialogues(data / "tool_calls" / DIALOGUES_FILE, "train")
    texts = [message.content for row in rows for message in row.messages] + [rows[0].system()]
    tell(f"making a random {shape} model")
    base = make_random_model(work / shape, shape, texts)
    on_gpu = torch.cuda.is_available()
    training, gradients = [], None
    with torch_threads(1), quiet_peft():
        for four_bit in (False, True) if on_gpu else (False,):
            tell(f"training in {'4 bits' if four_bit else 'full precision'}")
            training.append(_training_cost(base, data, work, plan, four_bit=four_bit))
        if on_gpu:
            tell("comparing 4-bit gradients with those of the same weights dequantised")
            quantised = load_causal_lm(base, four_bit=True)
            gradients = check_quantised_gradients(quantised, _short_batch(quantised, data))
            del quantised
            torch.cuda.empty_cache()
        tell(f"timing answers of {plan.adapters} adapters on one base")
        latency = _latency(base, work / f"adapter-{training[0].precision}", plan)
    device = torch.cuda.get_device_name(0) if on_gpu else "cpu"
    return CostReport(shape, device, tuple(training), gradients, latency)


def check_quantised_gradients(lm: CausalLm, batch: Batch) -> GradientCheck:
    """Compare the gradients of LoRA on a 4-bit model with those on the same model with plain layers.

    The same LoRA matrices, the same batch, and weights that are equal by value: what differs is rounding,
    unless the 4-bit backward pass is wrong or loses the gradient (as it does on a CPU that answered before).

    Args:
        lm: a freshly loaded 4-bit model that was asked nothing before; its layers are replaced.
        batch: on the model's device.

    Raises:
        InvalidInputError: the model has no 4-bit layers.
    """
    torch.manual_seed(0)
    model = with_lora(lm, 8, 16.0, four_bit=True, checkpointing=False, targets=DialogueConfig().targets)
    quantised = _gradients(model, batch)
    if not _dequantise(model):
        raise InvalidInputError("The model has no 4-bit layers, so there is nothing to compare.")
    plain = _gradients(model, batch)
    cosines, differences = [], []
    for name, gradient in plain.items():
        cosines.append(float(nn.functional.cosine_similarity(quantised[name], gradient, dim=0)))
        norm = float(gradient.norm())
        differences.append(float((quantised[name] - gradient).norm()) / norm if norm else float("inf"))
    return GradientCheck(len(plain), min(cosines), max(differences))


def _training_cost(base: Path, data: Path, work: Path, plan: CostPlan, *, four_bit: bool) -> TrainingCost:
    """One epoch over a few dialogues; the adapter is kept beside the model."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    lm = load_causal_lm(base, four_bit=four_bit)
    precision = precision_of(lm)
    size = sum(tensor.numel() * tensor.element_size() for tensor in lm.model.parameters())
    config = DialogueConfig(
        rank=plan.rank, alpha=2.0 * plan.rank, epochs=1, packs=1, max_length=plan.max_length,
        four_bit=four_bit, checkpointing=torch.cuda.is_available(), learning_rate=1e-3,
    )  # fmt: skip
    parameters = int(lm.model.num_parameters())
    trained = train_dialogue(lm, _rendered(lm, data, plan), None, config)
    with new_folder(work / f"adapter-{precision}") as folder:
        save_adapter(trained.model, folder)
    file = work / f"adapter-{precision}" / "adapter_model.safetensors"
    return TrainingCost(
        precision=precision,
        parameters=parameters,
        base_bytes=size,
        peak_bytes=trained.peak_bytes,
        tokens_per_second=trained.tokens_per_second,
        steps=len(trained.losses),
        adapter_bytes=file.stat().st_size,
        trained_parameters=trained.parameters,
        first_loss=trained.losses[0],
        last_loss=trained.losses[-1],
    )


def _rendered(lm: CausalLm, data: Path, plan: CostPlan) -> Rendered:
    learned, _ = Chosen(limit=plan.dialogues).rows(data)
    with ToolDesk(data) as desk:
        return render(lm, learned, {"bank": desk.schemas("bank")}, plan.max_length)


def _short_batch(lm: CausalLm, data: Path) -> Batch:
    """The shortest of a few examples; nothing is asked of the model."""
    examples = _rendered(lm, data, CostPlan(dialogues=4)).examples
    return batch_of([min(examples, key=len)], lm.model.device)


def _gradients(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Gradient of every LoRA B matrix, flat, float32, on the CPU; they start at zero, so A has none yet."""
    model.zero_grad(set_to_none=True)
    (loss_sum(model, batch) / batch.learned).backward()
    found = {
        name: tensor.grad.detach().float().flatten().cpu()
        for name, tensor in model.named_parameters()
        if ".lora_B." in name and tensor.grad is not None
    }
    model.zero_grad(set_to_none=True)
    return found


def _dequantise(model: nn.Module) -> int:
    """Put plain layers with the same weights in the place of 4-bit ones; how many there were."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    found = [(name, module) for name, module in model.named_modules() if type(module) is Linear4bit]
    for name, module in found:
        weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
        plain = _PlainLayer(weight.reshape(module.out_features, module.in_features), module.bias)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, plain)
    return len(found)


class _PlainLayer(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A linear layer that computes in its weights' type and answers in that of its input, as a 4-bit one."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Shape (…, inputs) to (…, outputs)."""
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return nn.functional.linear(inputs.to(self.weight.dtype), self.weight, bias).to(inputs.dtype)


def _latency(base: Path, adapter: Path, plan: CostPlan) -> LatencyCost:
    lm = load_causal_lm(base)
    prompt = torch.randint(10, 500, (1, 256), generator=torch.Generator().manual_seed(0)).to(lm.model.device)
    alone = _answer_ms([lm], prompt, plan)
    before = _used()
    beside, times = [], []
    for number in range(plan.adapters):
        started = time.perf_counter()
        beside.append(with_adapter(lm, adapter, f"adapter {number}"))
        times.append(time.perf_counter() - started)
    shared = {id(tensor) for tensor in lm.model.parameters()}
    own = [tensor for tensor in beside[0].model.parameters() if id(tensor) not in shared]
    each = (_used() - before) // plan.adapters or sum(t.numel() * t.element_size() for t in own)
    one, several = _answer_ms(beside[:1], prompt, plan), _answer_ms(beside, prompt, plan)
    del beside
    merged = replace(lm, model=load_causal_lm(base, adapter).model)
    return LatencyCost(
        tokens=plan.answer_tokens,
        base_ms=alone,
        merged_ms=_answer_ms([merged], prompt, plan),
        beside_ms=one,
        several_ms=several,
        adapters=plan.adapters,
        load_ms=1_000 * sorted(times)[len(times) // 2],
        bytes_each=each,
    )


def _answer_ms(models: Sequence[CausalLm], prompt: torch.Tensor, plan: CostPlan) -> float:
    """Median milliseconds of an answer of fixed length, by each of the models in turn."""
    times = []
    for number in range(-1, max(_ROUNDS, len(models))):
        model: Any = models[number % len(models)].model
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                min_new_tokens=plan.answer_tokens,
                max_new_tokens=plan.answer_tokens,
                do_sample=False,
                use_cache=True,
                pad_token_id=models[0].stop_ids[0],
                eos_token_id=list(models[0].stop_ids),
            )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number >= 0:  # the first one warms up
            times.append(time.perf_counter() - started)
    return 1_000 * sorted(times)[len(times) // 2]


def _used() -> int:
    return int(torch.cuda.memory_allocated()) if torch.cuda.is_available() else 0


def chosen_shape(shape: str) -> str:
    """The shape that is measured: `auto` is Mistral-7B's where there is a GPU, else the tiny one.

    Raises:
        MissingError: the large shape is named and there is no GPU.
    """
    if shape == "auto":
        return "mistral-7b" if torch.cuda.is_available() else "tiny"
    if shape == "mistral-7b" and not torch.cuda.is_available():
        raise MissingError(f"{shape} needs a CUDA GPU, and none is here.", advice="Use --shape tiny.")
    return shape

"""LoRA on a frozen causal language model: building it, one packed step, proof that gradients arrive.

Packed examples are kept apart by their positions and by a block-diagonal causal mask, so that the loss of
each is what it is alone. Before the first step every adapted layer must get a gradient: quantised layers
that were used for inference on a CPU silently lose it (input gradients become zero), and the layers below
would never learn.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from serving.errors import IntegrityError
from serving.language.causal_lm import CausalLm
from serving.language.encoder import tensors_sha256
from serving.language.quiet import quiet_transformers
from training.dialogue.rendering import Example
from training.model import quiet_peft

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Mistral block."""
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """One packed sequence.

    Attributes:
        ids, positions, targets: shape (1, tokens); a target is the *next* token, or `IGNORED`.
        mask: shape (1, 1, tokens, tokens), true where attention is allowed.
        learned: number of targets that count.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    mask: Tensor
    learned: int


def batch_of(examples: Sequence[Example], device: Any = "cpu") -> Batch:
    """Pack examples into one sequence; none sees another, and none predicts another's first token."""
    ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, example in enumerate(examples):
        ids += example.ids
        positions += range(len(example))
        owners += [number] * len(example)
        following = zip(example.ids[1:], example.learned[1:], strict=True)
        targets += [*(token if learned else IGNORED for token, learned in following), IGNORED]
    owner = torch.tensor(owners, device=device)
    size = len(ids)
    causal = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    return Batch(
        torch.tensor([ids], device=device),
        torch.tensor([positions], device=device),
        torch.tensor([targets], device=device),
        (causal & (owner[:, None] == owner[None, :]))[None, None],
        sum(target != IGNORED for target in targets),
    )


def with_lora(
    lm: CausalLm, rank: int, alpha: float, *, four_bit: bool, checkpointing: bool, targets: Sequence[str]
) -> nn.Module:
    """The model with fresh LoRA matrices, in training mode; the base stays frozen.

    A matrices come from torch's global random state: seed it first.

    Raises:
        IntegrityError: no layer of this model is called as `targets` say.
    """
    with quiet_peft(), quiet_transformers():
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        base = lm.model
        if four_bit:
            base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
        if checkpointing:
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            base.enable_input_require_grads()
        base.config.use_cache = False
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(targets), task_type="CAUSAL_LM"
        )
        try:
            model: nn.Module = get_peft_model(base, config)
        except ValueError as error:
            raise IntegrityError(
                f"LoRA does not fit this model: {error}",
                advice="Use a Mistral-family model, whose blocks have q_proj … down_proj.",
            ) from error
    # PEFT would write this machine's path into the adapter.
    model.peft_config["default"].base_model_name_or_path = lm.name
    model.train()
    return model


def loss_sum(model: nn.Module, batch: Batch) -> Tensor:
    """Summed cross-entropy over the learned tokens of a packed sequence, in float32."""
    mask = torch.zeros(batch.mask.shape, dtype=_compute_type(model), device=batch.mask.device)
    mask = mask.masked_fill(~batch.mask, torch.finfo(mask.dtype).min)
    logits = model(input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions).logits
    keep = batch.targets[0] != IGNORED
    return nn.functional.cross_entropy(logits[0][keep].float(), batch.targets[0][keep], reduction="sum")


def check_gradients(model: nn.Module, batch: Batch) -> None:
    """Run one backward pass and refuse to train where an adapted layer gets no gradient.

    A LoRA B matrix starts at zero and its gradient does not; one that is exactly zero, absent or not finite
    means that the chain is broken above it. Gradients are cleared afterwards.

    Raises:
        IntegrityError: naming the first such layer.
    """
    (loss_sum(model, batch) / batch.learned).backward()
    dead = [
        name
        for name, tensor in model.named_parameters()
        if ".lora_B." in name
        and (
            tensor.grad is None or not bool(torch.isfinite(tensor.grad).all()) or not bool(tensor.grad.any())
        )
    ]
    model.zero_grad(set_to_none=True)
    if dead:
        layers = sum(".lora_B." in name for name, _ in model.named_parameters())
        first = dead[0]
        raise IntegrityError(
            f"{len(dead)} of {layers} adapted layers get no gradient, {first} for one; they never learn.",
            advice="Train on a freshly loaded model that was asked nothing before; 4-bit needs a CUDA GPU.",
        )


def base_sha256(model: nn.Module) -> str:
    """Sha256 of the frozen weights, by their names in the base."""
    frozen = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in model.named_parameters()
        if ".lora_" not in name
    }
    digest = hashlib.sha256()
    for name in sorted(frozen):  # one by one: a large model twice in memory is one time too many
        digest.update(tensors_sha256({name: frozen[name]}).encode())
    return digest.hexdigest()


def _compute_type(model: nn.Module) -> torch.dtype:
    return next(t.dtype for n, t in model.named_parameters() if "embed_tokens" in n and t.is_floating_point())

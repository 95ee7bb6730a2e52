"""Plain LoRA weights in PEFT's file format, merged into a copy of the frozen encoder.

PEFT's own loader only warns about missing and unexpected tensors and then serves a half-random model;
here every tensor must be there, fit and be finite. Merging needs three lines of algebra, so serving
does not import PEFT (seconds and many megabytes); a test holds the result against PEFT's own. Variants
that change the algebra (DoRA, rank patterns, trained biases, …) are refused, never approximated.
"""

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.adapters.manifest import ADAPTER_CONFIG_FILE, ADAPTER_FILE
from serving.errors import IntegrityError
from serving.language.encoder import SentenceEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from serving.language.intent import IntentClassifier, IntentConfig

TARGET_MODULES = r"encoder\.encoder\.layer\.\d+\..*(query|key|value|dense)"
"""What the trainer adapts: every linear layer of the encoder. It is the only expression that is accepted, for
an expression of somebody else's may take for ever to match."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_PREFIX = "base_model.model."
_HEAD = "classifier"
_HARMLESS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "inference_mode",
        "init_lora_weights",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Fields of PEFT's configuration that either are read below or do not change the merged weights."""


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """What is needed of `adapter_config.json`.

    Attributes:
        rank: r of every pair of matrices.
        scaling: factor on B·A: alpha / r, or alpha / √r with rank-stabilised LoRA.
        targets: `TARGET_MODULES`, which whole module names match, or module names and endings.
    """

    rank: int
    scaling: float
    targets: str | tuple[str, ...]

    def adapts(self, module: str) -> bool:
        """Whether a module of the classifier is adapted, by PEFT's rule."""
        if isinstance(self.targets, str):
            return re.fullmatch(self.targets, module) is not None
        return any(module == target or module.endswith(f".{target}") for target in self.targets)


def read_spec(folder: Path) -> LoraSpec:
    """Read `adapter_config.json` of a bundle.

    Raises:
        IntegrityError: it is missing, or describes something else than plain LoRA with our head.
    """
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
        foreign = sorted(name for name, value in config.items() if value and name not in _HARMLESS)
        if foreign or config["peft_type"] != "LORA" or config.get("bias", "none") != "none":
            raise _refused(f"it uses {', '.join(foreign) or 'another method than plain LoRA'}")
        if config.get("modules_to_save") != [_HEAD]:
            raise _refused(f"modules_to_save must be [{_HEAD!r}]")
        rank, alpha, targets = int(config["r"]), float(config["lora_alpha"]), config["target_modules"]
        scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        if rank < 1 or not math.isfinite(scaling):
            raise _refused("rank and alpha must be positive numbers")
        spec = LoraSpec(rank, scaling, _checked_targets(targets))
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError, RecursionError) as error:
        raise _refused(f"it cannot be read ({type(error).__name__}: {error})") from error
    return spec


def _checked_targets(targets: object) -> str | tuple[str, ...]:
    if isinstance(targets, str) and targets == TARGET_MODULES:
        return targets
    names = tuple(targets) if isinstance(targets, list) else ()
    if not names or not all(isinstance(name, str) and _PLAIN_NAME.fullmatch(name) for name in names):
        raise _refused("target_modules is neither the trainer's own pattern nor a list of plain module names")
    return names


def merged_classifier(folder: Path, encoder: SentenceEncoder, config: "IntentConfig") -> "IntentClassifier":
    """Build the classifier of a bundle aside from everything that serves.

    Tensors that LoRA does not touch (embeddings above all) are shared with `encoder`.

    Raises:
        IntegrityError: a tensor is missing, unexpected, of a wrong shape or not finite.
    """
    import torch

    from serving.language.intent import IntentClassifier

    spec, found = read_spec(folder), _read_tensors(folder)
    targets = _target_weights(spec, encoder.model)
    head_shapes = {
        f"{_HEAD}.weight": (len(config.labels), encoder.dimension),
        f"{_HEAD}.bias": (len(config.labels),),
    }
    _check_tensors(found, _expected_shapes(spec, targets) | head_shapes)
    merged = _copy_sharing(encoder.model, set(targets))
    with torch.no_grad():
        for name in targets:
            a, b = (
                found[f"encoder.{name.removesuffix('.weight')}.{part}.weight"]
                for part in ("lora_A", "lora_B")
            )
            merged.get_parameter(name).add_(b @ a, alpha=spec.scaling)
    with torch.device("meta"):  # the head's random start would be thrown away
        classifier = IntentClassifier(merged, len(config.labels), scale=config.scale)
    for part in ("weight", "bias"):
        setattr(classifier.classifier, part, torch.nn.Parameter(found[f"{_HEAD}.{part}"]))
    return classifier


def _read_tensors(folder: Path) -> dict[str, "Tensor"]:
    """Tensors of the adapter by their name without PEFT's prefix, float32."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / ADAPTER_FILE)
    except (OSError, SafetensorError, ValueError) as error:
        raise _refused(f"{ADAPTER_FILE} cannot be read ({error})") from error
    for name, tensor in tensors.items():
        if not name.startswith(_PREFIX) or not tensor.is_floating_point():
            raise _refused(f"{ADAPTER_FILE} holds {name[:120]}, which is no LoRA tensor")
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(f"the weights {name[:120]} are not finite")
    return {name.removeprefix(_PREFIX): tensor.to(torch.float32) for name, tensor in tensors.items()}


def _target_weights(spec: LoraSpec, model: "nn.Module") -> dict[str, tuple[int, int]]:
    """Shape by parameter name of the encoder's linear weights that the adapter adapts."""
    from torch import nn

    targets = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and spec.adapts(f"encoder.{name}"):
            targets[f"{name}.weight"] = (module.out_features, module.in_features)
    if not targets:
        raise _refused("its target_modules name no layer of this encoder")
    return targets


def _expected_shapes(spec: LoraSpec, targets: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (outputs, inputs) in targets.items():
        module = f"encoder.{name.removesuffix('.weight')}"
        shapes[f"{module}.lora_A.weight"] = (spec.rank, inputs)
        shapes[f"{module}.lora_B.weight"] = (outputs, spec.rank)
    return shapes


def _check_tensors(found: Mapping[str, "Tensor"], expected: Mapping[str, tuple[int, ...]]) -> None:
    if missing := sorted(expected.keys() - found.keys()):
        raise _refused(f"{len(missing)} weights are missing, {missing[0]} for one")
    if unexpected := sorted(found.keys() - expected.keys()):
        raise _refused(f"{len(unexpected)} weights are unexpected, {unexpected[0][:120]} for one")
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise _refused(f"{name} has shape {tuple(found[name].shape)}; {shape} was expected")


def _copy_sharing(model: "nn.Module", changed: set[str]) -> "nn.Module":
    """A deep copy whose parameters outside `changed` are the original's own."""
    shared = {id(tensor): tensor for name, tensor in model.named_parameters() if name not in changed}
    return copy.deepcopy(model, shared)


def _refused(why: str) -> IntegrityError:
    return IntegrityError(
        f"The LoRA adapter cannot be used: {why}.",
        advice="Train it again with this version of voicebot and the encoder that serves.",
    )

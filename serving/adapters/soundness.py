"""Whether a bundle's content is sound, for versions that no gate has looked at.

The gate's first two questions (is the bundle what it says, did only the adapter change) are never waived.
Where a version was never judged, this asks them of the files alone, without a base model. Whether the
adapter answers well is not asked here.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

from serving.adapters.manifest import ADAPTER_CONFIG_FILE, ADAPTER_FILE, Kind, Manifest
from serving.errors import IntegrityError

_HEADS = {Kind.INTENT: (".classifier.",), Kind.DIALOGUE: ()}
"""What besides LoRA matrices training may change."""
_ADVICE = "Train it again; no reason makes a broken bundle right."


def require_sound(folder: Path, manifest: Manifest) -> None:
    """Make sure that the weights of a verified bundle are finite, moved, and LoRA or the declared head.

    Raises:
        IntegrityError: they are not, or cannot be read.
    """
    allowed = (".lora_", *_HEADS[manifest.provenance.kind])
    weights = _weights(folder)
    names = (*weights, *manifest.provenance.changed_tensors)
    foreign = sorted({name for name in names if not any(part in name for part in allowed)})
    if foreign:
        raise IntegrityError(
            f"The adapter changes {foreign[0][:120]}, which is neither LoRA nor a head of its kind.",
            advice=_ADVICE,
        )
    wrong = sorted(name for name, tensor in weights.items() if not bool(tensor.isfinite().all()))
    if wrong:
        raise IntegrityError(f"The weights {wrong[0][:120]} are not finite.", advice=_ADVICE)
    if not any(bool(tensor.any()) for name, tensor in weights.items() if ".lora_B." in name):
        raise IntegrityError("The adapter's LoRA matrices never moved from zero.", advice=_ADVICE)


def lora_layout(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape by name of the tensors in a bundle's adapter file, from its header alone.

    Raises:
        IntegrityError: the file is no safetensors file.
    """
    try:
        with (folder / ADAPTER_FILE).open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            header = json.loads(handle.read(min(length, 1 << 26)))
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError) as error:
        raise IntegrityError(f"{ADAPTER_FILE} cannot be read: {error}.", advice=_ADVICE) from error


def lora_config(folder: Path) -> dict[str, Any]:
    """`adapter_config.json` of a bundle.

    Raises:
        IntegrityError: it is none of PEFT's for LoRA.
    """
    try:
        config = dict(json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8")))
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if config["peft_type"] != "LORA" or rank < 1 or not math.isfinite(alpha):
            raise ValueError("plain LoRA with a rank and an alpha is expected")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(f"{ADAPTER_CONFIG_FILE} cannot be used: {error}.", advice=_ADVICE) from error
    return config


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(folder / ADAPTER_FILE))
    except (OSError, SafetensorError, ValueError) as error:
        raise IntegrityError(f"{ADAPTER_FILE} cannot be read: {error}.", advice=_ADVICE) from error

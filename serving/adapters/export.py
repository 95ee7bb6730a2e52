"""An adapter taken out of the registry: as its sealed bundle, merged into its base, or as vLLM reads it.

Only a verified version leaves; the folder appears whole or not at all. vLLM serves causal language models,
so only a dialogue adapter has its layout: `adapter_config.json` and `adapter_model.safetensors` with PEFT's
names. Merging keeps the base out of it: what is written is a model of its own, without manifest.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from serving.adapters.files import copy_files
from serving.adapters.loader import checked_config
from serving.adapters.lora import merged_classifier
from serving.adapters.manifest import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Kind,
    Manifest,
    verify,
)
from serving.adapters.signature import Signatures
from serving.adapters.soundness import lora_config, lora_layout
from serving.adapters.versions import AdapterVersion
from serving.errors import IntegrityError, InvalidInputError, MissingError, RefusedError
from serving.files import new_folder, writing_to

if TYPE_CHECKING:
    from serving.settings import Settings

HEAD_FILE = "head.safetensors"
"""The classification head of a merged intent adapter: `weight` and `bias`."""
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_NOT_IN_VLLM = (
    "modules_to_save",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "megatron_config",
)
"""Parts of PEFT's configuration that vLLM refuses or, worse, does not read."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's `--max-lora-rank` can be."""


class Form(StrEnum):
    """What an export holds."""

    BUNDLE = "bundle"
    """Every file with manifest and signature, as it can be registered elsewhere."""
    MERGED = "merged"
    """The base with the adapter merged into its weights, as transformers loads it."""
    VLLM = "vllm"
    """What vLLM loads as a LoRA module."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was (or would be) written.

    Attributes:
        adapter: label of the version.
        form: what the folder holds.
        folder: where.
        replaces: whether something stood there.
        note: how to use it, in a sentence.
    """

    adapter: str
    form: Form
    folder: Path
    replaces: bool
    note: str


def export_version(
    version: AdapterVersion,
    folder: Path,
    form: Form,
    settings: "Settings",
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Exported:
    """Write a version to a folder of its own.

    Args:
        version: what to export.
        folder: a folder that is not there yet.
        form: what it shall hold.
        settings: where the base is, for merging, and which signatures are demanded.
        force: replace an earlier export that stands there; anything else is never replaced.
        dry_run: check everything, write nothing.

    Raises:
        RefusedError: something stands at `folder`, or the adapter has no such form.
        IntegrityError: the version was altered, is for another base, or cannot be taken by vLLM.
        MissingError: the bundle or the base is not there.
        UnavailableError: the folder cannot be written.
    """
    manifest = version.verify()
    Signatures.from_settings(settings).require(version.bundle, version.label)
    write, note = _WRITERS[form](version, manifest, settings, folder)
    replaces = _check_place(folder, force=force)
    if not dry_run:
        try:
            with writing_to(folder.parent), new_folder(folder, replace=replaces) as made:
                write(made)
        except FileExistsError as error:  # since we looked
            raise _taken(folder) from error
    return Exported(version.label, form, folder, replaces, note)


_Writer = tuple[Callable[[Path], object], str]


def _as_bundle(version: AdapterVersion, manifest: Manifest, _settings: "Settings", _folder: Path) -> _Writer:
    def write(made: Path) -> None:
        signed = [SIGNATURE_FILE] if (version.bundle / SIGNATURE_FILE).is_file() else []
        copy_files(version.bundle, made, [*manifest.files, MANIFEST_FILE, *signed])
        version.check(verify(made))

    return write, "It is sealed: `AdapterRegistry.register` takes it elsewhere as it is."


def _as_merged(version: AdapterVersion, manifest: Manifest, settings: "Settings", _folder: Path) -> _Writer:
    if manifest.provenance.kind == Kind.DIALOGUE:
        return _merged_dialogue(version, settings)
    return _merged_intent(version, settings)


def _merged_intent(version: AdapterVersion, settings: "Settings") -> _Writer:
    from safetensors.torch import save_file

    from serving.language.encoder import load_encoder

    encoder = load_encoder(settings.encoder)
    config = checked_config(version.bundle, encoder)
    classifier = merged_classifier(version.bundle, encoder, config)

    def write(made: Path) -> None:
        classifier.encoder.save_pretrained(made)
        (made / "tokenizer.json").write_text(encoder.tokenizer_json, encoding="utf-8")
        head = {name: tensor.contiguous() for name, tensor in classifier.classifier.state_dict().items()}
        save_file(head, made / HEAD_FILE)
        config.save(made)

    return write, (
        f"An encoder as transformers loads it; logits are {HEAD_FILE} on {config.scale:g} times the unit "
        "vector of the mean token (intent.json has labels and threshold)."
    )


def _merged_dialogue(version: AdapterVersion, settings: "Settings") -> _Writer:
    if settings.local_llm is None:
        raise MissingError(
            "Merging a dialogue adapter needs its base, and no language model is configured.",
            advice="Set VOICEBOT_LOCAL_LLM to the base's folder, or export it unmerged (--form vllm).",
        )
    base = settings.local_llm
    _require_base(version, base)

    def write(made: Path) -> None:
        from serving.language.causal_lm import load_causal_lm

        loaded = load_causal_lm(base, version.bundle)
        loaded.model.save_pretrained(made)
        loaded.tokenizer.save_pretrained(made)

    return write, f"A model of its own on {base.name}, as transformers and vLLM load it."


def _require_base(version: AdapterVersion, base: Path) -> None:
    """Refuse to merge into another base than the adapter's; older bundles do not name one."""
    from serving.language.dialogue_adapter import DIALOGUE_FILE, BaseIdentity, DialogueFacts

    if (version.bundle / DIALOGUE_FILE).is_file():
        BaseIdentity.of(base).require(DialogueFacts.load(version.bundle), version.label)


def _as_vllm(version: AdapterVersion, manifest: Manifest, _settings: "Settings", folder: Path) -> _Writer:
    origin = manifest.provenance
    if origin.kind != Kind.DIALOGUE:
        raise RefusedError(
            f"{version.label} is an {origin.kind.value} adapter, an encoder with a classification head; vLLM "
            "serves causal language models, so it has no layout for it.",
            advice="Export it with --form bundle or --form merged; dialogue adapters have --form vllm.",
        )
    config, rank = vllm_config(version.bundle, version.label)

    def write(made: Path) -> None:
        write_for_vllm(version.bundle, made, config)

    limit = min(size for size in _RANKS if size >= rank)
    return write, (
        f"Serve it with: vllm serve BASE --enable-lora --max-lora-rank {limit} "
        f"--lora-modules {version.name}-{version.version}={folder}"
    )


def write_for_vllm(bundle: Path, made: Path, config: Mapping[str, object]) -> None:
    """Fill a new folder with what vLLM reads: the bundle's weights, and a configuration by `vllm_config`."""
    copy_files(bundle, made, [ADAPTER_FILE])
    (made / ADAPTER_CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def vllm_config(bundle: Path, label: str) -> tuple[dict[str, object], int]:
    """What vLLM shall read as configuration of a bundle, and its rank.

    Raises:
        IntegrityError: vLLM would refuse the adapter, or leave out what matters.
    """
    config, tensors = lora_config(bundle), lora_layout(bundle)
    used = [name for name in _NOT_IN_VLLM if config.get(name)]
    if used or config.get("bias", "none") != "none":
        raise IntegrityError(
            f"vLLM cannot serve {label} as it was trained: it uses {', '.join(used) or 'biases'}.",
            advice="Train plain LoRA for it, or export it merged.",
        )
    sides: dict[str, dict[str, int]] = {}
    for name, shape in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or len(shape) != 2:
            raise IntegrityError(
                f"{ADAPTER_FILE} holds {name[:120]}, which vLLM does not know as a LoRA matrix."
            )
        sides.setdefault(match["module"], {})[match["side"]] = shape[0 if match["side"] == "A" else 1]
    rank = int(config["r"])
    if wrong := sorted(module for module, ranks in sides.items() if ranks != {"A": rank, "B": rank}):
        raise IntegrityError(f"The LoRA matrices of {wrong[0][:120]} are not a pair of rank {rank}.")
    if not sides or rank > _RANKS[-1]:
        raise IntegrityError(
            f"vLLM takes ranks of 1 to {_RANKS[-1]} on at least one module; this has {rank}."
        )
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.get("base_model_name_or_path"),
        "r": rank,
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": 0.0,
        "use_rslora": bool(config.get("use_rslora")),
        "target_modules": sorted({module.rpartition(".")[2] for module in sides}),
        "bias": "none",
        "modules_to_save": None,
        "inference_mode": True,
    }
    return written, rank


_WRITERS: dict[Form, Callable[[AdapterVersion, Manifest, "Settings", Path], _Writer]] = {
    Form.BUNDLE: _as_bundle,
    Form.MERGED: _as_merged,
    Form.VLLM: _as_vllm,
}


def _check_place(folder: Path, *, force: bool) -> bool:
    """Whether an earlier export is to be replaced."""
    if not folder.name or folder.name == "..":
        raise InvalidInputError(f"{folder} is no name for a new folder.")
    if not folder.is_symlink() and not folder.exists():
        return False
    if not force:
        raise _taken(folder)
    earlier = any((folder / name).is_file() for name in (ADAPTER_CONFIG_FILE, "config.json"))
    if folder.is_symlink() or not folder.is_dir() or not (earlier or not any(folder.iterdir())):
        raise RefusedError(
            f"{folder} is no earlier export, and is not replaced.", advice="Name another folder."
        )
    return True


def _taken(folder: Path) -> RefusedError:
    return RefusedError(
        f"{folder} is there already.", advice="Name another folder, or replace an export with --force."
    )

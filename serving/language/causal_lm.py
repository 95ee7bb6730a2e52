"""Loads a causal language model and its tokenizer from a folder, with a LoRA adapter merged into it.

Local files only, safetensors only, and no code of a model folder is run. Every weight must be there: the
libraries only warn about missing ones and go on with random numbers. The base in memory belongs to the
engine that asked for it, so merging touches nobody else's.
"""

import copy
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from serving.errors import IntegrityError, MissingError
from serving.language.quiet import quiet_transformers
from serving.language.tool_format import CALLS, CONTROLS, PROMPT_CONTROLS

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_SPACE = "▁"
"""How SentencePiece vocabularies write a space."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class CausalLm:
    """A loaded model with what generation needs to know of its tokenizer.

    Attributes:
        model: a transformers model in eval mode, on its device.
        tokenizer: a transformers tokenizer; never reconfigured after loading, so threads may share it.
        name: folder name, and the adapter's.
        context: longest sequence in tokens, prompt and answer together.
        templated: whether prompts are written by the tokenizer's chat template, not by our v3 format.
        controls: id by control token of the instruct format; empty where the tokenizer has none.
        prefix: put before each text of a prompt in the v3 format, where the tokenizer does not itself begin
            a text with the space that Mistral's SentencePiece encoder gives it.
        reserved: texts that the tokenizer takes for special tokens.
        stop_ids: tokens that end an answer.
    """

    model: Any
    tokenizer: Any
    name: str
    context: int
    templated: bool
    controls: dict[str, int]
    prefix: str
    reserved: tuple[str, ...]
    stop_ids: tuple[int, ...]

    @property
    def calls_id(self) -> int | None:
        """The token that begins tool calls, if the tokenizer has one."""
        return self.controls.get(CALLS)


def load_causal_lm(folder: Path, adapter: Path | None = None, *, four_bit: bool = False) -> CausalLm:
    """Load a model folder.

    Args:
        folder: config.json, *.safetensors and a tokenizer, as transformers saves them.
        adapter: a folder with a PEFT LoRA adapter for that base.
        four_bit: NF4 with bitsandbytes; the adapter then stays beside the base, because merging into four
            bits would round it away.

    Raises:
        MissingError: a folder, a file, a package or the GPU is not there.
        IntegrityError: weights are missing, broken or do not fit each other.
    """
    _require(folder, "config.json", "the language model", "VOICEBOT_LOCAL_LLM")
    if adapter is not None:
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            _require(adapter, name, "the adapter", "VOICEBOT_LOCAL_LLM_ADAPTER")
    options = _four_bit_options() if four_bit else _plain_options()
    with quiet_transformers():
        tokenizer = _load_tokenizer(folder)
        model, stops = _load_model(folder, options)
        _check_vocabulary(model, tokenizer, folder)
        if adapter is not None:
            model = _with_adapter(model, adapter, merge=not four_bit)
    model.eval()
    model.requires_grad_(requires_grad=False)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    controls = {token: vocabulary[token] for token in CONTROLS if token in vocabulary}
    stop_ids = {*stops, tokenizer.eos_token_id, *(controls.get(token) for token in PROMPT_CONTROLS)}
    templated = bool(tokenizer.chat_template)
    if not templated:
        _require_instruct_format(tokenizer, controls, folder)
        # Set once: per call it would change a tokenizer that other threads are using.
        tokenizer.split_special_tokens = True
    return CausalLm(
        model=model,
        tokenizer=tokenizer,
        name=folder.name + (f" + {adapter.name}" if adapter is not None else ""),
        context=int(getattr(model.config, "max_position_embeddings", None) or 4_096),
        templated=templated,
        controls=controls,
        prefix=_text_prefix(tokenizer),
        reserved=_reserved(tokenizer),
        stop_ids=tuple(sorted(token for token in stop_ids if token is not None)),
    )


def with_adapter(lm: CausalLm, adapter: Path, name: str) -> CausalLm:
    """The same model with a LoRA adapter beside its weights, which both share and neither changes.

    Only the adapter takes memory, so several of one base may answer at a time. Not merged, an answer takes a
    little longer (docs/evaluation.md has the figures).

    Args:
        lm: a model that was loaded without an adapter.
        adapter: a folder with a PEFT LoRA adapter for it.
        name: what the result is called.

    Raises:
        MissingError: a file is not there.
        IntegrityError: weights are missing, not finite, or do not fit.
    """
    for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        _require(adapter, file, "the adapter", "VOICEBOT_DIALOGUE_ADAPTER")
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*lm.model.parameters(), *lm.model.buffers())}
    with quiet_transformers():
        model = _with_adapter(copy.deepcopy(lm.model, shared), adapter, merge=False).get_base_model()
    model.eval()
    model.requires_grad_(requires_grad=False)
    return replace(lm, model=model, name=name)


def precision_of(lm: CausalLm) -> str:
    """In what the base's weights are held: `float32`, `bfloat16` or `nf4`."""
    if getattr(lm.model, "is_loaded_in_4bit", False):
        return "nf4"
    return str(lm.model.get_input_embeddings().weight.dtype).removeprefix("torch.")


def _plain_options() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return {"dtype": "auto", "device_map": {"": 0}}
    return {"dtype": torch.float32}  # measured: bfloat16 is slower on a CPU


def _four_bit_options() -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise MissingError(
            "Four-bit loading needs a CUDA GPU, and none is here; on a CPU it is slower and silently worse.",
            advice="Unset VOICEBOT_LOCAL_LLM_4BIT, or run on a machine with a GPU.",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingError(
            "Four-bit loading needs the package bitsandbytes, which is not installed.",
            advice="Install voicebot with the extra `quantized`, or unset VOICEBOT_LOCAL_LLM_4BIT.",
        )
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantization, "device_map": {"": 0}}


def _load_model(folder: Path, options: dict[str, Any]) -> tuple[Any, list[int]]:
    """The model, and the tokens that its generation settings name as ends."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    model, info = _loaded(
        "the language model",
        folder,
        lambda: AutoModelForCausalLM.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        ),
    )
    unfilled = [str(key) for key in (*info["missing_keys"], *info.get("mismatched_keys", ()))]
    if unfilled:
        raise _unusable("the language model", folder, f"{len(unfilled)} weights are missing: {unfilled[0]} …")
    ends = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig()  # a folder's sampling settings would change our answers
    return model, ends if isinstance(ends, list) else [ends]


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = _loaded(
        "the tokenizer",
        folder,
        lambda: AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False),
    )
    if not tokenizer.get_vocab():
        raise _unusable("the tokenizer", folder, "it has no vocabulary")
    return tokenizer


def _with_adapter(model: Any, adapter: Path, *, merge: bool) -> Any:
    """The model with a LoRA adapter, every tensor of which was there, fitted and was finite."""
    from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    config = _loaded("the adapter", adapter, lambda: PeftConfig.from_pretrained(str(adapter)))
    if not isinstance(config, LoraConfig) or config.megatron_config:
        raise _unusable("the adapter", adapter, "it is no plain LoRA adapter")
    # Some start values (PiSSA, OLoRA) rewrite the base; all values come from the file anyway.
    config.init_lora_weights = True
    config.inference_mode = True
    tensors = _read_tensors(adapter)
    adapted = _loaded("the adapter", adapter, lambda: PeftModel(model, config))
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _check_tensors(tensors, {name: tuple(tensor.shape) for name, tensor in expected.items()}, adapter)
    set_peft_model_state_dict(adapted, tensors)
    merged: Any = adapted.merge_and_unload() if merge else adapted
    return merged


def _read_tensors(adapter: Path) -> dict[str, "Tensor"]:
    import torch
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = _loaded("the adapter", adapter, lambda: load_file(adapter / ADAPTER_WEIGHTS))
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _unusable("the adapter", adapter, f"the weights {name[:120]} are not finite")
    return tensors


def _check_tensors(found: dict[str, "Tensor"], expected: dict[str, tuple[int, ...]], adapter: Path) -> None:
    if missing := sorted(expected.keys() - found.keys()):
        raise _unusable("the adapter", adapter, f"{len(missing)} weights are missing: {missing[0]} …")
    if unexpected := sorted(found.keys() - expected.keys()):
        first = unexpected[0][:120]
        raise _unusable("the adapter", adapter, f"{len(unexpected)} weights are unexpected: {first} …")
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise _unusable("the adapter", adapter, f"{name} has another shape than this base wants")


def _check_vocabulary(model: Any, tokenizer: Any, folder: Path) -> None:
    rows, largest = model.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise _unusable(
            "the tokenizer", folder, f"it has tokens up to {largest}, the model only {rows} embeddings"
        )


def _require_instruct_format(tokenizer: Any, controls: dict[str, int], folder: Path) -> None:
    missing = [token for token in CONTROLS if token not in controls]
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        missing.append("begin or end of sequence")
    if missing:
        raise _unusable(
            "the tokenizer", folder, f"it has no chat template, and no {missing[0]} for Mistral's format"
        )


def _text_prefix(tokenizer: Any) -> str:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode("a", add_special_tokens=False))
    return " " if _SPACE in tokenizer.get_vocab() and not "".join(tokens).startswith(_SPACE) else ""


def _reserved(tokenizer: Any) -> tuple[str, ...]:
    added: Iterable[Any] = tokenizer.added_tokens_decoder.values()
    special = {str(token.content) for token in added if token.special} | set(tokenizer.all_special_tokens)
    return tuple(sorted(special, key=len, reverse=True))


def _require(folder: Path, name: str, what: str, setting: str) -> None:
    if not (folder / name).is_file():
        raise MissingError(
            f"{folder} holds no {name}, so {what} cannot be loaded.",
            advice=f"Set {setting} to a folder on this machine; nothing is downloaded from a hub.",
        )


def _loaded(what: str, folder: Path, load: Callable[[], _T]) -> _T:
    """The result of a library's loader, its exceptions translated."""
    try:
        return load()
    except ImportError as error:
        raise MissingError(
            f"{what.capitalize()} in {folder} needs a package that is not installed: {_first_line(error)}",
            advice="Install that package.",
        ) from error
    except Exception as error:  # loaders raise whatever their file formats raise
        if "sentencepiece" in str(error).lower() and importlib.util.find_spec("sentencepiece") is None:
            raise MissingError(
                f"{what.capitalize()} in {folder} is a SentencePiece file; sentencepiece is not installed.",
                advice="Install the package sentencepiece, or save the tokenizer as tokenizer.json.",
            ) from error
        raise _unusable(what, folder, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200] if text else 'no message'}"


def _unusable(what: str, folder: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"{what.capitalize()} in {folder} cannot be used: {why}.",
        advice="Copy or train it again; it must be complete and fit the model beside it.",
    )

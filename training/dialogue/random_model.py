"""Mistral-family models of random weights, made on the spot: to prove the trainer and to measure it.

They know nothing, so what is learned on them is worth nothing; speed, memory and adapter size are those of a
real model of the same shape. The tokenizer is made from the dialogues unless a real one is given.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError, MissingError
from serving.language.quiet import quiet_transformers
from serving.language.tool_format import CONTROLS

SHAPES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {
        "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 2_048, "initializer_range": 0.1,
    },
    "mistral-7b": {
        "hidden_size": 4_096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 32_768,
    },
}  # fmt: skip
"""Shapes by name; the second is that of Mistral-7B-v0.3. LoRA can only turn the last hidden state, so the
small one has an output layer of some size, or there would be nothing to learn on."""
CONTEXT = 32_768
_BEGIN, _END, _UNKNOWN = "<s>", "</s>", "<unk>"


def make_random_model(
    folder: Path, shape: str, texts: Iterable[str], *, tokenizer: Path | None = None, seed: int = 0
) -> Path:
    """Save a model folder as transformers does.

    Args:
        folder: where; made.
        shape: one of `SHAPES`. The large one is made on the GPU and saved in bfloat16 (14.5 GB).
        texts: what a byte-level tokenizer is made from.
        tokenizer: a SentencePiece file of Mistral's to use instead.
        seed: of the weights.

    Raises:
        InvalidInputError: no such shape.
        MissingError: the large shape without a GPU, or no such tokenizer file.
    """
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    if shape not in SHAPES:
        raise InvalidInputError(f"There is no shape {shape!r}; there are {', '.join(SHAPES)}.")
    large = SHAPES[shape]["hidden_size"] >= 1_024
    if large and not torch.cuda.is_available():
        raise MissingError(f"{shape} needs a CUDA GPU, and none is here.", advice="Use --shape tiny.")
    folder.mkdir(parents=True, exist_ok=True)
    size = SHAPES[shape]["vocab_size"]
    begin, end = _save_tokenizer(folder, texts, size, tokenizer)
    sizes: dict[str, Any] = dict(SHAPES[shape])
    if tokenizer is not None:
        sizes["vocab_size"] = max(size, 32_768)
    config = MistralConfig(
        **sizes,
        max_position_embeddings=CONTEXT,
        sliding_window=None,
        tie_word_embeddings=False,
        rope_theta=1_000_000.0,
        bos_token_id=begin,
        eos_token_id=end,
    )
    with torch.random.fork_rng(), torch.device("cuda" if large else "cpu"):
        torch.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16 if large else torch.float32)
        try:
            model = MistralForCausalLM(config)
        finally:
            torch.set_default_dtype(before)
    with quiet_transformers():
        model.save_pretrained(folder)
    return folder


def _save_tokenizer(folder: Path, texts: Iterable[str], size: int, file: Path | None) -> tuple[int, int]:
    """Save a tokenizer beside the model; its begin and end of sequence."""
    if file is not None:
        if not file.is_file():
            raise MissingError(f"There is no tokenizer {file}.", advice="Name Mistral's tokenizer.model.")
        shutil.copyfile(file, folder / "tokenizer.model")
        return 1, 2
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = [_UNKNOWN, _BEGIN, _END, *CONTROLS]
    backend = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=_BEGIN, eos_token=_END, unk_token=_UNKNOWN, pad_token=_END
    )
    made.save_pretrained(folder)
    return int(made.bos_token_id), int(made.eos_token_id)

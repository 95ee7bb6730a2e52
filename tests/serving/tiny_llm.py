"""Real Mistral models, small enough to make in a moment, that say what a test wants.

`follow` builds a `MistralForCausalLM` whose attention and feed-forward outputs are zero, so the next token
depends on the last one only, by a table written into its output layer. A phrase that it must say is one
token of its tokenizer. Everything around it (loading, prompt, generation, adapter) is the real thing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<s>", "</s>"
CONTROLS = (
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
)
CONTEXT = 8_192
_CERTAIN = 50.0


def tokenizer(
    phrases: Sequence[str] = (), *, template: str | None = None, controls: Sequence[str] = CONTROLS
) -> Any:
    """A byte-level tokenizer with Mistral's control tokens and one token for each phrase."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<unk>", BEGIN, END, *controls]
    vocabulary = {token: place for place, token in enumerate([*specials, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BEGIN, eos_token=END, unk_token="<unk>", pad_token=END
    )
    made.chat_template = template
    return made


def follow(folder: Path, table: Mapping[str, str], *, context: int = CONTEXT, **options: Any) -> Path:
    """Save a model that says `table[token]` after each token, and ends after tokens without an entry."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    known = {BEGIN, END, "<unk>", *CONTROLS}
    phrases = [
        token for token in dict.fromkeys([*table, *table.values()]) if token not in known and len(token) > 1
    ]
    words = tokenizer(phrases, **options)
    ids = words.get_vocab()
    size = max(ids.values()) + 1
    width = size + size % 2
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=size,
            hidden_size=width,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=context,
            sliding_window=None,
            tie_word_embeddings=False,
            bos_token_id=ids[BEGIN],
            eos_token_id=ids[END],
        )
    )
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, width))
        model.lm_head.weight.zero_()
        model.lm_head.weight[ids[END]] = _CERTAIN / 10
        for token, following in table.items():
            model.lm_head.weight[ids[following], ids[token]] = _CERTAIN
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def adapter(folder: Path, base: Path, changes: Mapping[str, str]) -> Path:
    """Save a PEFT LoRA adapter that makes the model of `base` say other tokens after some."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(str(base)).get_vocab()
    model = AutoModelForCausalLM.from_pretrained(str(base))
    adapted = get_peft_model(
        model, LoraConfig(r=len(changes), lora_alpha=len(changes), target_modules=["lm_head", "q_proj"])
    )
    head = adapted.base_model.model.lm_head
    with torch.no_grad():
        head.lora_A["default"].weight.zero_()
        head.lora_B["default"].weight.zero_()
        for place, (token, following) in enumerate(changes.items()):
            head.lora_A["default"].weight[place, ids[token]] = 1.0
            head.lora_B["default"].weight[ids[following], place] = 3 * _CERTAIN
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder

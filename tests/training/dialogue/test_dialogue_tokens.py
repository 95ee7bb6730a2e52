"""Which tokens a dialogue adapter learns, under Mistral's real tokenizer and under a chat template."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from evaluation.dialogues import Dialogue, load_dialogues
from serving.errors import EngineError, IntegrityError
from serving.language.causal_lm import CausalLm, load_causal_lm
from serving.language.prompt_tokens import answer_ids, prompt_ids
from serving.language.protocols import Message
from serving.language.tool_format import answer_pieces
from tests.serving import tiny_llm
from training.dialogue.desk import ToolDesk
from training.dialogue.network import TARGETS, batch_of, check_gradients, with_lora
from training.dialogue.random_model import make_random_model
from training.dialogue.rendering import Example, render

SHARED = Path(os.environ.get("VOICEBOT_SHARED_DATA", "../shared/data")) / "mistral_tokenizer"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.role == 'assistant' and m.tool_calls %}[TOOL_CALLS]{{ m.tool_calls | tojson }}{{ eos_token }}"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def dialogues(data_dir: Path) -> tuple[Dialogue, ...]:
    return load_dialogues(data_dir / "tool_calls" / "dialogues.jsonl", "validate")[::9]


@pytest.mark.shared_data
def test_under_mistral_s_tokenizer_the_learned_tokens_are_the_assistant_s_and_its_ends(
    dialogues: tuple[Dialogue, ...], data_dir: Path, tmp_path: Path
) -> None:
    if not SHARED.is_dir():
        pytest.skip("Mistral's tokenizer is not beside the checkout (VOICEBOT_SHARED_DATA)")
    pytest.importorskip("sentencepiece")
    folder = make_random_model(tmp_path / "genuine", "tiny", (), tokenizer=SHARED / "tokenizer.model.v3")
    lm = load_causal_lm(folder)
    with ToolDesk(data_dir) as desk:
        tools = {name: desk.schemas(name) for name in ("bank", "customer")}
    for dialogue in dialogues:
        spoken = [message for message in dialogue.messages if message.role == "assistant"]
        for example in render(lm, [dialogue], tools, 8_192).examples:
            ids = [token for token, learned in zip(example.ids, example.learned, strict=True) if learned]
            while ids:
                end = ids.index(lm.tokenizer.eos_token_id)
                turn, ids = ids[:end], ids[end + 1 :]
                message = spoken.pop(0)
                pieces = list(answer_pieces(message.content, message.tool_calls))[:-1]
                assert (turn[0] == lm.calls_id) is bool(message.tool_calls)
                words = lm.tokenizer.decode(turn[1:] if message.tool_calls else turn)
                assert words.strip() == pieces[-1].text.strip()
        assert spoken == []


def templated(tmp_path: Path, template: str) -> CausalLm:
    return load_causal_lm(tiny_llm.follow(tmp_path / "templated", {"a": "b"}, template=template))


def test_a_chat_template_s_answer_follows_its_own_prompt(
    dialogues: tuple[Dialogue, ...], tmp_path: Path
) -> None:
    lm = templated(tmp_path, TEMPLATE)
    dialogue = next(row for row in dialogues if row.messages[1].tool_calls)
    example = render(lm, [replace(dialogue, knowledge=())], {dialogue.tools: ()}, 9_000).examples[0]
    first = example.learned.index(True)
    learned = [token for token, flag in zip(example.ids, example.learned, strict=True) if flag]
    assert lm.tokenizer.decode(example.ids[:first]).endswith("[/INST]")
    assert lm.calls_id in learned
    assert learned[-1] == lm.tokenizer.eos_token_id


def test_a_template_without_an_end_gets_one_and_one_that_rewrites_is_refused(tmp_path: Path) -> None:
    asked, answer = (Message("user", "hi"),), Message("assistant", "Hello.")
    endless = templated(tmp_path / "a", "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}")
    assert answer_ids(endless, asked, (), answer)[-1] in endless.stop_ids
    changing = templated(
        tmp_path / "b", "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    assert prompt_ids(changing, asked, ())
    with pytest.raises(EngineError, match="changes what it wrote"):
        answer_ids(changing, asked, (), answer)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_four_bit_layers_that_answered_on_a_cpu_are_never_trained(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = make_random_model(tmp_path / "tiny", "tiny", ["hello there"])
    lm = load_causal_lm(folder)
    batch = batch_of([Example(tuple(range(20, 32)), (*[False] * 6, *[True] * 6))])
    quantised = AutoModelForCausalLM.from_pretrained(
        str(folder),
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        dtype=torch.float32,
    )
    quantised.requires_grad_(requires_grad=False)
    with torch.inference_mode():
        quantised.eval()(input_ids=batch.ids)
    states = [getattr(getattr(m, "weight", None), "quant_state", None) for m in quantised.modules()]
    packed = any(getattr(state, "packing_format_for_cpu", False) for state in states)
    if not packed:
        pytest.skip("this CPU does not repack quantised layers")
    model = with_lora(
        replace(lm, model=quantised), 4, 8.0, four_bit=False, checkpointing=False, targets=TARGETS
    )
    with pytest.raises(IntegrityError, match="get no gradient"):
        check_gradients(model, batch)

"""Dialogue adapters on a tiny random Mistral: what is learned, what is refused, and what serving loads."""

import json
import math
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluation.dialogue_engine import answer_of
from evaluation.dialogues import Dialogue, load_dialogues
from serving.adapters.manifest import Kind
from serving.errors import IntegrityError, InvalidInputError, MissingError, UnavailableError
from serving.language.causal_lm import CausalLm, load_causal_lm, precision_of
from serving.language.local_llm import LocalLlm
from serving.language.prompt import messages_for
from serving.language.protocols import LlmRequest, Message, ToolSchema
from serving.language.tool_format import answer_pieces
from training.checkpoint import ForeignCheckpointError
from training.dialogue.bundle import write_dialogue_bundle
from training.dialogue.config import DialogueConfig
from training.dialogue.network import IGNORED, batch_of, check_gradients, loss_sum, with_lora
from training.dialogue.random_model import make_random_model
from training.dialogue.rendering import Rendered, exchanges, packs, render
from training.dialogue.trainer import train_dialogue
from training.outcome import DivergedError, Progress

TOOL = ToolSchema(
    "calculate_payment",
    "Monthly payment.",
    {"type": "object", "properties": {"principal": {"type": "number"}}},
)
TOOLS = {"bank": (TOOL,), "customer": ()}
CONFIG = DialogueConfig(
    rank=8, alpha=16, learning_rate=1e-2, epochs=3, packs=1, max_length=1_024, patience=0, checkpoint_steps=2
)


@pytest.fixture(scope="module")
def dialogues(data_dir: Path) -> tuple[Dialogue, ...]:
    rows = load_dialogues(data_dir / "tool_calls" / "dialogues.jsonl", "train")
    chosen = [
        row for row in rows if row.situation in {"quote_given_rate", "greeting", "injection", "faq_none"}
    ]
    return tuple(chosen[:30])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, dialogues: tuple[Dialogue, ...]) -> Path:
    texts = [message.content for row in dialogues for message in row.messages]
    texts += [row.system() for row in dialogues[:1]]
    return make_random_model(tmp_path_factory.mktemp("base") / "tiny", "tiny", texts)


@pytest.fixture
def lm(base: Path) -> CausalLm:
    return load_causal_lm(base)


@pytest.fixture(scope="module")
def rendered(base: Path, dialogues: tuple[Dialogue, ...]) -> Rendered:
    return render(load_causal_lm(base), dialogues, TOOLS, CONFIG.max_length)


def learned_runs(example: Any) -> list[list[int]]:
    """The stretches of tokens that are learned."""
    runs: list[list[int]] = []
    before = False
    for token, learned in zip(example.ids, example.learned, strict=True):
        if learned and not before:
            runs.append([])
        if learned:
            runs[-1].append(token)
        before = learned
    return runs


def test_what_is_learned_is_what_the_assistant_wrote_with_its_end_and_nothing_else(
    lm: CausalLm, dialogues: tuple[Dialogue, ...]
) -> None:
    for dialogue in dialogues:
        found = render(lm, [dialogue], TOOLS, 4_096).examples
        runs = [run for example in found for run in learned_runs(example)]
        spoken = [message for message in dialogue.messages if message.role == "assistant"]
        assert len(found) == len(exchanges(dialogue.messages))
        assert len(runs) == len(spoken)
        for run, message in zip(runs, spoken, strict=True):
            pieces = list(answer_pieces(message.content, message.tool_calls))
            text = "".join(piece.text for piece in pieces[:-1])
            assert run[-1] == lm.tokenizer.eos_token_id
            assert lm.tokenizer.decode(run[:-1]) == text


def test_the_prompt_before_an_answer_is_serving_s_own(
    base: Path, lm: CausalLm, dialogues: tuple[Dialogue, ...]
) -> None:
    dialogue = dialogues[0]
    example = render(lm, [dialogue], TOOLS, 4_096).examples[0]
    first = example.learned.index(True)
    request = LlmRequest((Message("system", dialogue.system()), *dialogue.messages[:1]), (), (TOOL,))
    engine = LocalLlm(base)
    assert list(example.ids[:first]) == engine.prompt_ids(messages_for(request), (TOOL,))


def test_a_turn_too_long_loses_its_oldest_exchanges_and_never_half_a_call(
    lm: CausalLm, dialogues: tuple[Dialogue, ...]
) -> None:
    long = replace(dialogues[0], messages=dialogues[0].messages * 4)
    whole = render(lm, [long], TOOLS, 10_000)
    limit = len(whole.examples[0]) + 10
    cut = render(lm, [long], TOOLS, limit)
    assert (cut.shortened, cut.left_out) == (3, 0)
    assert [learned_runs(example) for example in cut.examples] == [
        learned_runs(example) for example in whole.examples
    ]
    assert all(len(example) <= limit for example in cut.examples)
    with pytest.raises(InvalidInputError, match="fits into 40 tokens"):
        render(lm, [long], TOOLS, 40)


def test_every_example_is_packed_once_and_no_pack_is_too_long(rendered: Rendered) -> None:
    found = packs(rendered.examples, CONFIG.max_length)
    assert sorted(place for pack in found for place in pack) == list(range(len(rendered.examples)))
    assert all(sum(len(rendered.examples[p]) for p in pack) <= CONFIG.max_length for pack in found)
    assert len(found) < len(rendered.examples)


def test_a_packed_example_has_the_loss_that_it_has_alone(lm: CausalLm, rendered: Rendered) -> None:
    model = with_lora(lm, 4, 8.0, four_bit=False, checkpointing=False, targets=CONFIG.targets)
    some = rendered.examples[:3]
    with torch.no_grad():
        alone = [float(loss_sum(model, batch_of([example]))) for example in some]
        together = float(loss_sum(model, batch_of(some)))
    assert together == pytest.approx(sum(alone), rel=1e-5)
    targets = batch_of(some).targets[0]
    assert int((targets != IGNORED).sum()) == sum(sum(example.learned) for example in some)


def test_thirty_dialogues_are_learned_saved_and_change_what_serving_answers(
    base: Path, lm: CausalLm, rendered: Rendered, dialogues: tuple[Dialogue, ...], tmp_path: Path
) -> None:
    told: list[Progress] = []
    trained = train_dialogue(lm, rendered, None, CONFIG, on_progress=told.append)
    assert trained.losses[-1] < 0.75 * trained.losses[0]
    assert len(told) == len(trained.losses)
    assert trained.base_before == trained.base_after
    assert trained.tokens_per_second > 0
    folder = tmp_path / "adapter"
    manifest = write_dialogue_bundle(folder, trained, rendered, lm.name)
    assert manifest.provenance.kind is Kind.DIALOGUE
    assert str(base) not in (folder / "adapter_config.json").read_text(encoding="utf-8")
    request = LlmRequest(dialogues[0].messages[:1], (), (TOOL,), max_tokens=8)
    before = answer_of(LocalLlm(base), request)
    after = answer_of(LocalLlm(base, folder), request)
    assert before != after
    loaded = load_causal_lm(base, folder)
    batch = batch_of(rendered.examples[:1])
    with torch.inference_mode():
        difference = float(loss_sum(loaded.model, batch)) - float(loss_sum(trained.model, batch))
    assert abs(difference) < 1e-2
    with pytest.raises(InvalidInputError, match="exists already"):
        write_dialogue_bundle(folder, trained, rendered, lm.name)


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_with_the_same_losses(base: Path, rendered: Rendered, tmp_path: Path) -> None:
    few = replace(rendered, examples=rendered.examples[:6])
    config = replace(CONFIG, epochs=2, max_length=1_024, learning_rate=3e-3)
    whole = train_dialogue(load_causal_lm(base), few, few, config)

    def kill(progress: Progress) -> None:
        if progress.step == 3:
            raise KilledError

    path = tmp_path / "run.ckpt"
    with pytest.raises(KilledError):
        train_dialogue(load_causal_lm(base), few, few, config, checkpoint=path, on_progress=kill)
    resumed = train_dialogue(load_causal_lm(base), few, few, config, checkpoint=path)
    assert resumed.resumed_at == 2
    assert resumed.losses == pytest.approx(whole.losses, abs=1e-5)
    assert resumed.best_epoch == whole.best_epoch
    with pytest.raises(ForeignCheckpointError, match="config"):
        train_dialogue(load_causal_lm(base), few, few, replace(config, seed=1), checkpoint=path)


def test_checkpointed_activations_change_no_gradient(base: Path, rendered: Rendered) -> None:
    few = replace(rendered, examples=rendered.examples[:2])
    config = replace(CONFIG, epochs=1, max_length=1_024)
    plain = train_dialogue(load_causal_lm(base), few, None, config)
    saving = train_dialogue(load_causal_lm(base), few, None, replace(config, checkpointing=True))
    assert saving.losses == pytest.approx(plain.losses, abs=1e-5)


def break_chain(lm: CausalLm) -> None:
    """As quantised layers do after inference on a CPU: the input of the second block gets no gradient."""
    lm.model.model.layers[1].register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(), *inputs[1:]))


def test_training_is_refused_where_a_layer_gets_no_gradient(lm: CausalLm, rendered: Rendered) -> None:
    model = with_lora(lm, 4, 8.0, four_bit=False, checkpointing=False, targets=CONFIG.targets)
    check_gradients(model, batch_of(rendered.examples[:1]))
    assert all(tensor.grad is None for tensor in model.parameters())
    break_chain(lm)
    with pytest.raises(IntegrityError, match=r"7 of 14 adapted layers get no gradient, .*layers\.0"):
        check_gradients(model, batch_of(rendered.examples[:1]))


def test_the_trainer_looks_before_its_first_step(lm: CausalLm, rendered: Rendered) -> None:
    break_chain(lm)
    with pytest.raises(IntegrityError, match="no gradient"):
        train_dialogue(lm, rendered, None, CONFIG)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_four_bits_are_refused_without_a_gpu(base: Path, lm: CausalLm, rendered: Rendered) -> None:
    with pytest.raises(MissingError, match="CUDA GPU"):
        load_causal_lm(base, four_bit=True)
    with pytest.raises(InvalidInputError, match="four_bit"):
        train_dialogue(lm, rendered, None, replace(CONFIG, four_bit=True))
    with pytest.raises(MissingError, match="tiny"):
        make_random_model(base.parent / "large", "mistral-7b", [])


def test_a_number_that_is_not_finite_ends_the_run(lm: CausalLm, rendered: Rendered) -> None:
    def spoil(progress: Progress) -> None:
        with torch.no_grad():
            lm.model.lm_head.weight.fill_(float("nan"))

    with pytest.raises(DivergedError, match="step 2"):
        train_dialogue(lm, rendered, None, CONFIG, on_progress=spoil)


@pytest.fixture(scope="module")
def few(rendered: Rendered) -> Rendered:
    """Six examples: two steps an epoch in `TROUBLED`."""
    return replace(rendered, examples=rendered.examples[:6])


TROUBLED = replace(CONFIG, epochs=2, packs=3, checkpoint_steps=1)


@pytest.mark.parametrize(
    ("after", "told", "kept"), [(3, "epoch 2, step 2", 3), (2, "validation loss became nan after epoch 1", 1)]
)
def test_training_that_diverges_keeps_the_last_good_checkpoint_which_a_sound_run_takes_up(
    base: Path, few: Rendered, tmp_path: Path, after: int, told: str, kept: int
) -> None:
    file, lm, heard = tmp_path / "run.ckpt", load_causal_lm(base), list[float]()

    def spoil(progress: Progress) -> None:
        heard.append(progress.loss)
        if progress.step == after:
            with torch.no_grad():
                lm.model.lm_head.weight.fill_(float("nan"))

    with pytest.raises(DivergedError, match=told):
        train_dialogue(lm, few, few, TROUBLED, checkpoint=file, on_progress=spoil)
    saved = torch.load(file, weights_only=True)["state"]
    assert json.loads(saved["position"])["losses"] == heard[:kept]
    assert all(bool(tensor.isfinite().all()) for tensor in saved["weights"].values())
    resumed = train_dialogue(load_causal_lm(base), few, few, TROUBLED, checkpoint=file)
    assert resumed.resumed_at == kept
    assert len(resumed.losses) == 4
    assert all(math.isfinite(loss) for loss in resumed.losses)


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_one_before_to_go_on_from(
    base: Path, few: Rendered, tmp_path: Path
) -> None:
    file, before = tmp_path / "run.ckpt", list[bytes]()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress: Progress) -> None:
        if progress.step == 2:  # no file grows any more, as on a full disk
            before.append(file.read_bytes())
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))

    try:
        with pytest.raises(UnavailableError, match="could not be written"):
            train_dialogue(load_causal_lm(base), few, few, TROUBLED, checkpoint=file, on_progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before[0]
    assert list(tmp_path.iterdir()) == [file]
    assert train_dialogue(load_causal_lm(base), few, few, TROUBLED, checkpoint=file).resumed_at == 1


def test_a_validation_loss_that_rises_stops_the_run_and_the_best_epoch_is_kept(
    lm: CausalLm, few: Rendered
) -> None:
    other = next(token for token in range(3, 10_000) if not any(token in e.ids for e in few.examples))
    contrary = tuple(
        replace(e, ids=tuple(other if yes else token for token, yes in zip(e.ids, e.learned, strict=True)))
        for e in few.examples[:2]
    )  # answers of a token that is never right: the more is learned, the less likely they are
    held_out = replace(few, examples=contrary)
    trained = train_dialogue(lm, few, held_out, replace(TROUBLED, epochs=6, patience=1))
    first, second = (row.validation_loss for row in trained.log)
    assert first is not None
    assert second is not None
    assert second > first
    assert trained.best_epoch == 1
    with torch.no_grad():
        kept = sum(float(loss_sum(trained.model, batch_of([e]))) for e in contrary)
    assert kept / sum(batch_of([e]).learned for e in contrary) == pytest.approx(first, rel=1e-5)


def test_a_base_in_bfloat16_is_trained_with_finite_losses_and_weights_in_float32(
    lm: CausalLm, few: Rendered
) -> None:
    lm.model.to(torch.bfloat16)  # as a GPU loads it
    trained = train_dialogue(lm, few, None, replace(TROUBLED, epochs=3))
    assert precision_of(lm) == "bfloat16"
    assert all(math.isfinite(loss) for loss in trained.losses)
    assert trained.losses[-1] < trained.losses[0]
    assert trained.base_before == trained.base_after
    adapted = [t for name, t in trained.model.named_parameters() if ".lora_" in name]
    assert {tensor.dtype for tensor in adapted} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in adapted)


def test_layers_that_a_model_does_not_have_are_refused(lm: CausalLm) -> None:
    with pytest.raises(IntegrityError, match="LoRA does not fit"):
        with_lora(lm, 4, 8.0, four_bit=False, checkpointing=False, targets=("no_such_layer",))


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"max_length": 1},
        {"targets": ()},
    ],
)
def test_an_impossible_recipe_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        replace(CONFIG, **change)


def test_the_recipe_is_json() -> None:
    assert json.loads(json.dumps(CONFIG.to_dict())) == CONFIG.to_dict()

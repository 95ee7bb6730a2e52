"""Dialogues as training examples: the tokens that serving would prompt with, and which of them are learned.

One example is one turn of the caller with all that the assistant does about it. Mistral's format writes tools
and rules beside the caller's *last* message, so a dialogue of three turns is three prompts in serving, and
three examples here: each token of the assistant is learned once, behind the very prompt that it will follow.
Nothing is ever cut: what is too long loses its oldest exchanges, as in serving, and is left out where that
is not enough.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.dialogues import Dialogue
from serving.errors import EngineError, InvalidInputError
from serving.language.causal_lm import CausalLm
from serving.language.prompt import messages_for, without_oldest
from serving.language.prompt_tokens import answer_ids, prompt_ids
from serving.language.protocols import LlmRequest, Message, ToolSchema


@dataclass(frozen=True, slots=True)
class Example:
    """One turn of a caller and what the assistant does about it.

    Attributes:
        ids: tokens.
        learned: which of them the assistant wrote, its ends of sequence included; as long as `ids`.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.learned) or not any(self.learned) or self.learned[0]:
            raise InvalidInputError("An example needs a prompt and something that is learned behind it.")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Rendered:
    """All examples of a set of dialogues.

    Attributes:
        shortened: examples that lost their oldest exchanges.
        left_out: turns that are too long even so.
    """

    examples: tuple[Example, ...]
    shortened: int
    left_out: int

    @property
    def sha256(self) -> str:
        """Identity of what is trained on: every token, and whether it is learned."""
        rows = [(example.ids, example.learned) for example in self.examples]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def render(
    lm: CausalLm, dialogues: Iterable[Dialogue], tools: dict[str, tuple[ToolSchema, ...]], max_length: int
) -> Rendered:
    """Every turn of every dialogue.

    Args:
        lm: the model whose tokens are wanted.
        dialogues: any of them.
        tools: schemas by tool set.
        max_length: most tokens of an example.

    Raises:
        EngineError: the model's chat template does not take these dialogues.
        InvalidInputError: nothing fits into `max_length`.
    """
    examples: list[Example] = []
    shortened = left_out = 0
    for dialogue in dialogues:
        for start, end in exchanges(dialogue.messages):
            before, rest = _prompt(dialogue, start), dialogue.messages[start + 1 : end]
            example = example_of(lm, before, rest, tools[dialogue.tools])
            cut = False
            while len(example) > max_length and (before := without_oldest(before)):
                example, cut = example_of(lm, before, rest, tools[dialogue.tools]), True
            if len(example) > max_length:
                left_out += 1
                continue
            examples.append(example)
            shortened += cut
    if not examples:
        raise InvalidInputError(
            f"No turn of these dialogues fits into {max_length} tokens.", advice="Raise --max-length."
        )
    return Rendered(tuple(examples), shortened, left_out)


def exchanges(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """Where each turn of the caller begins, and where the assistant has done with it."""
    starts = [place for place, message in enumerate(messages) if message.role == "user"]
    return list(zip(starts, [*starts[1:], len(messages)], strict=True))


def example_of(
    lm: CausalLm, before: Sequence[Message], rest: Sequence[Message], tools: Sequence[ToolSchema]
) -> Example:
    """One example; `before` ends with the caller's words, `rest` is what follows up to the next ones.

    Raises:
        EngineError: the prompt of a later step does not go on from the earlier one.
    """
    ids: list[int] = []
    learned: list[bool] = []
    messages = list(before)
    for message in rest:
        if message.role == "assistant":
            prompt = prompt_ids(lm, messages, tools)
            if prompt[: len(ids)] != ids:
                raise EngineError("The model's format changes earlier tokens when a result is added.")
            learned += [False] * (len(prompt) - len(ids))
            answer = answer_ids(lm, messages, tools, message)
            ids = [*prompt, *answer]
            learned += [True] * len(answer)
        messages.append(message)
    return Example(tuple(ids), tuple(learned))


def packs(examples: Sequence[Example], max_length: int) -> list[list[int]]:
    """Positions of examples that share a sequence: first fit, longest first; none is split.

    Attention never crosses from one example to another (see `batches`): packing saves padding and changes
    no loss.
    """
    order = sorted(range(len(examples)), key=lambda place: (-len(examples[place]), place))
    found: list[list[int]] = []
    room: list[int] = []
    for place in order:
        size = len(examples[place])
        at = next((at for at, left in enumerate(room) if size <= left), None)
        if at is None:
            found.append([place])
            room.append(max_length - size)
        else:
            found[at].append(place)
            room[at] -= size
    return found


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """Order of the packs in an epoch."""
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return order


def _prompt(dialogue: Dialogue, place: int) -> tuple[Message, ...]:
    """What serving puts to a language model at a turn: rules, approved answers, the dialogue up to it."""
    system = Message("system", dialogue.system())
    request = LlmRequest((system, *dialogue.messages[: place + 1]), (), knowledge=dialogue.knowledge)
    return messages_for(request)

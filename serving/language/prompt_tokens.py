"""A dialogue as the tokens that a local model is given, an answer as those that it would have written.

The engine prompts with these, and dialogue adapters are trained on them, so that a model is asked in the very
tokens that it learned. Content can never become a control token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from serving.errors import EngineError
from serving.language.causal_lm import CausalLm
from serving.language.protocols import Message, ToolSchema
from serving.language.tool_format import (
    BEGIN,
    END,
    Piece,
    answer_pieces,
    neutral,
    prompt_pieces,
    wire_messages,
    wire_tools,
)


def prompt_ids(lm: CausalLm, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> list[int]:
    """The tokens that a dialogue is put to the model as; the assistant is next.

    Raises:
        EngineError: the model's chat template does not take such a dialogue.
    """
    if lm.templated:
        return _encoded(lm, _templated(lm, messages, tools, answered=False))
    return _piece_ids(lm, prompt_pieces(messages, tools))


def answer_ids(
    lm: CausalLm, messages: Sequence[Message], tools: Sequence[ToolSchema], answer: Message
) -> list[int]:
    """The tokens of the assistant's next message, up to and with the token that ends it.

    Args:
        lm: the model.
        messages: what it answers.
        tools: those on offer.
        answer: words or calls.

    Raises:
        EngineError: the model's chat template does not take such a dialogue, or writes it anew when an
            answer is added.
    """
    if not lm.templated:
        return _piece_ids(lm, answer_pieces(answer.content, answer.tool_calls))
    prompt = _templated(lm, messages, tools, answered=False)
    whole = _templated(lm, (*messages, answer), tools, answered=True)
    if not whole.startswith(prompt):
        error = EngineError(
            "The model's chat template changes what it wrote before when an answer is added.",
            advice="Use a model whose template only appends, such as Mistral's own.",
        )
        error.retryable = False
        raise error
    ids = _encoded(lm, whole[len(prompt) :])
    end = lm.tokenizer.eos_token_id
    return ids if ids and ids[-1] in lm.stop_ids else [*ids, end]


def _piece_ids(lm: CausalLm, pieces: Iterable[Piece]) -> list[int]:
    ids: list[int] = []
    ends = {BEGIN: lm.tokenizer.bos_token_id, END: lm.tokenizer.eos_token_id}
    for piece in pieces:
        if piece.control:
            ids.append(ends[piece] if piece in ends else lm.controls[piece.text])
        else:
            ids.extend(_encoded(lm, lm.prefix + piece.text))
    return ids


def _encoded(lm: CausalLm, text: str) -> list[int]:
    return list(lm.tokenizer.encode(text, add_special_tokens=False))


def _templated(
    lm: CausalLm, messages: Sequence[Message], tools: Sequence[ToolSchema], *, answered: bool
) -> str:
    """The dialogue in the words of the tokenizer's template; no content can spell a control token."""
    from jinja2 import TemplateError

    safe = [replace(message, content=neutral(message.content, lm.reserved)) for message in messages]
    try:
        text: str = lm.tokenizer.apply_chat_template(
            wire_messages(safe, arguments_as_text=False),
            tools=wire_tools(tools) or None,
            tokenize=False,
            add_generation_prompt=not answered,
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        failure = EngineError(
            f"The model's chat template does not take this dialogue ({type(error).__name__}).",
            advice="Use an instruct model whose template knows system messages and tools.",
        )
    else:
        return text
    failure.retryable = False
    raise failure

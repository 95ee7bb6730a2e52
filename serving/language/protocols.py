"""What embedders, intent taggers and answering engines promise.

An answering engine (`Llm`) may be a language model or the embedded responder; either gets redacted
text with placeholders and yields text or tool calls. Tool arguments may hold placeholders, which the
tool executor resolves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from serving.speech.protocols import EngineInfo
from serving.spoken.values import TypedValue

Embeddings = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Sentences to unit vectors."""

    dimension: int
    fingerprint: str
    """Changes with weights, backend, precision or pooling; part of the cache scope."""

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Float32 array of shape (len(texts), dimension), rows of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class IntentTag:
    """The tagger's opinion on one text.

    Attributes:
        label: best intent, also where `in_scope` is false.
        probability: softmax of the best label, 0 to 1.
        energy: logsumexp of the logits; low values mean "like nothing in training".
        in_scope: energy above the adapter's calibrated threshold and label not out_of_scope.
        version: which adapter answered: `banking-lora/3`, or `baseline` for the frozen head.
        runners_up: next best labels with their probabilities, best first.
    """

    label: str
    probability: float
    energy: float
    in_scope: bool
    version: str
    runners_up: tuple[tuple[str, float], ...] = ()


class IntentTagger(Protocol):
    """Text to intent; immutable, so that a reference read once answers with one version only."""

    version: str
    labels: tuple[str, ...]

    def tag(self, text: str) -> IntentTag:
        """Tag one text."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A function that an engine may call: name, purpose, JSON schema (draft 2020-12) of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an engine asks for. `id` is nine letters or digits (Mistral's rule)."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one generation, where the engine counts them."""

    prompt_tokens: int
    completion_tokens: int


LlmEvent = TextDelta | ToolCall | Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the dialogue that an engine continues.

    Attributes:
        role: who speaks; `tool` carries a result and `tool_call_id`.
        content: redacted text; for `tool` the result as JSON.
        tool_calls: calls that an assistant message made.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class UserTurn:
    """What is known of a caller's turn besides its text; a language model may ignore it.

    Attributes:
        text: redacted text.
        tag: intent.
        values: typed values; personal ones hold their placeholder (`<card>`) as value.
        facets: what its words express, by facet (see `serving.language.lexicon`).
        task: the tool intent that the turn belongs to: its own, or the one that the bot had asked
            about; empty for other turns.
    """

    text: str
    tag: IntentTag
    values: tuple[TypedValue, ...]
    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task: str = ""


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """All that an engine needs to go on with a dialogue.

    Attributes:
        messages: the dialogue so far, then this turn and its tool results; an engine that needs a system
            prompt puts its own before them (`serving.language.prompt`).
        turns: the caller's turns of this call in order, the present one last.
        tools: tools that may be called now.
        knowledge: approved answer texts for this turn, best first; an engine answers from these only.
        max_tokens: upper bound of the generation.
    """

    messages: tuple[Message, ...]
    turns: tuple[UserTurn, ...]
    tools: tuple[ToolSchema, ...] = ()
    knowledge: tuple[str, ...] = ()
    max_tokens: int = 256


@runtime_checkable
class Closing(Protocol):
    """An engine that holds connections open."""

    def close(self) -> None:
        """Close them; the engine cannot be used afterwards."""
        ...


class Llm(Protocol):
    """An answering engine."""

    info: EngineInfo

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """Continue the dialogue; tool calls arrive whole, text arrives in pieces.

        Raises:
            UnavailableError: the service does not answer (after retries) or timed out.
            EngineError: the engine answered something that is no answer.
        """
        ...

"""Turns the bytes of a streamed chat completion into pieces of text, whole tool calls and token counts.

Pure: bytes go in, events come out, in whatever pieces the network cut them. It reads the stream itself,
because servers that speak Mistral's wire format (vLLM for one) send a tool call in fragments of which only
the first is named, and the SDK's own reader refuses those. It trusts nothing: sizes are bounded, and what
is no answer is an error without a word of the answer in it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.errors import EngineError, UnavailableError
from serving.language.protocols import LlmEvent, Message, TextDelta, ToolCall, Usage
from serving.language.tool_format import new_call, parse_arguments

_DONE = "[DONE]"
_BYTES_PER_TOKEN = 4_096
"""An event of the stream carries one token and a few hundred bytes of JSON around it."""
_BYTES_AT_LEAST = 65_536
_CHARACTERS_PER_TOKEN = 32
_MAX_TOOL_CALLS = 16


class IncompleteAnswerError(UnavailableError):
    """The stream ended before the answer did."""


@dataclass(slots=True)
class _Fragments:
    """A tool call while its pieces arrive."""

    id: object = None
    name: str = ""
    text: str = ""
    arguments: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Answer:
    """What has arrived of an answer."""

    limit: int
    calls: dict[int, _Fragments] = field(default_factory=dict)
    characters: int = 0
    finish: str = ""
    usage: Usage | None = None

    def take(self, chunk: Mapping[str, Any]) -> Iterator[TextDelta]:
        """Take one chunk of the stream and yield the text in it."""
        if "error" in chunk:
            raise EngineError("The language model's server reported an error in the middle of its answer.")
        self.usage = _usage(chunk.get("usage")) or self.usage
        for choice in _mappings(chunk.get("choices"))[:1]:
            delta = choice.get("delta")
            if isinstance(delta, Mapping):
                if text := _text(delta.get("content")):
                    self.count(len(text))
                    yield TextDelta(text)
                for call in _mappings(delta.get("tool_calls")):
                    self._take_call(call)
            if choice.get("finish_reason"):
                self.finish = str(choice["finish_reason"])

    def tool_calls(self, messages: Sequence[Message]) -> list[ToolCall]:
        """The assembled tool calls, in the order of their index."""
        taken: set[str] = set()
        calls = []
        for index in sorted(self.calls):
            parts = self.calls[index]
            given = parts.arguments if parts.arguments is not None else parts.text
            calls.append(new_call(parts.id, parts.name, parse_arguments(given), messages, taken))
        return calls

    def _take_call(self, call: Mapping[str, Any]) -> None:
        function = call.get("function")
        if not isinstance(function, Mapping):
            return
        identifier = call.get("id") if call.get("id") not in (None, "", "null") else None
        parts = self.calls.setdefault(self._place(call.get("index"), identifier), _Fragments())
        parts.id = parts.id or identifier
        if isinstance(name := function.get("name"), str) and not parts.name:
            parts.name = name
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            parts.text += arguments
            self.count(len(arguments))
        elif isinstance(arguments, Mapping):
            parts.arguments = arguments

    def _place(self, index: object, identifier: object) -> int:
        """Which call a fragment belongs to: its index, unless a new id says that another call begins."""
        place = index if isinstance(index, int) else 0
        known = self.calls.get(place)
        if known and identifier and known.id and known.id != identifier:
            same = [number for number, parts in self.calls.items() if parts.id == identifier]
            place = same[0] if same else max(self.calls) + 1
        if place not in range(_MAX_TOOL_CALLS):
            raise EngineError(f"The engine asked for more than {_MAX_TOOL_CALLS} tool calls at once.")
        return place

    def count(self, characters: int) -> None:
        """Note what has arrived, and stop an answer without end."""
        self.characters += characters
        if self.characters > self.limit:
            raise EngineError("The language model's answer is longer than it was allowed to be.")


def answer_events(
    pieces: Iterable[bytes], messages: Sequence[Message], *, max_tokens: int
) -> Iterator[LlmEvent]:
    """The events of one answer: text as it arrives, then the tool calls, then the usage.

    Args:
        pieces: body of the response (server-sent events), cut anywhere.
        messages: what is being answered; ids of new tool calls avoid theirs.
        max_tokens: what the server was asked to keep to; a stream of many times that size is cut off.

    Raises:
        IncompleteAnswerError: the body ended before the answer did.
        EngineError: the stream is no chat completion, is far too long, or holds a broken tool call.
    """
    answer = _Answer(limit=max(max_tokens, 1) * _CHARACTERS_PER_TOKEN)
    done = False
    for data in _sse_data(pieces, limit=_BYTES_AT_LEAST + max_tokens * _BYTES_PER_TOKEN):
        if data == _DONE:
            done = True
            break
        yield from answer.take(_chunk(data))
    if answer.finish == "error":
        raise EngineError("The language model's server gave up in the middle of its answer.")
    if not answer.finish and not (done and (answer.characters or answer.calls)):
        raise IncompleteAnswerError("The connection to the language model broke before its answer was whole.")
    if not answer.characters and not answer.calls:
        raise EngineError("The language model gave an empty answer.")
    yield from answer.tool_calls(messages)
    if answer.usage:
        yield answer.usage


def _sse_data(pieces: Iterable[bytes], *, limit: int) -> Iterator[str]:
    """The text of each `data:` line; a line that the end of the body cuts off is dropped."""
    buffer, total = bytearray(), 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise EngineError("The language model's answer is longer than it was allowed to be.")
        buffer += piece
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end]).decode("utf-8", "replace").strip()
            del buffer[: end + 1]
            if line.startswith("data:"):
                yield line.removeprefix("data:").strip()


def _chunk(data: str) -> Mapping[str, Any]:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, Mapping):
        raise EngineError("The language model's server sent something that is no chat completion.")
    return chunk


def _text(content: object) -> str:
    """Text of a delta: a string, or a list of parts of which only the spoken text counts."""
    if isinstance(content, str):
        text = content
    else:
        parts = [part.get("text") for part in _mappings(content) if part.get("type", "text") == "text"]
        text = "".join(part for part in parts if isinstance(part, str))
    return text.encode("utf-8", "replace").decode("utf-8")


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
    return Usage(prompt, completion)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []

"""Messages, tools and tool calls as Mistral's wire format and Mistral's instruct format (v3) write them.

Training data, the API client and the local model share this one home of the format. Nothing here is
lenient: a tool call with broken arguments or without its result is an error, never a guess.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from serving.errors import EngineError
from serving.language.protocols import Message, ToolCall, ToolSchema

CALL_ID_PATTERN = re.compile(r"[a-zA-Z0-9]{9}")
"""Mistral refuses any other id of a tool call."""
_ID_LENGTH = 9
_ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

INST, END_INST = "[INST]", "[/INST]"
TOOLS, END_TOOLS = "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"
RESULTS, END_RESULTS = "[TOOL_RESULTS]", "[/TOOL_RESULTS]"
CALLS = "[TOOL_CALLS]"
CONTROLS = (INST, END_INST, TOOLS, END_TOOLS, RESULTS, END_RESULTS, CALLS)
"""Control tokens of the instruct format v3, beside the tokenizer's own begin and end."""
PROMPT_CONTROLS = (INST, END_INST, TOOLS, END_TOOLS, RESULTS, END_RESULTS)
"""Those that only a prompt may hold; a model that writes one has finished its turn."""

_NAMED_CALL = re.compile(
    r"(?P<name>[^\[\]{}]+?)(?:\[CALL_ID\](?P<id>[^\[]*))?\[ARGS\](?P<arguments>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt: text, or one control token (which text can never become)."""

    text: str
    control: bool = False


BEGIN, END = Piece("<begin>", control=True), Piece("<end>", control=True)
"""Begin and end of sequence, whatever the tokenizer calls them."""


def call_id(given: object, salt: str, taken: Collection[str]) -> str:
    """An id of nine letters or digits: the given one where it is valid and free, else one made from it.

    Args:
        given: what the engine sent.
        salt: tells apart calls without an id of their own; the same salt makes the same id again.
        taken: ids that this dialogue already uses.
    """
    if isinstance(given, str) and CALL_ID_PATTERN.fullmatch(given) and given not in taken:
        return given
    for attempt in range(1_000):
        digest = hashlib.sha256(json.dumps([str(given), salt, attempt]).encode()).digest()
        made = "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in digest[:_ID_LENGTH])
        if made not in taken:
            return made
    raise EngineError("No free id for a tool call was found.")


def new_call(
    given: object, name: object, arguments: Mapping[str, Any], messages: Sequence[Message], taken: set[str]
) -> ToolCall:
    """A tool call of the answer to `messages`, with an id that is valid and new; `taken` learns it.

    Raises:
        EngineError: the call names no tool.
    """
    if not isinstance(name, str) or not name.strip():
        raise EngineError("The engine asked for a tool without naming it.")
    used = taken | {call.id for message in messages for call in message.tool_calls}
    identifier = call_id(given, f"{len(messages)}/{len(taken)}/{name}", used)
    taken.add(identifier)
    return ToolCall(identifier, name.strip(), arguments)


def parse_arguments(value: object) -> dict[str, Any]:
    """Arguments of a tool call, given as a JSON object or as text that holds one.

    Raises:
        EngineError: anything else. The text is not repeated; it may hold what the caller said.
    """
    try:
        parsed = _strict_json(value) if isinstance(value, str) else value
        if isinstance(parsed, dict):
            json.dumps(
                parsed, allow_nan=False, ensure_ascii=False
            ).encode()  # refuses 1e999 and half characters
            return {str(name): item for name, item in parsed.items()}
    except (ValueError, TypeError, RecursionError):
        pass
    raise EngineError(
        "The engine asked for a tool with arguments that are no JSON object.",
        advice="Ask again; if it happens often, choose a model that was trained for function calling.",
    )


def check_pairing(messages: Sequence[Message]) -> None:
    """Make sure that each tool call has exactly its results after it, and that there is something to answer.

    Raises:
        EngineError: an id is not nine letters or digits, a result is missing, foreign or out of place, or
            the last message is not the caller's or a tool's.
    """
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                raise _broken("a tool result belongs to no call before it")
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            raise _broken("a tool call has no result")
        waiting = [call.id for call in message.tool_calls]
        if message.tool_calls and message.role != "assistant":
            raise _broken("only the assistant may call tools")
        if len(set(waiting)) < len(waiting) or not all(map(CALL_ID_PATTERN.fullmatch, waiting)):
            raise _broken("ids of tool calls must be unique, of nine letters or digits")
    if waiting:
        raise _broken("a tool call has no result")
    if not messages or messages[-1].role not in ("user", "tool"):
        raise _broken("the last message must be the caller's or a tool's result")


def wire_messages(messages: Iterable[Message], *, arguments_as_text: bool = True) -> list[dict[str, Any]]:
    """Messages in the shape of the chat API; chat templates want arguments as objects, not as text."""
    return [_wire_message(message, arguments_as_text) for message in messages]


def wire_tools(tools: Iterable[ToolSchema]) -> list[dict[str, Any]]:
    """Tools in the shape of the chat API."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def prompt_pieces(messages: Sequence[Message], tools: Sequence[ToolSchema]) -> Iterator[Piece]:
    """A dialogue in the instruct format v3.

    As Mistral's reference does it: the tools and the system text stand with the caller's last message,
    a call is a JSON list of name, arguments and id, a result a JSON object of content and call_id.
    """
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    dialogue = [message for message in messages if message.role != "system"]
    last = max((place for place, message in enumerate(dialogue) if message.role == "user"), default=-1)
    yield BEGIN
    for place, message in enumerate(dialogue):
        if message.role == "user":
            if place == last and tools:
                yield from _enclosed(TOOLS, _json(wire_tools(tools)), END_TOOLS)
            text = f"{system}\n\n{message.content}" if place == last and system else message.content
            yield from _enclosed(INST, text, END_INST)
        elif message.role == "tool":
            result = {"content": _content_of(message), "call_id": message.tool_call_id}
            yield from _enclosed(RESULTS, _json(result), END_RESULTS)
        else:
            yield from answer_pieces(message.content, message.tool_calls)


def answer_pieces(content: str, calls: Sequence[ToolCall]) -> Iterator[Piece]:
    """An assistant's message as the model itself would have written it: words or calls, never both."""
    if content and not calls:
        yield Piece(content.rstrip(" "))
    if calls:
        listed = [{"name": call.name, "arguments": dict(call.arguments), "id": call.id} for call in calls]
        yield Piece(CALLS, control=True)
        yield Piece(_json(listed))
    yield END


def parse_calls(segments: Sequence[str], messages: Sequence[Message]) -> list[ToolCall]:
    """Tool calls that a model wrote after its `[TOOL_CALLS]` token.

    Args:
        segments: text after each such token: a JSON list of calls (v3), or one call as
            `name[CALL_ID]id[ARGS]{…}` (v11 and later, the id being optional).
        messages: what the model was answering.

    Raises:
        EngineError: the text is neither.
    """
    taken: set[str] = set()
    calls = []
    for segment in segments:
        for given, name, arguments in _written_calls(segment.strip()):
            calls.append(new_call(given, name, parse_arguments(arguments), messages, taken))
    return calls


def neutral(text: str, controls: Iterable[str]) -> str:
    """A text in which no control token is spelled out: `[INST]` becomes `[ INST]`."""
    for control in controls:
        if len(control) > 1 and control in text:
            text = text.replace(control, f"{control[0]} {control[1:]}")
    return text


def _written_calls(text: str) -> Iterator[tuple[object, object, object]]:
    if named := _NAMED_CALL.fullmatch(text):
        yield named["id"], named["name"], named["arguments"]
        return
    try:
        listed = _strict_json(text)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise EngineError(
            "The model began a tool call and did not finish it as valid JSON.",
            advice="Ask again; if it happens often, the model or its adapter was not trained for tool calls.",
        )
    for item in listed:
        yield item.get("id"), item.get("name"), item.get("arguments")


def _wire_message(message: Message, arguments_as_text: bool) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        wire |= {"tool_call_id": message.tool_call_id, "name": message.name}
    if message.tool_calls:
        wire["content"] = ""  # servers and templates of the v3 format refuse words beside calls
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": _json(dict(call.arguments)) if arguments_as_text else dict(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return wire


def _content_of(message: Message) -> Any:
    try:
        return _strict_json(message.content)
    except (ValueError, RecursionError):
        return message.content


def _enclosed(opening: str, text: str, closing: str) -> Iterator[Piece]:
    yield Piece(opening, control=True)
    yield Piece(text)
    yield Piece(closing, control=True)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain_number)


def _plain_number(value: object) -> Any:
    """Amounts are decimals inside the program and JSON numbers for a model."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _strict_json(text: str) -> Any:
    """JSON without Python's extension of NaN and infinities."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _broken(why: str) -> EngineError:
    error = EngineError(f"The dialogue cannot be sent to a language model: {why}.")
    error.retryable = False
    return error

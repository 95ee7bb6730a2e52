"""Dialogues with tool calls (data/tool_calls): what a row is, and how it is read and put to an engine.

A row holds the dialogue as an engine sees it, redacted, with the results that the tools really gave. The
system prompt is not part of it: it is serving's own, added when a row is put to an engine. Nothing here
executes a tool.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from serving.errors import InvalidInputError
from serving.language.prompt import system_prompt
from serving.language.protocols import Message, ToolCall
from serving.language.tool_format import check_pairing
from serving.plain import plain

BANK = "Harbour Bank"
"""The bank that all dialogues are held at."""
SPLITS = ("train", "validate", "test")
TOOL_SETS = ("bank", "customer")
_ROLES = frozenset({"user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One dialogue.

    Attributes:
        situation: what happens in it; each has its own written phrasings.
        tools: which tools are offered: `bank` (loans, wordings) or `customer` (accounts of a caller).
        day: the bank's day; rates and due dates follow from it.
        verified: the caller's identity is known before the first word.
        customer: number of the sandbox bank's customer who calls; empty in dialogues of the bank's tools.
        knowledge: approved answers that the engine is given.
        placeholders: what the caller's placeholders stand for (synthetic), so that calls can be executed.
        messages: caller, assistant and tools, from the caller's first words to the assistant's last.
    """

    id: str
    split: str
    situation: str
    tools: str
    day: date
    messages: tuple[Message, ...]
    verified: bool = False
    customer: str = ""
    knowledge: tuple[str, ...] = ()
    placeholders: Mapping[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> tuple[int, ...]:
        """Places of the assistant's messages."""
        return tuple(at for at, message in enumerate(self.messages) if message.role == "assistant")

    def system(self) -> str:
        """The agent's rules, and for a customer's own matters what else of this call decides the answer.

        Serving offers no engine the customer's tools today, so only these rows have lines of their own.
        """
        rules = system_prompt(BANK).rstrip("\n")
        if self.tools == "bank":
            return rules
        known = "has been verified" if self.verified else "has not been verified"
        today = f"{self.day:%A}, {self.day:%B} {self.day.day}, {self.day.year}"
        return (
            f"{rules}\n\nThis call\n- Today is {today}. The caller {known}.\n"
            "- Read back what you are about to change, and change it only when the caller has agreed to that."
        )


def read_dialogues(path: Path) -> tuple[tuple[Dialogue, ...], tuple[str, ...]]:
    """The rows of a file that are dialogues, and what is wrong with every other one.

    Raises:
        InvalidInputError: the file is absent or cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"Dialogues {path} cannot be read: {error}.", advice="`voicebot build-dialogues` writes them."
        ) from error
    found, problems = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found.append(_dialogue(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                problems.append(f"{path.name}, line {number}: no dialogue ({error!r})")
            except InvalidInputError as error:
                problems.append(f"{path.name}, line {number}: {error.message}")
    return tuple(found), tuple(problems)


def load_dialogues(path: Path, split: str | None = None) -> tuple[Dialogue, ...]:
    """Read a file, all of it or one split.

    Raises:
        InvalidInputError: it cannot be read, a row is no dialogue, or there is none.
    """
    found, problems = read_dialogues(path)
    if problems:
        raise InvalidInputError(problems[0])
    kept = tuple(dialogue for dialogue in found if split in {None, dialogue.split})
    if not kept:
        raise InvalidInputError(f"{path} holds no dialogue{f' of split {split!r}' if split else ''}.")
    return kept


def written(dialogues: Iterable[Dialogue]) -> str:
    """The file's text: one JSON object a line."""
    return "".join(json.dumps(_row(item), ensure_ascii=False) + "\n" for item in dialogues)


def json_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call as a language model writes them: amounts are JSON numbers."""

    def number(value: Any) -> Any:
        if isinstance(value, Decimal):
            return int(value) if value == value.to_integral_value() else float(value)
        return [number(item) for item in value] if isinstance(value, list | tuple) else plain(value)

    return {name: number(value) for name, value in arguments.items()}


def _row(dialogue: Dialogue) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": dialogue.id,
        "split": dialogue.split,
        "situation": dialogue.situation,
        "tools": dialogue.tools,
        "day": dialogue.day.isoformat(),
    }
    if dialogue.tools == "customer":
        row |= {"verified": dialogue.verified, "customer": dialogue.customer}
    if dialogue.knowledge:
        row["knowledge"] = list(dialogue.knowledge)
    if dialogue.placeholders:
        row["placeholders"] = dict(dialogue.placeholders)
    row["messages"] = [_message_row(message) for message in dialogue.messages]
    return row


def _message_row(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {"role": message.role}
    if message.role == "tool":
        row |= {"name": message.name, "tool_call_id": message.tool_call_id}
    if message.tool_calls:
        row["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
            for call in message.tool_calls
        ]
    if message.content or not message.tool_calls:
        row["content"] = message.content
    return row


def _dialogue(row: Mapping[str, Any]) -> Dialogue:
    texts = {name: row[name] for name in ("id", "split", "situation", "tools")}
    if not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise InvalidInputError("id, split, situation and tools must be text.")
    if texts["split"] not in SPLITS or texts["tools"] not in TOOL_SETS:
        raise InvalidInputError(f"split {texts['split']!r} or tools {texts['tools']!r} is unknown.")
    dialogue = Dialogue(
        **texts,
        day=date.fromisoformat(row["day"]),
        messages=tuple(_message(item) for item in row["messages"]),
        verified=bool(row.get("verified", False)),
        customer=str(row.get("customer", "")),
        knowledge=tuple(str(text) for text in row.get("knowledge", ())),
        placeholders={str(k): str(v) for k, v in row.get("placeholders", {}).items()},
    )
    _check_order(dialogue.messages)
    return dialogue


def _message(item: Mapping[str, Any]) -> Message:
    if item["role"] not in _ROLES:
        raise InvalidInputError(f"the role {item['role']!r} is unknown.")
    calls = tuple(
        ToolCall(str(call["id"]), str(call["name"]), dict(call["arguments"]))
        for call in item.get("tool_calls", ())
    )
    content = item.get("content", "")
    if not isinstance(content, str) or not (content.strip() or calls):
        raise InvalidInputError("a message has neither words nor calls.")
    return Message(item["role"], content, calls, str(item.get("tool_call_id", "")), str(item.get("name", "")))


def _check_order(messages: Sequence[Message]) -> None:
    """A caller begins, the assistant ends, and every call has its result."""
    if len(messages) < 2 or messages[0].role != "user" or messages[-1].role != "assistant":
        raise InvalidInputError("a dialogue begins with the caller and ends with the assistant.")
    if messages[-1].tool_calls:
        raise InvalidInputError("the last call has no result.")
    try:
        check_pairing(messages[:-1])
    except Exception as error:
        raise InvalidInputError(str(error)) from error

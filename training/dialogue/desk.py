"""The real tools, for composing and checking dialogues: a result in the data is one that they gave.

Bank tools run on the project's rate sheet and wordings, customer tools on a fresh sandbox bank for each
dialogue, so that a card blocked in one is whole in the next. Every call goes through serving's executor,
which refuses numbers that nobody said and writes that nobody confirmed.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self, cast

from evaluation.dialogues import BANK, Dialogue
from serving.language.knowledge import Knowledge, load_knowledge
from serving.language.lexicon import Lexicon, load_lexicon
from serving.language.protocols import Message, ToolCall, ToolSchema
from serving.spoken.values import TypedValue
from serving.tools.bank import bank_tools
from serving.tools.compliance import load_compliance
from serving.tools.core_banking import CoreBanking
from serving.tools.customer_tools import customer_tools
from serving.tools.executor import ToolExecutor
from serving.tools.grounding import grounds
from serving.tools.protocols import Effect, Tool, ToolContext, ToolResult
from serving.tools.rates import RateSheet, load_rates
from serving.tools.sandbox_bank import SEED, SandboxBank
from serving.tools.sandbox_people import SyntheticCustomer, synthetic_customers

CUSTOMERS = 60
"""People of the sandbox who call in dialogues."""
JURISDICTION = "US"
_TIMEOUT_S = 10.0


@dataclass(slots=True)
class OpenDialogue:
    """A dialogue in progress, seen from the tools.

    Attributes:
        placeholders: what stands for what so far; tools add theirs.
        values: what the caller said.
        results: what the tools gave.
        customer: the bank's id of the verified caller; empty before.
    """

    executor: ToolExecutor
    call_id: str
    placeholders: dict[str, str] = field(default_factory=dict)
    values: list[TypedValue] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)
    customer: str = ""
    turn: int = 0

    def execute(self, call: ToolCall, *, confirmed: bool) -> ToolResult:
        """Run a call as a call's responder would; its result is known from here on."""
        context = ToolContext(
            call_id=self.call_id,
            turn=self.turn,
            confirming_turn=self.turn if confirmed else None,
            placeholders=dict(self.placeholders),
            grounds=grounds(self.values, self.results),
            customer=self.customer,
        )
        result = self.executor.execute(call, context)
        self.placeholders |= result.hidden
        if result.ok:
            self.results.append(result.value)
            if result.value.get("verified"):
                self.customer = self.placeholders[str(result.value["customer"])]
        return result


class _Bank:
    """The sandbox of the dialogue that is open now, behind tools that are made once."""

    now: SandboxBank

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


class ToolDesk:
    """Opens dialogues over one data folder, one at a time.

    Args:
        data: the project's data folder.

    Raises:
        InvalidInputError: rates, wordings, knowledge or lexicon cannot be used.
    """

    def __init__(self, data: Path) -> None:
        self.rates: RateSheet = load_rates(data / "knowledge" / "rates.yaml")
        texts = load_compliance(data / "compliance")
        self.knowledge: Knowledge = load_knowledge(data / "knowledge" / "answers.yaml")
        self.lexicon: Lexicon = load_lexicon(data / "lexicons" / "signature.yaml")
        self.people: tuple[SyntheticCustomer, ...] = synthetic_customers(SEED, CUSTOMERS)
        self._folder = tempfile.TemporaryDirectory(prefix="voicebot-dialogues-")
        self._day, self._opened = date.min, 0
        self._bank = _Bank()
        self._banks: dict[date, tuple[SandboxBank, Path, bytes]] = {}
        self._ids: dict[str, str] = {}
        sets: Mapping[str, Sequence[Tool]] = {
            "bank": bank_tools(
                self.rates, texts, bank_name=BANK, jurisdiction=JURISDICTION, today=lambda: self._day
            ),
            "customer": customer_tools(cast("CoreBanking", self._bank)),
        }
        self._tools = {
            name: tuple(sorted(tools, key=lambda tool: tool.schema.name)) for name, tools in sets.items()
        }
        self._executors = {name: ToolExecutor(tools, timeout_s=_TIMEOUT_S) for name, tools in sets.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors.values():
            executor.close()
        self._folder.cleanup()

    def open(self, tools: str, day: date, customer: str = "", *, verified: bool = False) -> OpenDialogue:
        """The tools of one dialogue; the one before is over.

        Args:
            tools: `bank` or `customer`.
            day: the bank's day.
            customer: the sandbox number of who calls.
            verified: who calls is known from the start.
        """
        self._day = day
        self._opened += 1
        if tools == "customer":
            self._fresh(day)
        known = self._id(customer) if verified else ""
        return OpenDialogue(self._executors[tools], f"dialogue-{self._opened}", customer=known)

    def schemas(self, tools: str) -> tuple[ToolSchema, ...]:
        """Schemas of a tool set, by name."""
        return tuple(tool.schema for tool in self._tools[tools])

    def writes(self, tools: str) -> frozenset[str]:
        """Names of the tools that change something."""
        return frozenset(tool.schema.name for tool in self._tools[tools] if tool.effect is Effect.WRITE)

    def _fresh(self, day: date) -> None:
        """Put a sandbox of that day in place in which nobody has changed anything."""
        if day not in self._banks:
            path = Path(self._folder.name) / f"{day.isoformat()}.db"
            bank = SandboxBank(path, today=lambda: day, customers=CUSTOMERS)
            self._banks[day] = bank, path, path.read_bytes()
        self._bank.now, path, content = self._banks[day]
        path.write_bytes(content)

    def _id(self, number: str) -> str:
        """The bank's id of a customer, asked for once: the bank audits every verification."""
        if number not in self._ids:
            births = {person.number: person.birth_date for person in self.people}
            self._ids[number] = self._bank.now.verify(number, births[number]) if number in births else ""
        return self._ids[number]


def result_message(call: ToolCall, result: ToolResult) -> Message:
    """The message that tells an engine what came of a call, as a call writes it."""
    content = json.dumps(dict(result.value) if result.ok else {"error": result.error})
    return Message("tool", content, tool_call_id=call.id, name=call.name)


def results_before(dialogue: Dialogue, place: int) -> tuple[Mapping[str, Any], ...]:
    """What the tools had given before a message."""
    messages = dialogue.messages[:place]
    found = (json.loads(message.content) for message in messages if message.role == "tool")
    return tuple(result for result in found if "error" not in result)

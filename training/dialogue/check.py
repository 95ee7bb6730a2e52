"""Judges dialogues with tool calls before anything is trained on them (`voicebot check-data`).

A dialogue is sound where every call fits its schema, rests on what the caller said and gave the very result
that stands in the row, where writes follow a caller's answer to what was read back, and where no number in
the agent's words came from nowhere. Across dialogues, no phrasing stands in two splits.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path

from evaluation.dialogues import Dialogue, read_dialogues
from evaluation.tool_calls import AssistantTurn, Given, invented_numbers, is_valid
from serving.call.script import load_script
from serving.language.protocols import Message, ToolCall
from serving.spoken import PLACEHOLDER, Kind, TypedValue, parse
from serving.telemetry.redaction import contains_personal
from training.data import comparable
from training.dialogue.desk import OpenDialogue, ToolDesk, result_message, results_before
from training.dialogue.phrasings import load_phrasings

DIALOGUES_FILE = "dialogues.jsonl"
PHRASINGS_FOLDER = "phrasings"
DIALOGUES_MINIMUM = 600
PHRASINGS_MINIMUM = 8
"""Fewest dialogues, and fewest ways to begin a situation in the training split."""
_HIDDEN = re.compile(r"<[a-z_0-9]+>")
"""A placeholder of the caller's or of a tool's."""
_WORDS: Mapping[tuple[str, str], re.Pattern[str]] = {
    (name, value): re.compile(words)
    for name, value, words in (
        ("reason", "lost", r"\b(?:lost|missing|can't find)\b"),
        ("reason", "stolen", r"\b(?:stole|stolen|thief|robbed)\b"),
        ("reason", "misused", r"\b(?:used|misused|using|fraud|fraudulent|stranger|did not make)\b"),
        ("part", "morning", r"\bmorning\b"),
        ("part", "afternoon", r"\bafternoon\b"),
        ("part", "evening", r"\bevening\b"),
        ("account", "checking account", r"\bchecking\b"),
        ("account", "savings account", r"\bsavings\b"),
        ("account", "credit card", r"\bcredit card\b"),
        ("account", "loan", r"\bloan\b"),
        ("flow_type", "KYC", r"\b(?:identif\w+|law|legally|customers?|find out who)\b"),
        ("flow_type", "RECORDING_OPT_OUT", r"\brecord(?:ed|ing)?\b"),
        ("flow_type", "LEGAL_NOTICE", r"."),
        ("notice", "privacy_notice", r"\b(?:privacy|private|personal|information|data)\b"),
        ("notice", "deposit_insurance_notice", r"\binsur\w+\b"),
    )
}
"""Words with which a caller means a value that is no number: argument and value → any of them."""


@dataclass(frozen=True, slots=True)
class DialoguesReport:
    """The verdict on `data/tool_calls`.

    Attributes:
        dialogues: how many rows can be read.
        problems: everything to correct; empty where the dialogues may be trained on.
    """

    dialogues: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A data folder, known by what is in it."""

    sha256: str
    data: Path = field(compare=False)


def check_tool_calls(data: Path) -> DialoguesReport:
    """Check the dialogues of a data folder; the same content is judged once in a process.

    Raises:
        InvalidInputError: dialogues, phrasings, rates, wordings, knowledge or lexicon cannot be read at all.
    """
    digest = hashlib.sha256()
    for folder in ("tool_calls", "knowledge", "compliance", "lexicons", "calls"):
        for path in sorted((data / folder).rglob("*")):
            if path.suffix in {".yaml", ".jsonl"} and path.is_file():
                digest.update(f"{path.relative_to(data)}\0".encode() + path.read_bytes() + b"\0")
    return _checked(_Snapshot(digest.hexdigest(), data))


@lru_cache(maxsize=2)
def _checked(snapshot: _Snapshot) -> DialoguesReport:
    with ToolDesk(snapshot.data) as desk:
        found, problems = check_dialogues(snapshot.data / "tool_calls", desk)
    return DialoguesReport(len(found), problems)


def check_dialogues(folder: Path, desk: ToolDesk) -> tuple[tuple[Dialogue, ...], tuple[str, ...]]:
    """Check `data/tool_calls`: all dialogues, and everything to correct (empty where it is sound).

    Raises:
        InvalidInputError: the file or the phrasings cannot be read at all.
    """
    dialogues, broken = read_dialogues(folder / DIALOGUES_FILE)
    problems = [f"tool calls: {problem}" for problem in broken]
    problems += load_phrasings(folder / PHRASINGS_FOLDER).problems
    if len(dialogues) < DIALOGUES_MINIMUM:
        problems.append(f"tool calls: {len(dialogues)} dialogues, at least {DIALOGUES_MINIMUM} are needed")
    problems += set_problems(dialogues, desk)
    problems += script_problems(dialogues, folder.parent / "calls")
    for dialogue in dialogues:
        problems += [f"tool calls: {dialogue.id}: {problem}" for problem in dialogue_problems(dialogue, desk)]
    return dialogues, tuple(problems)


def set_problems(dialogues: Sequence[Dialogue], desk: ToolDesk) -> Iterator[str]:
    """Ids and dialogues that stand twice, words in two splits, tools that nobody calls, thin situations."""
    ids: set[str] = set()
    whole: dict[tuple[str, ...], str] = {}
    place: dict[str, Dialogue] = {}
    begun: dict[str, set[str]] = {}
    for dialogue in dialogues:
        if dialogue.id in ids:
            yield f"tool calls: the id {dialogue.id!r} stands twice"
        ids.add(dialogue.id)
        texts = tuple(comparable(message.content) for message in dialogue.messages if message.role == "user")
        before = whole.setdefault((*texts, dialogue.customer, str(dialogue.day)), dialogue.id)
        if before != dialogue.id:
            yield f"tool calls: {dialogue.id} repeats {before}"
        spoken = [masked(message.content) for message in dialogue.messages if message.role == "user"]
        if dialogue.split == "train":
            begun.setdefault(dialogue.situation, set()).add(spoken[0])
        for text in spoken:
            other = place.setdefault(text, dialogue)
            if text and other.split != dialogue.split:
                yield (
                    f"tool calls: {text[:60]!r} of {dialogue.id} ({dialogue.split}) stands in {other.id} "
                    f"({other.split}) too"
                )
    called = {call.name for item in dialogues for message in item.messages for call in message.tool_calls}
    offered = {schema.name for tools in ("bank", "customer") for schema in desk.schemas(tools)}
    yield from (f"tool calls: nobody calls {name}" for name in sorted(offered - called))
    for situation in dict.fromkeys(dialogue.situation for dialogue in dialogues):
        count = len(begun.get(situation, ()))
        if count < PHRASINGS_MINIMUM:
            yield f"tool calls: {situation} begins in {count} ways in train, {PHRASINGS_MINIMUM} are needed"


def script_problems(dialogues: Sequence[Dialogue], calls: Path) -> Iterator[str]:
    """Callers' words that are a line of a call script, which is test material, whatever their values.

    Raises:
        InvalidInputError: a script cannot be read.
    """
    lines = {
        masked(turn.say): path.name
        for path in sorted(calls.glob("*.yaml"))
        for turn in load_script(calls, path.stem).turns
    }
    for dialogue in dialogues:
        for message in dialogue.messages:
            text = masked(message.content) if message.role == "user" else ""
            if text and text in lines:
                yield f"tool calls: {dialogue.id} says a line of {lines[text]}: {message.content[:60]!r}"


def masked(text: str) -> str:
    """A caller's words with each value replaced by its kind; empty where nothing but values is left.

    Two such texts are one phrasing; a bare "sixty months" is none.
    """
    pieces, at, kinds = [], 0, 0
    for value in (*parse(text), *_placeholders(text)):
        if value.start >= at:
            pieces.append(f"{text[at : value.start]} <{value.kind}> ")
            at, kinds = value.end, kinds + 1
    left = comparable(" ".join((*(piece.split("<")[0] for piece in pieces), text[at:])))
    return comparable("".join(pieces) + text[at:]) if left else ""


def dialogue_problems(dialogue: Dialogue, desk: ToolDesk) -> list[str]:
    """Everything that is wrong with one dialogue, by running it through the tools again."""
    problems: list[str] = []
    schemas = {schema.name: schema for schema in desk.schemas(dialogue.tools)}
    writes = desk.writes(dialogue.tools)
    opened = desk.open(dialogue.tools, dialogue.day, dialogue.customer, verified=dialogue.verified)
    opened.placeholders |= dialogue.placeholders
    for place, message in enumerate(dialogue.messages):
        if message.role == "user":
            opened.turn += 1
            opened.values += caller_values(message.content, dialogue)
            if contains_personal(message.content):
                problems.append(f"personal data in {message.content[:60]!r}")
        elif message.role == "assistant":
            for call in message.tool_calls:
                if call.name in writes and not _read_back(dialogue.messages[:place]):
                    problems.append(f"{call.name} without a caller's answer to what was read back")
                if not is_valid(call, schemas.get(call.name)):
                    problems.append(f"{call.name} is not a valid call")
                else:
                    told = _told(dialogue.messages, call)
                    problems += _call_problems(call, dialogue.messages[:place], told, opened, desk)
            given = given_before(dialogue, place)
            turn = AssistantTurn(message.content)
            invented = invented_numbers(turn, tuple(schemas.values()), given)
            problems += [f"nobody gave {number}: {message.content[:80]!r}" for number in invented]
    return problems


def caller_values(text: str, dialogue: Dialogue) -> tuple[TypedValue, ...]:
    """What a caller's words say, as a call reads them; placeholders as personal values."""
    return _values(text, dialogue.day)


def given_before(dialogue: Dialogue, place: int) -> Given:
    """What numbers of the message at `place` may come from."""
    said = [message.content for message in dialogue.messages[:place] if message.role == "user"]
    values = tuple(value for text in said for value in caller_values(text, dialogue))
    return Given(values, results_before(dialogue, place), dialogue.knowledge)


def _call_problems(
    call: ToolCall, before: Sequence[Message], told: str, opened: OpenDialogue, desk: ToolDesk
) -> Iterator[str]:
    result = opened.execute(call, confirmed=True)
    if result_message(call, result).content != told:
        yield f"{call.name} gives another result today: {result.error or 'look at it with build-dialogues'}"
    words = " ".join(message.content for message in before if message.role == "user").lower()
    earlier = " ".join(message.content for message in before if message.role == "tool")
    for name, value in call.arguments.items():
        if isinstance(value, str) and not _was_said(name, value, words, earlier, opened, desk):
            yield f"nobody said {name} of {call.name}: {value!r}"


def _was_said(name: str, value: str, words: str, earlier: str, opened: OpenDialogue, desk: ToolDesk) -> bool:
    """Whether an argument that is text rests on the caller's words or on an earlier result."""
    if _HIDDEN.fullmatch(value):
        return value in words or f'"{value}"' in earlier
    if name == "product":
        return value in desk.lexicon.found(words).get("product", ())
    if name == "day":
        days = {str(item.value) for item in opened.values if item.kind is Kind.DATE}
        return value in days or f'"{value}"' in earlier
    pattern = _WORDS.get((name, value))
    return pattern is not None and pattern.search(words) is not None


def _told(messages: Sequence[Message], call: ToolCall) -> str:
    return next((message.content for message in messages if message.tool_call_id == call.id), "")


def _read_back(before: Sequence[Message]) -> bool:
    """Whether the caller has just answered a question of the agent's that followed a tool's result."""
    roles = [message.role for message in before]
    return roles[-1:] == ["user"] and roles[-2:-1] == ["assistant"] and "tool" in roles


@lru_cache(maxsize=64)
def _values(text: str, day: date) -> tuple[TypedValue, ...]:
    return (*parse(text, today=day), *_placeholders(text))


def _placeholders(text: str) -> list[TypedValue]:
    return [
        TypedValue(Kind.NAME, found.group(), "", found.start(), found.end())
        for found in PLACEHOLDER.finditer(text)
    ]

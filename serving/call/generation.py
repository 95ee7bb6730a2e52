"""The engine's part of a turn: let it call tools until it answers, and check what it says.

An engine that fails, hangs, calls tools without end or states an amount, rate or term that nobody gave is
replaced by the embedded responder for this turn; the caller notices nothing but the wording. What its tools
did stays on record.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from loguru import logger

from serving.call import policy
from serving.call.clock import Laps
from serving.call.dialogue import SENTENCE_END
from serving.call.faults import fault
from serving.call.record import ToolRecord
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood
from serving.errors import EngineError
from serving.language.protocols import Llm, LlmRequest, Message, TextDelta, ToolCall, ToolSchema
from serving.telemetry.redaction import redact
from serving.tools.protocols import ToolContext, ToolResult

MAX_MESSAGES = 20
"""Messages of the dialogue that an engine is shown."""
MAX_TOOL_ROUNDS = 4
"""Rounds of tool calls in one turn; a plan needs two (rate, calculation)."""
MAX_TOOL_CALLS = 8
"""Tool calls in one turn."""
MAX_ANSWER_CHARS = 2_000
"""Longest answer that is spoken: more than two minutes of speech."""
MAX_ARGUMENT_CHARS = 4_000
"""Longest arguments of one tool call, as JSON."""
UNKNOWN_TOOL = "unknown"
"""Name on record of tools that an engine made up; a name of its own making is no metric label."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine came to.

    Attributes:
        tools: every call of the turn, those of a replaced engine included.
        results: values of the tools that ran.
        error: why the first engine was replaced; empty when it was not.
    """

    text: str
    engine: str
    tools: tuple[ToolRecord, ...] = ()
    results: tuple[Mapping[str, Any], ...] = ()
    error: str = ""


@dataclass(slots=True)
class _Work:
    """Tool calls of a turn so far."""

    tools: list[ToolRecord] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)


def generate(
    box: Toolbox,
    turn: Understood,
    request: LlmRequest,
    laps: Laps,
    say: Callable[[str], None] | None = None,
) -> Generation:
    """Ask the engine, and the embedded responder when it fails or has nothing to answer from.

    Args:
        box: what all calls share.
        turn: the turn.
        request: what the engine is asked.
        laps: stage times.
        say: takes sentences of a language model that may be spoken before the rest is there. Each was checked
            as the whole answer is; what the engine then breaks off with is replaced behind them.

    Raises:
        Exception: the embedded responder failed too.
    """
    work = _Work()
    error = ""
    if box.llm is not box.fallback and (request.knowledge or request.tools):
        try:
            aloud = partial(_aloud, box, turn, request, work, laps, say) if say else None
            text = _converse(box, box.llm, turn, request, work, laps, aloud)
            _refuse_inventions(box, turn, text, work, request)
        except Exception as failure:  # whatever an engine does, the turn is answered
            laps.mark("llm")
            error = fault(box.llm.info.name, failure)
            logger.warning("engine replaced for this turn: {}", error)
        else:
            return Generation(text, box.llm.info.name, tuple(work.tools), tuple(work.results))
    text = _converse(box, box.fallback, turn, request, work, laps)
    return Generation(text, box.fallback.info.name, tuple(work.tools), tuple(work.results), error)


def request_for(turn: Understood, approved: str, tools: tuple[ToolSchema, ...] = ()) -> LlmRequest:
    """What an engine is asked about a turn.

    Args:
        turn: the turn.
        approved: text that it answers from; empty where there is none.
        tools: tools that it may call.
    """
    messages = (*turn.state.messages[-MAX_MESSAGES:], Message("user", turn.user.text))
    return LlmRequest(messages, turn.state.turns, tools, (approved,) if approved else ())


def execute(
    box: Toolbox, turn: Understood, call: ToolCall, results: Sequence[Mapping[str, Any]] = ()
) -> ToolResult:
    """Run one tool call of a turn; numbers must come from the caller or from earlier results."""
    state = replace(turn.state, results=(*turn.state.results, *results))
    context = ToolContext(
        call_id=turn.call_id,
        turn=turn.index,
        placeholders=state.placeholders,
        grounds=policy.known_numbers(state, box.currency),
    )
    return box.executor.execute(call, context)


def tool_record(box: Toolbox, result: ToolResult) -> ToolRecord:
    """The record of an execution; a tool that an engine made up is kept without its arguments."""
    if result.name not in {schema.name for schema in box.executor.schemas}:
        return ToolRecord(UNKNOWN_TOOL, {}, False, error=result.error)
    return ToolRecord(
        result.name, dict(result.arguments), result.ok, dict(result.value), result.error, result.seconds
    )


def _converse(
    box: Toolbox,
    llm: Llm,
    turn: Understood,
    request: LlmRequest,
    work: _Work,
    laps: Laps,
    aloud: Callable[[str], None] | None = None,
) -> str:
    deadline = box.patience.deadline()
    for _ in range(MAX_TOOL_ROUNDS):
        ask = partial(_collect, llm, request, aloud)
        text, calls = ask() if llm is box.fallback else box.patience.wait_for(ask, deadline)
        laps.mark("llm")
        if not calls:
            if not text:
                raise EngineError(f"The engine {llm.info.name} gave an empty answer.")
            return text
        messages = [*request.messages, Message("assistant", text, tool_calls=tuple(calls))]
        messages += [_called(box, turn, call, work) for call in calls]
        laps.mark("tool")
        request = replace(request, messages=tuple(messages))
    raise EngineError(f"The engine {llm.info.name} called tools {MAX_TOOL_ROUNDS} times without an answer.")


def _called(box: Toolbox, turn: Understood, call: ToolCall, work: _Work) -> Message:
    """Run a tool call; the message that tells the engine what came of it."""
    result = execute(box, turn, call, work.results)
    record = tool_record(box, result)
    work.tools.append(record)
    if result.ok:
        work.results.append(result.value)
    content = json.dumps(dict(result.value) if result.ok else {"error": result.error})
    return Message("tool", content, tool_call_id=call.id, name=call.name)


def _refuse_inventions(box: Toolbox, turn: Understood, text: str, work: _Work, request: LlmRequest) -> None:
    approved = [*request.knowledge, *box.knowledge.prompts.values()]
    results = [*turn.state.results, *work.results]
    if policy.ungrounded_numbers(text, approved, turn.state.values, results, box.currency):
        raise EngineError("The engine stated a number that nobody gave.")


def _aloud(
    box: Toolbox,
    turn: Understood,
    request: LlmRequest,
    work: _Work,
    laps: Laps,
    say: Callable[[str], None],
    sentence: str,
) -> None:
    """Let a sentence be spoken before the rest is there, after the checks that hold for the whole.

    Raises:
        EngineError: it states a number that nobody gave.
    """
    _refuse_inventions(box, turn, sentence, work, request)
    laps.mark("llm")
    say(redact(sentence, known=turn.state.placeholders).text)


def _collect(
    llm: Llm, request: LlmRequest, aloud: Callable[[str], None] | None = None
) -> tuple[str, list[ToolCall]]:
    """Run one generation to its end, or to a length that no answer has."""
    pieces: list[str] = []
    calls: list[ToolCall] = []
    length = said = 0
    for event in llm.stream(request):
        if isinstance(event, TextDelta):
            pieces.append(event.text)
            length += len(event.text)
            if aloud is not None and not calls:
                *whole, _ = SENTENCE_END.split(_plain(pieces))
                for sentence in whole[said:]:
                    aloud(sentence)
                said = len(whole)
        elif isinstance(event, ToolCall):
            calls.append(event)
            if len(json.dumps(event.arguments, default=str)) > MAX_ARGUMENT_CHARS:
                raise EngineError("The engine gave arguments without end.")
        if length > MAX_ANSWER_CHARS or len(calls) > MAX_TOOL_CALLS:
            raise EngineError("The engine answered without end.")
    return _plain(pieces), calls


def _plain(pieces: Sequence[str]) -> str:
    """The words of an answer on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in "".join(pieces)).split())

"""The engine's part of a turn: let it call tools until it answers, and check what it says.

An engine that fails, calls tools without end or states an amount, rate or term that nobody gave is replaced
by the embedded responder for this turn; the caller notices nothing but the wording.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loguru import logger

from serving.call import policy
from serving.call.clock import Laps
from serving.call.record import ToolRecord
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood
from serving.errors import EngineError, VoicebotError
from serving.language.protocols import Llm, LlmRequest, Message, TextDelta, ToolCall
from serving.tools.protocols import ToolContext, ToolResult

MAX_TOOL_ROUNDS = 4
"""Rounds of tool calls in one turn; a plan needs two (rate, calculation)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What an engine came to.

    Attributes:
        results: values of the tools that ran.
        error: why the first engine was replaced; empty when it was not.
    """

    text: str
    engine: str
    tools: tuple[ToolRecord, ...] = ()
    results: tuple[Mapping[str, Any], ...] = ()
    error: str = ""


def generate(box: Toolbox, turn: Understood, request: LlmRequest, laps: Laps) -> Generation:
    """Ask the engine, and the embedded responder when it fails.

    Raises:
        VoicebotError: the embedded responder failed too.
    """
    try:
        made = _converse(box, box.llm, turn, request, laps)
        if box.llm is not box.fallback:
            _refuse_inventions(box, made, request)
    except VoicebotError as error:
        laps.mark("llm")
        if box.llm is box.fallback:
            raise
        reason = f"{box.llm.info.name}: {type(error).__name__}"
        logger.warning("engine replaced for this turn: {}", reason)
        return replace(_converse(box, box.fallback, turn, request, laps), error=reason)
    return made


def execute(
    box: Toolbox, turn: Understood, call: ToolCall, results: Sequence[Mapping[str, Any]] = ()
) -> ToolResult:
    """Run one tool call of a turn; numbers must come from the caller or from earlier results."""
    state = replace(turn.state, results=(*turn.state.results, *results))
    context = ToolContext(
        call_id=turn.call_id,
        turn=turn.index,
        placeholders=state.placeholders,
        grounds=policy.known_numbers(state),
    )
    return box.executor.execute(call, context)


def tool_record(result: ToolResult) -> ToolRecord:
    """The record of an execution."""
    return ToolRecord(
        result.name, dict(result.arguments), result.ok, dict(result.value), result.error, result.seconds
    )


def _converse(box: Toolbox, llm: Llm, turn: Understood, request: LlmRequest, laps: Laps) -> Generation:
    records: list[ToolRecord] = []
    results: list[Mapping[str, Any]] = []
    for _ in range(MAX_TOOL_ROUNDS):
        text, calls = _collect(llm, request)
        laps.mark("llm")
        if not calls and not text:
            raise EngineError(f"The engine {llm.info.name} gave an empty answer.")
        if not calls:
            return Generation(text, llm.info.name, tuple(records), tuple(results))
        messages = [*request.messages, Message("assistant", text, tool_calls=tuple(calls))]
        for call in calls:
            result = execute(box, turn, call, results)
            records.append(tool_record(result))
            if result.ok:
                results.append(result.value)
            content = json.dumps(dict(result.value) if result.ok else {"error": result.error})
            messages.append(Message("tool", content, tool_call_id=call.id, name=call.name))
        laps.mark("tool")
        request = replace(request, messages=tuple(messages))
    raise EngineError(f"The engine {llm.info.name} called tools {MAX_TOOL_ROUNDS} times without an answer.")


def _refuse_inventions(box: Toolbox, made: Generation, request: LlmRequest) -> None:
    approved = [*request.knowledge, *box.knowledge.prompts.values()]
    values = [value for turn in request.turns for value in turn.values]
    if policy.ungrounded_numbers(made.text, approved, values, made.results):
        raise EngineError(f"The engine {made.engine} stated a number that nobody gave.")


def _collect(llm: Llm, request: LlmRequest) -> tuple[str, list[ToolCall]]:
    """Run one generation to its end."""
    pieces: list[str] = []
    calls: list[ToolCall] = []
    for event in llm.stream(request):
        if isinstance(event, TextDelta):
            pieces.append(event.text)
        elif isinstance(event, ToolCall):
            calls.append(event)
    return "".join(pieces).strip(), calls

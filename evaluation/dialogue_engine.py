"""Puts dialogues of data/tool_calls to an answering engine, turn by turn, and takes down what it does.

At each of the assistant's turns the engine gets the reference dialogue so far, as a call would give it: the
redacted messages, the caller's turns with tag and values, the tools, the approved answers. What it does
is compared by `evaluation.tool_calls`; it is never continued, so one mistake does not spoil the next turn.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from evaluation.dialogues import Dialogue
from evaluation.tool_calls import AssistantTurn, Given, TurnCase
from serving.call import policy
from serving.call.dialogue import DialogueState, PendingTask
from serving.errors import VoicebotError
from serving.language.lexicon import Lexicon
from serving.language.protocols import (
    IntentTagger,
    Llm,
    LlmRequest,
    Message,
    TextDelta,
    ToolCall,
    ToolSchema,
    UserTurn,
)
from serving.spoken import TypedValue, parse


def predicted_cases(
    dialogues: Iterable[Dialogue],
    llm: Llm,
    tagger: IntentTagger,
    lexicon: Lexicon,
    tools: Sequence[ToolSchema],
    *,
    max_tokens: int = 256,
) -> Iterator[TurnCase]:
    """One case for each turn of the assistant, in order.

    Args:
        dialogues: of one tool set.
        llm: the engine.
        tagger: tags the caller's turns, as in a call.
        lexicon: finds what their words express.
        tools: schemas of that tool set.
        max_tokens: of one answer.
    """
    for dialogue in dialogues:
        turns = user_turns(dialogue, tagger, lexicon)
        for place in dialogue.answered:
            before = dialogue.messages[:place]
            heard = sum(message.role == "user" for message in before)
            request = LlmRequest(
                _with_system(dialogue, before), turns[:heard], tuple(tools), dialogue.knowledge, max_tokens
            )
            expected = dialogue.messages[place]
            results = tuple(json.loads(message.content) for message in before if message.role == "tool")
            yield TurnCase(
                group=dialogue.situation,
                reference=AssistantTurn(expected.content, expected.tool_calls),
                predicted=answer_of(llm, request),
                tools=tuple(tools),
                given=Given(
                    tuple(value for turn in turns[:heard] for value in turn.values),
                    tuple(result for result in results if "error" not in result),
                    dialogue.knowledge,
                ),
            )


def answer_of(llm: Llm, request: LlmRequest) -> AssistantTurn:
    """What an engine does with a request; an error of its own is an answer, too, and a wrong one."""
    text: list[str] = []
    calls: list[ToolCall] = []
    try:
        for event in llm.stream(request):
            if isinstance(event, TextDelta):
                text.append(event.text)
            elif isinstance(event, ToolCall):
                calls.append(event)
    except VoicebotError as error:
        return AssistantTurn("".join(text), tuple(calls), type(error).__name__)
    return AssistantTurn("".join(text), tuple(calls))


def user_turns(dialogue: Dialogue, tagger: IntentTagger, lexicon: Lexicon) -> tuple[UserTurn, ...]:
    """The caller's turns as a call understands them: values read as what was just asked for, and the task."""
    turns: list[UserTurn] = []
    pending: PendingTask | None = None
    computed = False
    for message in dialogue.messages:
        if message.role == "user":
            tag = tagger.tag(message.content)
            expect = policy.expected_kind(DialogueState(pending=pending))
            values: tuple[TypedValue, ...] = parse(message.content, today=dialogue.day, expect=expect)
            task = policy.task_of(tag, values, pending)
            turns.append(UserTurn(message.content, tag, values, lexicon.found(message.content), task))
            computed = False
        elif message.role == "tool":
            computed = computed or message.name in policy.COMPUTING_TOOLS
        elif not message.tool_calls:
            pending = policy.pending_after(message.content, turns[-1].task, computed=computed)
            if pending is not None:
                pending = replace(pending, question=message.content)
    return tuple(turns)


def _with_system(dialogue: Dialogue, messages: Sequence[Message]) -> tuple[Message, ...]:
    return (Message("system", dialogue.system()), *messages)

"""Runs tool calls: validates, resolves placeholders, keeps writes idempotent, limits time, counts.

A failed call is a result with an error in words, never an exception, so that a call goes on. A write is
never cancelled once it has begun and runs once per idempotency key; a duplicate in flight is refused, a
finished one is answered from its result (design D8). What has not begun in time never will. Numbers that
nobody said are refused before the tool runs. Results carry placeholders, those that arguments had and new
ones for hidden texts, because they are recorded and sent to language models.
"""

import contextvars
import hashlib
import json
import threading
import time
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Protocol

from loguru import logger
from pydantic import BaseModel

from serving.errors import InvalidInputError, UnavailableError, VoicebotError
from serving.language.protocols import ToolCall, ToolSchema
from serving.plain import plain
from serving.tools.grounding import ungrounded
from serving.tools.hiding import concealed
from serving.tools.money import PRECISE
from serving.tools.protocols import Effect, Tool, ToolContext, ToolResult
from serving.tools.schema import PERSONAL, arguments_model, context_parameter, validated
from serving.work_pool import WorkPool

REMEMBERED_WRITES = 10_000
"""Results of writes that a process remembers; a key is asked for again within its call or never."""
_THREADS = 8
"""Tools that run at a time, those that hang not counted."""
_LAST_WORDS_S = 3.0
"""How long closing waits for writes whose callers have been told that they took too long, seconds."""


class IdempotencyStore(Protocol):
    """Remembers writes; shared between processes in a deployment with several orchestrators."""

    def begin(self, key: str) -> ToolResult | None:
        """Claim a key, or return the result of the write that finished under it.

        Raises:
            DuplicateInFlightError: the write is running.
            UnavailableError: the keys are out of reach; the write must not run.
        """
        ...

    def finish(self, key: str, result: ToolResult) -> None:
        """Store the result of a claimed key; a failed write frees it for another try."""
        ...


class DuplicateInFlightError(VoicebotError):
    """The same write is already running."""


class MemoryIdempotencyStore:
    """Keys of one process.

    Args:
        remembered: results kept, the newest; claims of running writes always stay.
    """

    def __init__(self, remembered: int = REMEMBERED_WRITES) -> None:
        self._most = remembered
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._done: OrderedDict[str, ToolResult] = OrderedDict()

    def begin(self, key: str) -> ToolResult | None:
        """See `IdempotencyStore.begin`."""
        with self._lock:
            if key in self._running:
                raise DuplicateInFlightError("The same request is already being carried out.")
            if key in self._done:
                return self._done[key]
            self._running.add(key)
            return None

    def finish(self, key: str, result: ToolResult) -> None:
        """See `IdempotencyStore.finish`."""
        with self._lock:
            self._running.discard(key)
            if result.ok:
                self._done[key] = result
                if len(self._done) > self._most:
                    self._done.popitem(last=False)


class ToolExecutor:
    """The tools of one server.

    Args:
        tools: with unique names.
        timeout_s: time limit of tools that declare none, seconds.
        writes: where idempotency keys are kept.

    Attributes:
        invocations: number of calls by (tool, `ok` | `error` | `refused` | `timeout` | `replayed`).
    """

    def __init__(
        self, tools: Iterable[Tool], *, timeout_s: float, writes: IdempotencyStore | None = None
    ) -> None:
        self._tools = {tool.schema.name: tool for tool in tools}
        self._models: dict[str, type[BaseModel]] = {
            name: arguments_model(tool.function) for name, tool in self._tools.items()
        }
        self._timeout_s = timeout_s
        self._writes = writes or MemoryIdempotencyStore()
        self._pool = WorkPool("tools", _THREADS)
        # Threads of an executor that nobody closed end with it.
        weakref.finalize(self, self._pool.close).atexit = False
        self._writing: set[Future[ToolResult]] = set()
        self.invocations: Counter[tuple[str, str]] = Counter()

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """Schemas of all tools, by name."""
        return tuple(self._tools[name].schema for name in sorted(self._tools))

    @property
    def hung(self) -> int:
        """Tools that took longer than their limit and still occupy a thread."""
        return self._pool.hung

    def execute(self, call: ToolCall, context: ToolContext) -> ToolResult:
        """Run one call; every failure comes back as a result with an error."""
        start = time.perf_counter()
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(sorted(self._tools))
            error = f"There is no tool {call.name[:40]!r}; there are: {known}."
            result = _failure(call, Effect.READ, error, begun=False)
            outcome = "refused"
        else:
            result, outcome = self._checked(tool, call, context)
        self.invocations[(call.name if tool else "unknown", outcome)] += 1
        return replace(result, seconds=time.perf_counter() - start)

    def close(self) -> None:
        """Wait for what runs, as long as its caller would; what hangs is left. No call may follow.

        Late writes have a moment more, because what they do is to be stored.
        """
        limits = [tool.timeout_s or self._timeout_s for tool in self._tools.values()]
        self._pool.close(wait_s=max(limits, default=0.0))
        wait(tuple(self._writing), _LAST_WORDS_S)

    def _checked(self, tool: Tool, call: ToolCall, context: ToolContext) -> tuple[ToolResult, str]:
        hidden = _placeholders_of(call, tool.schema, context)
        try:
            arguments = validated(self._models[call.name], {**call.arguments, **hidden})
        except InvalidInputError as error:
            return _failure(call, tool.effect, error.message, begun=False), "refused"
        # The arguments as the tool gets them: true is 1 and "1,000" is 1000 only after validation.
        invented = ungrounded(
            {name: value for name, value in arguments.items() if name not in hidden},
            tool.schema,
            context.grounds,
        )
        if invented:
            message = f"Nobody said the value of {', '.join(invented)}; ask the caller instead of guessing."
            return _failure(call, tool.effect, message, begun=False), "refused"
        masks = {value: str(call.arguments[name]) for name, value in hidden.items()}
        if tool.effect is Effect.READ:
            result, outcome = self._run(tool, call, arguments, context)
        else:
            result, outcome = self._run_write(tool, call, arguments, context, masks)
        return replace(
            result, value=_masked(result.value, masks), error=_masked(result.error, masks)
        ), outcome

    def _run_write(
        self,
        tool: Tool,
        call: ToolCall,
        arguments: dict[str, Any],
        context: ToolContext,
        masks: Mapping[str, str],
    ) -> tuple[ToolResult, str]:
        if context.confirming_turn is None:
            error = "The caller has not confirmed this yet."
            return _failure(call, tool.effect, error, begun=False), "refused"
        key = idempotency_key(context, call.name, arguments)
        try:
            earlier = self._writes.begin(key)
        except VoicebotError as refusal:  # a write in flight, or a result that cannot be read, is another's
            begun = not isinstance(refusal, UnavailableError)
            failed = _failure(call, tool.effect, refusal.message, begun=begun)
            return replace(failed, idempotency_key=key), "refused"
        if earlier is not None:
            return earlier, "replayed"
        # The worker itself commits the result, so a caller who stops waiting cannot lose it.
        result, outcome = self._run(tool, call, arguments, replace(context, idempotency_key=key), masks)
        if not result.begun:
            self._keep(key, result)
        return replace(result, idempotency_key=key), outcome

    def _run(
        self,
        tool: Tool,
        call: ToolCall,
        arguments: dict[str, Any],
        context: ToolContext,
        masks: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[ToolResult, str]:
        limit = tool.timeout_s or self._timeout_s
        # What is logged in the thread belongs to the call, too.
        run = contextvars.copy_context().run
        told: Future[ToolResult] = Future()
        if tool.effect is Effect.WRITE:
            self._writing.add(told)
            told.add_done_callback(self._writing.discard)
        try:
            give_up = self._pool.submit(
                lambda: told.set_result(run(self._work, tool, call, arguments, context, masks))
            )
        except RuntimeError:
            told.cancel()
            return _failure(call, tool.effect, "No tool runs any more.", begun=False), "refused"
        try:
            result = told.result(timeout=limit)
        except TimeoutError:
            if give_up():
                told.cancel()
                error = f"{call.name} could not begin within {limit:g} s."
                return _failure(call, tool.effect, error, begun=False), "timeout"
            if not told.done():
                return _failure(call, tool.effect, f"{call.name} took longer than {limit:g} s."), "timeout"
            result = told.result()
        return result, "ok" if result.ok else "error"

    def _work(
        self,
        tool: Tool,
        call: ToolCall,
        arguments: dict[str, Any],
        context: ToolContext,
        masks: Mapping[str, str],
    ) -> ToolResult:
        key = context.idempotency_key if tool.effect is Effect.WRITE else ""
        origin = context_parameter(tool.function)
        try:
            told = tool.function(**arguments, **({origin: context} if origin else {}))
            shown, hidden = concealed(told, context.placeholders or {})
            result = ToolResult(
                call.name, dict(call.arguments), plain(shown), "", 0.0, tool.effect, key, hidden=hidden
            )
        except VoicebotError as error:
            result = _failure(call, tool.effect, str(error))
        except Exception as error:  # a tool's bug must not end the call
            result = _failure(call, tool.effect, f"{call.name} failed ({type(error).__name__}).")
        if key:
            kept = replace(result, value=_masked(result.value, masks), error=_masked(result.error, masks))
            self._keep(key, replace(kept, hidden={}))
        return result

    def _keep(self, key: str, result: ToolResult) -> None:
        try:
            self._writes.finish(key, result)
        except Exception as error:  # what happened has happened; the key stays claimed, so not twice
            logger.error("result of {} could not be stored: {}", result.name, type(error).__name__)


def idempotency_key(context: ToolContext, name: str, arguments: Mapping[str, Any]) -> str:
    """Hash of call, tool, normalised arguments and the turn in which the caller agreed."""
    canonical = {key: _canonical(value) for key, value in arguments.items()}
    parts = [context.call_id, name, plain(canonical), context.confirming_turn]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """5 and 5.00 are one amount."""
    if isinstance(value, Decimal):
        return str(value.normalize(PRECISE))
    if isinstance(value, Mapping):
        return {key: _canonical(item) for key, item in value.items()}
    return [_canonical(item) for item in value] if isinstance(value, list | tuple) else value


def _placeholders_of(call: ToolCall, schema: ToolSchema, context: ToolContext) -> dict[str, str]:
    """What `<card>` and the like stand for in this call, for parameters that are declared personal.

    Any other parameter keeps the placeholder: its tool may rewrite or repeat what it gets, and results are
    recorded and sent to language models.
    """
    known = context.placeholders or {}
    properties = schema.parameters.get("properties", {})
    return {
        name: known[value]
        for name, value in call.arguments.items()
        if isinstance(value, str) and value in known and properties.get(name, {}).get(PERSONAL)
    }


def _masked(value: Any, masks: Mapping[str, str]) -> Any:
    """A JSON value with personal text replaced by its placeholder; the voice puts it back."""
    if isinstance(value, str):
        for personal, placeholder in masks.items():
            value = value.replace(personal, placeholder)
        return value
    if isinstance(value, Mapping):
        return {key: _masked(item, masks) for key, item in value.items()}
    return [_masked(item, masks) for item in value] if isinstance(value, list) else value


def _failure(call: ToolCall, effect: Effect, error: str, *, begun: bool = True) -> ToolResult:
    return ToolResult(call.name, dict(call.arguments), {}, error, 0.0, effect, begun=begun)

"""From a caller's turn to the reply, stage by stage: values → intent → redaction → cache → engine + tools.

A responder keeps one adapter and one cache scope: it is made for one call. It decides between the ways to
answer; understanding, generating and the rules themselves have rooms of their own.
"""

from collections.abc import Sequence
from dataclasses import replace

from serving.cache.types import CacheDecision, CacheQuery, CacheScope, Outcome
from serving.call import policy
from serving.call.clock import Laps
from serving.call.dialogue import DialogueState, HeardTurn, PendingTask, Reply
from serving.call.generation import execute, generate, tool_record
from serving.call.machine import Next
from serving.call.record import CacheRecord, Decision
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood, understand
from serving.errors import EngineError
from serving.language.protocols import IntentTagger, LlmRequest, Message, ToolCall, ToolSchema

MAX_MESSAGES = 20
"""Messages of the dialogue that an engine is shown."""


class Responder:
    """Replies to the turns of one call.

    Args:
        box: what all calls share.
        tagger: the adapter that the call keeps.
        scope: the cache scope that belongs to it.
    """

    def __init__(self, box: Toolbox, tagger: IntentTagger, scope: CacheScope) -> None:
        self._box = box
        self._tagger = tagger
        self._scope = scope

    def prompt(self, name: str, attempt: int = 0) -> str:
        """Wording of a fixed phrase; repeated failures are answered in other words."""
        if name == "greeting":
            return self._box.greeting
        return self._box.phrase("reprompt_2" if name == "low_confidence" and attempt > 1 else name)

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        """Reply to one turn.

        Raises:
            VoicebotError: a stage failed that has no fallback; the caller gets an apology.
        """
        heard = understand(turn, state, self._tagger, self._box, laps)
        reply = self._controlled(heard) or self._confirmed(heard)
        if reply is not None:
            return reply
        if heard.user.task:
            return self._generated(heard, None, laps)
        if not heard.tag.in_scope:
            return self._out_of_scope(heard)
        decision = lookup(self._box, heard, self._scope)
        laps.mark("cache")
        if decision.outcome is Outcome.HIT and decision.entry is not None:
            entry = decision.entry
            return self._disclosed(
                heard, entry.answer, entry.disclosures, Decision.CACHE_HIT, cache=_cache_record(decision)
            )
        return self._generated(heard, decision, laps)

    def _controlled(self, turn: Understood) -> Reply | None:
        """Replies about the call itself."""
        if turn.tag.in_scope and turn.tag.label == policy.OPT_OUT:
            reply = self._disclosed(turn, "", ("",), Decision.DISCLOSURE)
            return replace(reply, stop_recording=True)
        control = None if turn.user.task else policy.control_reply(turn.tag, turn.state)
        if control is None:
            return None
        text = self._box.phrase(control.prompt, answer=turn.state.last_answer)
        return self._reply(turn, text, control.decision, next=control.next)

    def _confirmed(self, turn: Understood) -> Reply | None:
        """Read unsure values back, and take the caller's no to that (design D13)."""
        task, pending = turn.user.task, turn.state.pending
        if not task:
            return None
        if pending is not None and pending.confirming and turn.tag.label == policy.DENY:
            text = self._box.phrase("confirm_again")
            return self._reply(turn, text, Decision.CLARIFY, pending=PendingTask(task))
        decisive = [value for value in turn.user.values if value.kind in policy.DECISIVE]
        if not decisive or turn.confidence >= self._box.confirm_below:
            return None
        said = " and ".join(turn.user.text[value.start : value.end] for value in decisive)
        text = self._box.phrase("confirm_values", values=said)
        return self._reply(turn, text, Decision.CLARIFY, pending=PendingTask(task, confirming=True))

    def _out_of_scope(self, turn: Understood) -> Reply:
        text = self._box.phrase("out_of_scope_again" if turn.state.out_of_scope else "out_of_scope")
        return self._reply(turn, text, Decision.OUT_OF_SCOPE, understood=False)

    def _generated(self, turn: Understood, looked_up: CacheDecision | None, laps: Laps) -> Reply:
        """Let the engine answer; `looked_up` is None for a task, which no cache may answer."""
        task = turn.user.task
        approved = (
            None if task else self._box.knowledge.best(turn.tag.label, turn.user.facets, self._box.today())
        )
        made = generate(self._box, turn, self._request(turn, approved.text if approved else ""), laps)
        state = replace(turn.state, results=(*turn.state.results, *made.results))
        turn = replace(turn, state=state)
        cache = _cache_record(looked_up) if looked_up else None
        if approved is not None and approved.disclosures:
            reply = self._disclosed(turn, made.text, approved.disclosures, Decision.DISCLOSURE, cache=cache)
        else:
            computed = any(tool.ok and tool.name in policy.COMPUTING_TOOLS for tool in made.tools)
            pending = policy.pending_after(made.text, task, computed=computed)
            asks = bool(task) and pending is not None and pending.intent == task
            decision = Decision.TOOL if computed else Decision.CLARIFY if asks else Decision.ANSWER
            reply = self._reply(turn, made.text, decision, pending=pending, cache=cache)
        return replace(reply, llm_engine=made.engine, tools=(*made.tools, *reply.tools), error=made.error)

    def _request(self, turn: Understood, approved: str) -> LlmRequest:
        schemas: tuple[ToolSchema, ...] = self._box.executor.schemas if turn.user.task else ()
        knowledge = (approved,) if approved else ()
        messages = (*turn.state.messages[-MAX_MESSAGES:], Message("user", turn.user.text))
        return LlmRequest(messages, turn.state.turns, schemas, knowledge)

    def _disclosed(
        self,
        turn: Understood,
        text: str,
        notices: Sequence[str],
        decision: Decision,
        *,
        cache: CacheRecord | None = None,
    ) -> Reply:
        """An answer with verbatim wordings behind it; each is fetched by the tool, so it is on record.

        The empty notice stands for the wording of opting out of the recording.
        """
        records, parts, references = [], [text], []
        for notice in notices:
            flow_type = self._box.notice_flows[notice] if notice else "RECORDING_OPT_OUT"
            call = ToolCall("notice000", "get_prompt", {"flow_type": flow_type, "notice": notice})
            result = execute(self._box, turn, call)
            if not result.ok:
                raise EngineError(f"The wording {notice or flow_type} cannot be had: {result.error}")
            records.append(tool_record(result))
            parts.append(str(result.value["text"]))
            references.append(str(result.value["reference"]))
        answer = " ".join(part for part in parts if part)
        reply = self._reply(turn, answer, decision, cache=cache)
        return replace(reply, tools=tuple(records), disclosures=tuple(references), verbatim=bool(references))

    def _reply(
        self,
        turn: Understood,
        answer: str,
        decision: Decision,
        *,
        next: Next = Next.LISTEN,  # noqa: A002  # the machine's word for it
        understood: bool = True,
        pending: PendingTask | None = None,
        cache: CacheRecord | None = None,
    ) -> Reply:
        said = (Message("user", turn.user.text), Message("assistant", answer))
        state = replace(
            turn.state,
            messages=(*turn.state.messages, *said)[-MAX_MESSAGES:],
            pending=pending,
            last_answer=answer,
            out_of_scope=turn.state.out_of_scope + 1 if decision is Decision.OUT_OF_SCOPE else 0,
        )
        return Reply(
            text=turn.user.text,
            answer=answer,
            decision=decision,
            state=state,
            next=next,
            understood=understood,
            tag=turn.tag,
            values=tuple(value.canonical() for value in turn.user.values if not value.personal),
            cache=cache,
        )


def lookup(box: Toolbox, turn: Understood, scope: CacheScope) -> CacheDecision:
    """Ask the cache about a turn."""
    query = CacheQuery(
        text=turn.user.text,
        intent=turn.tag.label,
        cacheability=box.knowledge.cacheability(turn.tag.label),
        signature=turn.signature,
        context_dependent=turn.points_back,
        personal=turn.personal,
    )
    return box.cache.lookup(query, scope)


def _cache_record(decision: CacheDecision) -> CacheRecord:
    entry = decision.entry.id if decision.entry else decision.neighbour
    return CacheRecord(
        decision.outcome.value, decision.reason.value, decision.detail, decision.similarity, entry
    )

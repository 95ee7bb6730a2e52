"""From a caller's turn to the reply, stage by stage: values → intent → redaction → cache → engine + tools.

A responder keeps one adapter and one cache scope: it is made for one call. It decides between the ways to
answer; understanding, generating, the caller's own accounts and the rules themselves have rooms of their own.
"""

from collections.abc import Sequence
from dataclasses import replace

from serving.cache.types import CacheDecision, CacheScope, Outcome
from serving.call import policy
from serving.call.banking import bank_move, offer
from serving.call.caching import answering, approved_for, cache_record, check_later, lookup
from serving.call.clock import Laps
from serving.call.desk import Move
from serving.call.dialogue import (
    DialogueState,
    Doubt,
    HeardTurn,
    PendingTask,
    Reply,
    no_longer_asked,
    still_asked,
    summary_of,
)
from serving.call.faults import fault
from serving.call.generation import MAX_MESSAGES, Generation, execute, generate, request_for, tool_record
from serving.call.machine import Next
from serving.call.record import CacheRecord, Decision
from serving.call.survey import survey_begun, survey_move
from serving.call.toolbox import Toolbox
from serving.call.understanding import Understood, understand
from serving.errors import EngineError
from serving.language.embedded import TASKS
from serving.language.protocols import IntentTagger, Message, ToolCall
from serving.language.roles import Role
from serving.spoken.values import TypedValue
from serving.telemetry.redaction import redact


class Responder:
    """Replies to the turns of one call.

    Args:
        box: what all calls share.
        tagger: the adapter that the call keeps.
        scope: the cache scope that belongs to it.
        opening: notices that this call begins with, before the greeting.
        ask_survey: ask, after a goodbye, whether the matter is settled and how the call was.
    """

    def __init__(
        self,
        box: Toolbox,
        tagger: IntentTagger,
        scope: CacheScope,
        opening: str = "",
        *,
        ask_survey: bool = False,
    ) -> None:
        self._box = box
        self._ask_survey = ask_survey
        self._tagger = tagger
        self._scope = scope
        self._opening = opening

    @property
    def opening(self) -> str:
        """Notices that the call begins with; empty where there are none."""
        return self._opening

    def prompt(self, name: str, attempt: int = 0) -> str:
        """Wording of a fixed phrase; repeated failures are answered in other words."""
        if name == "greeting":
            return f"{self._opening} {self._box.greeting}".strip()
        return self._box.phrase("reprompt_2" if name == "low_confidence" and attempt > 1 else name)

    def answer(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        """Reply to one turn.

        Raises:
            VoicebotError: a stage failed that has no fallback; the caller gets an apology.
        """
        with answering(self._box):
            return self._answered(turn, state, laps)

    def _answered(self, turn: HeardTurn, state: DialogueState, laps: Laps) -> Reply:
        heard = understand(turn, state, self._tagger, self._box, laps)
        if self._box.guard.attempted(turn.text):
            return self._injected(heard, state)
        reply = self._by_rules(heard, laps) or self._controlled(heard)
        if reply is not None:
            return reply
        if heard.user.task:
            return self._task(heard, laps)
        if not heard.tag.in_scope:
            return self._out_of_scope(heard)
        decision = lookup(self._box, heard, self._scope)
        laps.mark("cache")
        if decision.outcome is Outcome.HIT and decision.entry is not None:
            entry = decision.entry
            check_later(self._box, heard, entry)
            return self._disclosed(
                heard, entry.answer, entry.disclosures, Decision.CACHE_HIT, cache=cache_record(decision)
            )
        return self._generated(heard, decision, laps)

    def _injected(self, turn: Understood, before: DialogueState) -> Reply:
        """Answer words that try to change the rules; no engine ever sees them, and nothing rests on them."""
        text, pending = self._box.phrase("injection"), before.pending
        if pending is not None:
            text = policy.asked_again(text, pending)
            pending = still_asked(pending, text)
        reply = self._reply(turn, text, Decision.OUT_OF_SCOPE, understood=False)
        state = replace(
            before,
            messages=(*before.messages, Message("assistant", text))[-MAX_MESSAGES:],
            placeholders=turn.state.placeholders,
            pending=pending,
            last_answer=text,
            out_of_scope=reply.state.out_of_scope,
        )
        return replace(reply, state=state, values=())

    def _by_rules(self, turn: Understood, laps: Laps) -> Reply | None:
        """Replies that nothing else may decide: opting out, the survey, the caller's own accounts."""
        if policy.says(turn.tag, policy.OPT_OUT) or policy.opts_out(turn.user.text):
            return self._opted_out(turn)
        pending = turn.state.pending
        if pending is not None and policy.unheard(turn.user, pending):
            text, asked = pending.question, replace(pending, heard=True)
            return self._reply(_untasked(turn), text, Decision.CLARIFY, understood=False, pending=asked)
        move = survey_move(self._box, turn) or bank_move(self._box, turn, laps)
        return None if move is None else self._moved(turn, move)

    def _moved(self, turn: Understood, move: Move) -> Reply:
        turn = _untasked(replace(turn, state=move.state))
        reply = self._reply(
            turn,
            move.answer,
            move.decision,
            next=move.next,
            understood=move.understood,
            pending=move.pending,
        )
        feedback = reply.state.feedback
        return replace(reply, tools=move.tools, holds=move.holds, error=move.error, feedback=feedback)

    def _controlled(self, turn: Understood) -> Reply | None:
        """Replies about the call itself; those that are only an aside leave what was asked open."""
        control = None if turn.user.task else policy.control_reply(turn.tag, turn.state)
        if control is None:
            return None
        if control.next is Next.END and self._ask_survey:
            return self._moved(turn, survey_begun(self._box, turn))
        text = self._box.phrase(control.prompt, answer=turn.state.last_answer)
        pending = turn.state.pending
        if (
            turn.tag.label in policy.ASIDES
            and pending is not None
            and (pending.intent in TASKS or pending.step)
        ):
            text = policy.asked_again(text, pending)
            return self._reply(turn, text, control.decision, pending=pending)
        if turn.tag.label != policy.REPEAT:
            return self._reply(turn, text, control.decision, next=control.next)
        reply = self._reply(turn, text, control.decision, pending=turn.state.pending)
        return replace(reply, state=replace(reply.state, last_answer=turn.state.last_answer))

    def _opted_out(self, turn: Understood) -> Reply:
        """Stop the recording, whatever becomes of the wording that says so.

        What else the turn asked is left for the caller to ask again; nothing may rest on it meanwhile.
        """
        if turn.user.task:
            tag = replace(turn.tag, label=policy.OPT_OUT)
            turns = (*turn.state.turns[:-1], replace(turn.user, task="", values=(), tag=tag))
            turn = replace(turn, state=replace(turn.state, turns=turns))
        try:
            reply = self._disclosed(turn, "", ("",), Decision.DISCLOSURE)
        except EngineError as error:
            reply = self._reply(turn, self._box.phrase("apology"), Decision.APOLOGY)
            reply = replace(reply, error=fault("disclosure", error))
        pending = turn.state.pending
        state = no_longer_asked(replace(reply.state, pending=pending))
        return replace(reply, stop_recording=True, state=state)

    def _task(self, turn: Understood, laps: Laps) -> Reply:
        """Read unsure values back until they are confirmed or denied (design D13); then the tools work."""
        pending, task = turn.state.pending, turn.user.task
        said = policy.decisive(turn.user, self._box.currency)
        denied = policy.says(turn.tag, policy.DENY)
        if pending is not None and pending.doubts and pending.heard and denied:
            turn = _without(turn, [doubt.value for doubt in pending.doubts])
            if not said:
                text = self._box.phrase("confirm_again")
                return self._reply(turn, text, Decision.CLARIFY, pending=PendingTask(task))
        sure = turn.confidence >= self._box.confirm_below
        doubts = policy.doubts_after(pending, turn.user, said, turn.state.placeholders, sure=sure)
        if not doubts:
            return self._generated(turn, None, laps)
        values = " and ".join(self._read_back(doubt) for doubt in doubts)
        text = self._box.phrase("confirm_values", values=values)
        return self._reply(
            turn,
            text,
            Decision.CLARIFY,
            pending=PendingTask(task, doubts=doubts),
            understood=not policy.repeats(pending, task, text),
        )

    def _read_back(self, doubt: Doubt) -> str:
        """The words of a value, with what it would be used for where they do not say that."""
        if doubt.clear and doubt.role is not Role.EXTRA:
            return doubt.words
        return self._box.phrase(f"doubt_{doubt.role}", words=doubt.words)

    def _out_of_scope(self, turn: Understood) -> Reply:
        text = self._box.phrase("out_of_scope_again" if turn.state.out_of_scope else "out_of_scope")
        offered, pending = policy.pending_after(text, "", computed=False), turn.state.pending
        if pending is None or (offered is not None and pending.intent == offered.intent):
            pending = offered
        if pending is not None and pending.reads_back:
            text = policy.asked_again(text, pending)
        return self._reply(turn, text, Decision.OUT_OF_SCOPE, understood=False, pending=pending)

    def _generated(self, turn: Understood, looked_up: CacheDecision | None, laps: Laps) -> Reply:
        """Let the engine answer; `looked_up` is None for a task, which no cache may answer."""
        task = turn.user.task
        approved = None if task else approved_for(self._box, turn)
        # An answer with wordings behind it is one piece: it must be heard, and nothing of it is said early.
        say = None if approved is not None and approved.disclosures else turn.say
        tools = self._box.executor.schemas if task else ()
        request = request_for(turn, approved.text if approved else "", tools)
        made = generate(self._box, turn, request, laps, say)
        cache = cache_record(looked_up) if looked_up else None
        turn, text = _took(turn, made, self._box.fallback.info.name)
        if approved is not None and approved.disclosures:
            reply = self._disclosed(turn, text, approved.disclosures, Decision.DISCLOSURE, cache=cache)
        else:
            computed = any(tool.ok and tool.name in policy.COMPUTING_TOOLS for tool in made.tools)
            pending = policy.pending_after(text, task, computed=computed)
            follows = policy.next_after(text)
            offered = offer(self._box, turn) if follows is Next.LISTEN else None
            if offered is not None:
                text, pending = f"{text} {offered.question}", replace(offered, question="")
            decision = _decision(task, pending, follows, computed=computed)
            asks = decision is Decision.CLARIFY
            again = asks and policy.repeats(turn.state.pending, task, text)
            if asks:
                turn = self._without_refused(turn, made)
            reply = self._reply(
                turn,
                text,
                decision,
                next=follows,
                understood=not again,
                pending=pending,
                cache=cache,
            )
        return replace(reply, llm_engine=made.engine, tools=(*made.tools, *reply.tools), error=made.error)

    def _without_refused(self, turn: Understood, made: Generation) -> Understood:
        """The turn after values that no tool takes, so that the caller need not take them back."""
        roles = policy.blamed(tool.error for tool in made.tools if not tool.ok)
        turns = turn.state.turns
        if roles:
            turns = tuple(policy.without_roles(user, roles, self._box.currency) for user in turns)
        return replace(turn, state=replace(turn.state, turns=turns))

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
            records.append(tool_record(self._box, result))
            parts.append(str(result.value["text"]))
            references.append(str(result.value["reference"]))
        answer = " ".join(part for part in parts if part)
        pending = policy.pending_after(text, "", computed=False)
        reply = self._reply(turn, answer, decision, pending=pending, cache=cache)
        return replace(reply, tools=tuple(records), disclosures=tuple(references), holds=True)

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
        if pending is not None and not pending.question:
            pending = replace(pending, question=answer)
        elif pending is not None:
            pending = still_asked(pending, answer)
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
            summary=summary_of(state) if next is Next.TRANSFER else "",
        )


def _took(turn: Understood, made: Generation, fallback: str) -> tuple[Understood, str]:
    """The turn with what the engine's tools gave, and its answer without personal values.

    Only a language model's own words are searched for them: approved wording may hold the bank's numbers.
    """
    state = replace(turn.state, results=(*turn.state.results, *made.results))
    text = made.text
    if made.engine != fallback:
        redacted = redact(text, known=state.placeholders)
        state, text = replace(state, placeholders=redacted.placeholders), redacted.text
    return replace(turn, state=state), text


def _untasked(turn: Understood) -> Understood:
    """The turn as one that belongs to no calculation, whatever its words look like."""
    turns = (*turn.state.turns[:-1], replace(turn.user, task=""))
    return replace(turn, state=replace(turn.state, turns=turns))


def _without(turn: Understood, denied: Sequence[TypedValue]) -> Understood:
    """The turn after values that the caller denied; nothing may be computed from them any more."""
    wrong = {value.canonical() for value in denied}
    before = len(turn.state.values) - len(turn.user.values)
    kept = [value for value in turn.state.values[:before] if value.canonical() not in wrong]
    state = replace(turn.state, values=(*kept, *turn.state.values[before:]))
    return replace(turn, state=state)


def _decision(task: str, pending: PendingTask | None, follows: Next, *, computed: bool) -> Decision:
    if computed:
        return Decision.TOOL
    if follows is Next.TRANSFER:
        return Decision.TRANSFER
    asks = bool(task) and pending is not None and pending.intent == task
    return Decision.CLARIFY if asks else Decision.ANSWER

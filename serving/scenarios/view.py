"""A turn and a call as scenario testing shows them: steps, a table of expectations, a summary.

Pure functions from records, which are redacted already. What a caller or an engine said is escaped before
it goes into Markdown: it is shown, never interpreted.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.call.expectations import Expectation, expectations
from serving.call.record import CallRecord, ToolRecord, TurnRecord
from serving.call.script import CallScript, ScriptTurn

StepKind = Literal["tool", "llm", "retrieval", "undefined"]

STAGES_OF = {
    "Speech-to-text": ("stt",),
    "Understanding": ("parse", "intent", "redact"),
    "Cache": ("cache",),
    "LLM": ("llm",),
    "Text-to-speech": ("tts",),
}
"""Which of a turn's stage times belong to which step; a tool has a time of its own, and the silence that ends
a turn is work of no step."""
_NOT_SHOWN = frozenset({"text", "sha256", "steps", "schedule"})
"""Parts of a tool's result that are long and are said or kept elsewhere."""
_NO_NAME = re.compile(r"[^A-Za-z0-9_ .-]+")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$:])")


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a turn.

    Attributes:
        seconds: elapsed time; None where the step has none of its own.
    """

    name: str
    kind: StepKind
    given: Mapping[str, Any]
    result: Mapping[str, Any]
    seconds: float | None = None
    failed: bool = False

    @property
    def title(self) -> str:
        """Name and time; only characters that Chainlit takes in a name, as it asks for a picture by it."""
        elapsed = "" if self.seconds is None else f" - {milliseconds(self.seconds)}"
        return _NO_NAME.sub(" ", self.name + elapsed)


@dataclass(frozen=True, slots=True)
class Checked:
    """A script's line with the expectations that its turn met or not.

    Attributes:
        number: from 1.
        judged: whether they count; noise cannot be typed, so a noisy line that was typed shows nothing.
    """

    number: int
    items: tuple[Expectation, ...]
    judged: bool = True

    @property
    def unmet(self) -> int:
        """How many were not met."""
        return sum(not item.met for item in self.items)


def steps(turn: TurnRecord) -> list[StepView]:
    """The steps of a turn, in the order in which they ran."""
    shown = [_hearing(turn)] if turn.audio_s else []
    if turn.intent:
        shown += [_understanding(turn), _cache(turn)]
    if turn.llm_engine:
        shown.append(
            StepView(
                f"LLM - {turn.llm_engine}",
                "llm",
                {"text": turn.text, "intent": turn.intent, "values": list(turn.values)},
                {"answer": turn.answer},
                _elapsed(turn, "LLM"),
            )
        )
    shown += [_tool(tool) for tool in turn.tools]
    if turn.reply_s:
        shown.append(
            StepView(
                "Text-to-speech",
                "undefined",
                {"text": turn.answer},
                {
                    "sound": f"{turn.reply_s:.1f} s",
                    "heard": "cut short" if turn.interrupted else "to its end",
                },
                _elapsed(turn, "Text-to-speech"),
            )
        )
    if turn.error:
        shown.append(StepView("Error", "undefined", {}, {"error": turn.error}, failed=True))
    return shown


def decision_line(turn: TurnRecord) -> str:
    """What was decided, and where the time went; the stage times add up to the total."""
    decided = f"**{turn.decision.value.replace('_', ' ')}**"
    if turn.voice_to_voice_s is None:
        return decided
    parts = [f"{name.replace('_', ' ')} {1_000 * seconds:.0f}" for name, seconds in turn.stages.items()]
    return f"{decided} · {' + '.join(parts)} = {milliseconds(turn.voice_to_voice_s)}"


def check(turn: TurnRecord, number: int, line: ScriptTurn, *, spoken: bool) -> Checked:
    """Hold a turn against its line."""
    return Checked(number, expectations(turn, line), judged=spoken or line.noise_snr_db is None)


def whole(script: CallScript, checked: Iterable[Checked], *, spoken: bool) -> list[Checked]:
    """Every line of a script, once.

    A line whose pause made two turns of it counts by the better one. What a line expects that the call never
    reached is unmet.
    """
    best: dict[int, Checked] = {}
    for one in checked:
        if one.number not in best or one.unmet < best[one.number].unmet:
            best[one.number] = one
    return [
        best.get(number) or _never(number, line, spoken) for number, line in enumerate(script.turns, start=1)
    ]


def expectations_table(checked: Sequence[Checked]) -> str:
    """The script's expectations, line by line, met or unmet."""
    judged = [(one.number, item) for one in checked if one.judged for item in one.items]
    rows = [
        (
            str(number),
            "met" if item.met else "**UNMET**",
            item.what,
            plain(item.expected),
            plain(shortened(item.found)),
        )
        for number, item in judged
    ]
    met = sum(item.met for _, item in judged)
    verdict = "All expectations met" if met == len(judged) else f"**{len(judged) - met} unmet**"
    left_out = ", ".join(str(one.number) for one in checked if not one.judged)
    note = f" Line {left_out} not judged: its noise cannot be typed." if left_out else ""
    table = _table(("line", "", "what", "expected", "found"), rows)
    return f"{verdict}: {met} of {len(judged)}.{note}\n\n{table}"


def summary(call: CallRecord) -> str:
    """The call in figures: how it ended, hit rate, latency, tools."""
    hits, lookups = _lookups(call.turns)
    delays = [turn.voice_to_voice_s for turn in call.turns if turn.voice_to_voice_s is not None]
    tools = [tool for turn in call.turns for tool in turn.tools]
    rows = [
        ("ending", call.ending.value.replace("_", " ") if call.ending else "open"),
        ("turns", str(len(call.turns))),
        ("cache hit rate", f"{hits} of {lookups} lookups" + (f", {hits / lookups:.0%}" if lookups else "")),
        ("voice to voice", _spread(delays)),
        ("tool calls", f"{len(tools)}, {sum(not tool.ok for tool in tools)} failed"),
        ("turns with an error", str(sum(bool(turn.error) for turn in call.turns))),
        ("length", f"{call.duration_s:.1f} s, {call.talk_s:.1f} s of speech"),
        ("adapter", plain(call.adapter)),
        ("engines", plain(", ".join(f"{role} {name}" for role, name in call.engines.items()))),
        ("recording", plain(call.recording) if call.recording else "none"),
        ("call", f"`{call.call_id}`"),
    ]
    return _table(("call", ""), rows)


def plain(text: str) -> str:
    """Text that Markdown leaves alone, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def shortened(text: str, most: int = 160) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def milliseconds(seconds: float) -> str:
    """A duration as people compare it."""
    return f"{1_000 * seconds:.1f} ms" if seconds < 0.01 else f"{1_000 * seconds:,.0f} ms"


def _hearing(turn: TurnRecord) -> StepView:
    given = {"sound": f"{turn.audio_s:.1f} s of speech"}
    if "end_of_turn" in turn.stages:
        given["end of turn"] = f"after {milliseconds(turn.stages['end_of_turn'])} of silence"
    return StepView(
        f"Speech-to-text - {turn.stt_engine}",
        "undefined",
        given,
        {"text": turn.text, "confidence": round(turn.confidence, 3)},
        _elapsed(turn, "Speech-to-text"),
    )


def _understanding(turn: TurnRecord) -> StepView:
    result = {
        "intent": turn.intent,
        "probability": round(turn.intent_probability, 3),
        "in_scope": turn.in_scope,
        "values": list(turn.values),
        "adapter": turn.intent_version,
    }
    return StepView(
        f"Understanding - {turn.intent}",
        "undefined",
        {"text": turn.text},
        result,
        _elapsed(turn, "Understanding"),
    )


def _cache(turn: TurnRecord) -> StepView:
    given = {"text": turn.text, "intent": turn.intent}
    cache = turn.cache
    if cache is None:
        return StepView("Cache - not asked", "retrieval", given, {"reason": "no turn for a lookup"})
    result: dict[str, Any] = {"outcome": cache.outcome, "reason": cache.reason.replace("_", " ")}
    if cache.detail:
        result["detail"] = cache.detail
    if cache.similarity is not None:
        result["similarity"] = round(cache.similarity, 3)
    if cache.entry_id:
        result["entry"] = cache.entry_id
    name = f"Cache - {cache.outcome} - {cache.reason.replace('_', ' ')}"
    return StepView(name, "retrieval", given, result, _elapsed(turn, "Cache"))


def _tool(tool: ToolRecord) -> StepView:
    given = {name: value for name, value in tool.arguments.items() if value != ""}
    if tool.ok:
        result = {name: value for name, value in tool.value.items() if name not in _NOT_SHOWN}
    else:
        result = {"failed": tool.error}
    return StepView(f"Tool - {tool.name}", "tool", given, result, tool.seconds, failed=not tool.ok)


def _elapsed(turn: TurnRecord, step: str) -> float | None:
    spent = [turn.stages[stage] for stage in STAGES_OF[step] if stage in turn.stages]
    return sum(spent) if spent else None


def _never(number: int, line: ScriptTurn, spoken: bool) -> Checked:
    items = tuple(
        Expectation(what, str(wanted), "the call ended before", met=False)
        for what, wanted in line.expect.items()
        if what != "arguments"
    )
    return Checked(number, items, judged=spoken or line.noise_snr_db is None)


def _lookups(turns: Iterable[TurnRecord]) -> tuple[int, int]:
    """Hits, and lookups of questions that may be answered from the cache at all."""
    outcomes = [turn.cache.outcome for turn in turns if turn.cache is not None]
    return outcomes.count("hit"), outcomes.count("hit") + outcomes.count("miss")


def _spread(delays: Sequence[float]) -> str:
    if not delays:
        return "nothing was played"
    return f"median {milliseconds(statistics.median(delays))}, slowest {milliseconds(max(delays))}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])

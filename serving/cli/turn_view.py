"""A call as people read it: who said what, what was decided and why, and where the time went."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from serving.call.record import CacheRecord, CallRecord, ToolRecord, TurnRecord


class ConsoleObserver:
    """Prints each turn when it is finalised, and a line when the call has ended."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def turn_committed(self, turn: "TurnRecord") -> None:
        """Print one turn."""
        for label, text, style in turn_lines(turn):
            self._console.print(f"[dim]{label:>9}[/dim]  ", end="")
            self._console.print(text, style=style, markup=False, highlight=False)
        self._console.print()

    def call_ended(self, call: "CallRecord") -> None:
        """Print how the call ended."""
        ending = call.ending.value.replace("_", " ") if call.ending else "open"
        why = f", no recording ({call.unrecorded.replace('_', ' ')})" if call.unrecorded else ""
        recording = f", recording {call.recording}" if call.recording else why
        self._console.print(
            f"Call {call.call_id}: {ending} after {call.duration_s:.1f} s, "
            f"{len(call.turns)} turns{recording}",
            style="bold",
            markup=False,
        )


def turn_lines(turn: "TurnRecord") -> list[tuple[str, str, str]]:
    """A turn as (label, text, style) lines."""
    heard = f"{turn.stt_engine}, confidence {turn.confidence:.2f}" if turn.audio_s else turn.stt_engine
    lines = [("caller", f"{turn.text or '…'}   ({heard})", "cyan")]
    if turn.intent:
        scope = "" if turn.in_scope else ", out of scope"
        lines.append(
            ("intent", f"{turn.intent} {turn.intent_probability:.2f}{scope} ({turn.intent_version})", "")
        )
    if turn.values:
        lines.append(("values", ", ".join(turn.values), ""))
    if turn.cache is not None:
        lines.append(("cache", cache_line(turn.cache), "green" if turn.cache.outcome == "hit" else ""))
    lines += [("tool", tool_line(tool), "magenta") for tool in turn.tools]
    if turn.error:
        lines.append(("error", turn.error, "red"))
    decision = turn.decision.value.replace("_", " ")
    lines.append(("decision", decision + (f" by {turn.llm_engine}" if turn.llm_engine else ""), "yellow"))
    lines.append(("bot", turn.answer, "bold"))
    if turn.voice_to_voice_s is not None:
        lines.append(("time", stage_line(turn.stages, turn.voice_to_voice_s), "dim"))
    return lines


def cache_line(cache: "CacheRecord") -> str:
    """Outcome, reason and evidence of a lookup."""
    return f"{cache.outcome}, {cache.reason.replace('_', ' ')}" + (
        f": {cache.detail}" if cache.detail else ""
    )


def tool_line(tool: "ToolRecord") -> str:
    """A tool call with its arguments, and its result or why it failed."""
    arguments = ", ".join(f"{name}={value}" for name, value in tool.arguments.items() if value != "")
    if not tool.ok:
        return f"{tool.name}({arguments}) → failed: {tool.error}"
    shown = {name: value for name, value in tool.value.items() if name not in {"text", "sha256", "steps"}}
    return f"{tool.name}({arguments}) → " + ", ".join(f"{name} {value}" for name, value in shown.items())


def stage_line(stages: Mapping[str, float], total_s: float) -> str:
    """Milliseconds of each stage; they add up to the total."""
    parts = [f"{name.replace('_', ' ')} {seconds * 1_000:.0f}" for name, seconds in stages.items()]
    return " · ".join(parts) + f" = {total_s * 1_000:.0f} ms"

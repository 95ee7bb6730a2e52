"""What a replay decided differently: its turns beside those of the record, each with its own."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serving.call.record import CallRecord, ToolRecord, TurnRecord

_NEAR_S = 2.0
"""Turns whose voices began further apart are not the same because of when they were said, seconds."""
_SOME = 0.01
"""Of two turns that have nothing in common one replaces the other rather than being missing."""

Pair = tuple[TurnRecord | None, TurnRecord | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is decided differently today.

    Attributes:
        turn: index in the record; of a turn that is not in it, in the replay.
        what: `text`, `decision`, `intent`, `cache`, `tools`, `answer`, or `turns` for a turn that only one
            of both has; then the words of it are on that side.
    """

    turn: int
    what: str
    recorded: str
    replayed: str


def differences(
    call: CallRecord, turns: Sequence[TurnRecord], *, heard: bool, skipped: Collection[int] = ()
) -> list[Difference]:
    """What was decided otherwise.

    Args:
        call: as recorded.
        turns: of the replay.
        heard: whether the words were recognised anew, and are compared as well.
        skipped: turns of the record that cannot be compared.
    """
    found: list[Difference] = []
    for before, after in aligned(call.turns, turns, timed=heard):
        if before is not None and before.index in skipped:
            continue
        if before is not None and after is not None:
            found += _between(before, after, heard=heard)
        elif before is not None:
            found.append(Difference(before.index, "turns", _words(before), ""))
        elif after is not None:
            found.append(Difference(after.index, "turns", "", _words(after)))
    return found


def aligned(recorded: Sequence[TurnRecord], replayed: Sequence[TurnRecord], *, timed: bool) -> list[Pair]:
    """Both calls' turns in order, each beside its own.

    The best of all ways to line them up, as two texts are compared line by line.

    Args:
        recorded: turns of the record.
        replayed: turns of the replay.
        timed: whether the times of both are of the same sound.
    """
    rows, columns = len(recorded), len(replayed)
    likeness = [[_SOME + _alike(a, b, timed=timed) for b in replayed] for a in recorded]
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for row in reversed(range(rows)):
        for column in reversed(range(columns)):
            both = likeness[row][column] + best[row + 1][column + 1]
            best[row][column] = max(both, best[row + 1][column], best[row][column + 1])
    pairs: list[Pair] = []
    row = column = 0
    while row < rows and column < columns:
        if best[row][column] == likeness[row][column] + best[row + 1][column + 1]:
            pairs.append((recorded[row], replayed[column]))
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            pairs.append((recorded[row], None))
            row += 1
        else:
            pairs.append((None, replayed[column]))
            column += 1
    pairs += [(turn, None) for turn in recorded[row:]]
    return pairs + [(None, turn) for turn in replayed[column:]]


def same_answer(one: str, other: str, *, part: bool) -> bool:
    """Whether two answers are the same.

    Args:
        part: one of them may have been broken off.
    """
    return one == other or (part and (one.startswith(other) or other.startswith(one)))


def tool_facts(tools: Sequence[ToolRecord]) -> str:
    """Tools that ran, with arguments."""
    return ", ".join(f"{tool.name}({_arguments(tool)}){'' if tool.ok else ' failed'}" for tool in tools)


def _arguments(tool: ToolRecord) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(tool.arguments.items()))


def _alike(one: TurnRecord, other: TurnRecord, *, timed: bool) -> float:
    """0 for turns that have nothing in common, to 2 for the same words at the same time."""
    words = Counter(one.text.lower().split()), Counter(other.text.lower().split())
    all_words = words[0].total() + words[1].total()
    same_words = 2 * (words[0] & words[1]).total() / all_words if all_words else 1.0
    if not timed or one.started_s is None or other.started_s is None:
        return 2 * same_words if (one.started_s is None) == (other.started_s is None) else same_words
    return same_words + max(0.0, 1.0 - abs(one.started_s - other.started_s) / _NEAR_S)


def _between(before: TurnRecord, after: TurnRecord, *, heard: bool) -> list[Difference]:
    facts = _facts(before), _facts(after)
    cut = before.interrupted or after.interrupted
    return [
        Difference(before.index, what, was, now)
        for (what, was), now in zip(facts[0].items(), facts[1].values(), strict=True)
        if was != now
        and (heard or what != "text")
        and not (what == "answer" and same_answer(was, now, part=cut))
    ]


def _facts(turn: TurnRecord) -> dict[str, str]:
    return {
        "text": turn.text,
        "decision": turn.decision.value,
        "intent": turn.intent,
        "cache": turn.cache.outcome if turn.cache else "",
        "tools": tool_facts(turn.tools),
        "answer": turn.answer,
    }


def _words(turn: TurnRecord) -> str:
    return turn.text or "(nothing understood)"

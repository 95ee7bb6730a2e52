"""What recorded calls heard beside what their scripts say, line by line, for the word error rate.

Calls by the same script repeat the same words in the same voice, and so are no independent evidence:
resamples draw whole scripts, or whole lines where all calls follow one script. What cannot be compared is
counted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evaluation.wer import Utterance
from serving.call.record import CallRecord
from serving.call.script import CallScript
from serving.telemetry.redaction import redact

NO_SCRIPT = "calls whose script is gone or cannot be read"
NO_TURN = "calls that ended before the first line"
NOT_REACHED = "script lines that their call did not reach"
CUT = "calls with noise in which a line was cut in two"


@dataclass(frozen=True, slots=True)
class ScriptedSpeech:
    """Recorded calls, ready to be scored.

    Attributes:
        utterances: grouped (`call_id`) by what resamples draw.
        unit: what that is: `script`, or `line` where all calls follow one script.
        calls: calls with at least one utterance here.
        scripts: different scripts among them.
        left_out: what was not compared, in words, and how many of it.
    """

    utterances: tuple[Utterance, ...]
    unit: str
    calls: int
    scripts: int
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Pair:
    script: str
    line: int
    said: str
    heard: str


def align(
    calls: Iterable[CallRecord], scripts: Mapping[str, CallScript], *, clean_only: bool = False
) -> ScriptedSpeech:
    """Pair the turns of calls with the lines of their scripts, in order, as far as the call went.

    A call with more turns than lines had a line cut in two by a pause, after which turns and lines no longer
    belong together; it is compared as one long utterance.

    Args:
        calls: records of calls that were spoken from a script.
        scripts: the scripts that can be read, by id.
        clean_only: leave out lines with noise.
    """
    found: list[list[_Pair]] = []
    left_out: Counter[str] = Counter()
    for call in calls:
        script = scripts.get(call.script)
        if script is None:
            left_out[NO_SCRIPT] += 1
        elif not call.turns:
            left_out[NO_TURN] += 1
        elif len(call.turns) <= len(script.turns):
            left_out[NOT_REACHED] += len(script.turns) - len(call.turns)
            found.append(_by_line(call, script, clean_only=clean_only))
        elif clean_only and any(line.noise_snr_db is not None for line in script.turns):
            left_out[CUT] += 1
        else:
            said = " ".join(redact(line.say).text for line in script.turns)
            found.append([_Pair(script.id, 0, said, " ".join(turn.text for turn in call.turns))])
    pairs = [pair for call in found for pair in call]
    names = {pair.script for pair in pairs}
    by_script = len(names) > 1
    return ScriptedSpeech(
        utterances=tuple(
            Utterance(pair.script if by_script else f"{pair.script}, line {pair.line}", pair.said, pair.heard)
            for pair in pairs
        ),
        unit="script" if by_script else "line",
        calls=sum(bool(call) for call in found),
        scripts=len(names),
        left_out={what: count for what, count in left_out.items() if count},
    )


def _by_line(call: CallRecord, script: CallScript, *, clean_only: bool) -> list[_Pair]:
    heard = zip(script.turns, call.turns, strict=False)  # the call may have ended before the script
    return [
        _Pair(script.id, number, redact(line.say).text, turn.text)
        for number, (line, turn) in enumerate(heard, start=1)
        if not (clean_only and line.noise_snr_db is not None)
    ]

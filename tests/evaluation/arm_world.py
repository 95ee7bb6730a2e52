"""Simulated calls of a split, from callers whose habits are known; what a comparison finds can be checked.

    python -m tests.evaluation.arm_world FOLDER      # a call database to try `voicebot compare-arms` on

Arms are drawn as servers draw them (`serving.arms.assignment`). No caller, word or time is anybody's.
"""

import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from serving.arms.assignment import arm_of
from serving.arms.split import Arm, Share, Split
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord
from serving.call.store import CallStore

START = datetime(2026, 10, 1, 8, tzinfo=UTC)
SPLIT = "5117ab1e0001"


@dataclass(frozen=True)
class Habits:
    """What becomes of calls that an arm answers: probabilities and means."""

    transferred: float = 0.15
    settled: float = 0.8
    comes_back: float = 0.12
    satisfied: float = 0.75
    fails: float = 0.05
    wait_s: float = 0.8
    turn_s: float = 25.0


SAME = Habits()
BETTER = replace(SAME, transferred=0.08, settled=0.88, comes_back=0.08, fails=0.03)


def a_split(*percents: int, days: float = 10, start: datetime = START) -> Split:
    """A split whose share was altered every so many days."""
    shares = tuple(Share(start + timedelta(days=days * n), percent) for n, percent in enumerate(percents))
    return Split(SPLIT, "banking-lora/2", "banking-lora/3", shares, by="ops", why="a simulation")


def turn(index: int = 1, **more: Any) -> TurnRecord:
    values: dict[str, Any] = {
        "call_id": "", "index": index, "started_at": START, "text": "words", "stt_engine": "pocketsphinx",
        "confidence": 0.9, "audio_s": 2.0, "decision": Decision.ANSWER, "answer": "a", "spoken": "a",
        "interrupted": False, "stages": {"stt": 0.3, "tts": 0.2}, "voice_to_voice_s": 0.5, "reply_s": 3.0,
        "intent": "card_arrival",
    }  # fmt: skip
    return TurnRecord(**(values | more))


def call(call_id: str, key: str, arm: Arm | str, at: datetime, *turns: TurnRecord, **more: Any) -> CallRecord:
    values: dict[str, Any] = {
        "call_id": call_id, "started_at": at, "transport": "twilio", "adapter": f"banking-lora {arm}",
        "cache_scope": "s", "engines": {}, "caller": f"hash of {key}", "ending": Ending.COMPLETED,
        "ended_at": at + timedelta(minutes=1), "duration_s": 60.0, "talk_s": 40.0, "confirmed": True,
        "arm": str(arm), "split": SPLIT, "caller_key": key,
    }  # fmt: skip
    mine = tuple(replace(item, call_id=call_id, started_at=at) for item in (turns or (turn(),)))
    return CallRecord(**(values | more), turns=mine)


def simulated(
    callers: int,
    split: Split,
    *,
    challenger: Habits = BETTER,
    champion: Habits = SAME,
    seed: int = 0,
    days: float = 20,
) -> list[CallRecord]:
    """The calls of so many callers over some days; some call again, about the same or much later."""
    rng = random.Random(seed)
    calls: list[CallRecord] = []
    for number in range(callers):
        key = f"{rng.getrandbits(128):032x}"
        arm = arm_of(split, key)
        habits = challenger if arm is Arm.CHALLENGER else champion
        at = split.started_at + timedelta(days=days * rng.random())
        calls.append(_one(f"sim-{number:05}-0", key, arm, at, habits, rng, split.id))
        again = 3.0 if calls[-1].confirmed and rng.random() < habits.comes_back else 9.0
        if again < 9 or rng.random() < 0.2:
            later = at + timedelta(days=again * rng.uniform(0.5, 1.0) + (8 if again == 9 else 0))
            calls.append(_one(f"sim-{number:05}-1", key, arm, later, habits, rng, split.id))
    return calls


def _one(
    call_id: str, key: str, arm: Arm, at: datetime, habits: Habits, rng: random.Random, split: str
) -> CallRecord:
    turns = []
    for index in range(1, rng.randint(2, 5)):
        failed = rng.random() < habits.fails
        wait = rng.lognormvariate(0, 0.4) * habits.wait_s
        decision = Decision.REPROMPT if failed else Decision.ANSWER
        turns.append(turn(index, decision=decision, voice_to_voice_s=wait, stages={"reply": wait}))
    seconds = sum(rng.lognormvariate(0, 0.5) * habits.turn_s for _ in turns)
    moved = rng.random() < habits.transferred
    survey = (5 if rng.random() < 0.6 else 4) if rng.random() < habits.satisfied else rng.randint(1, 3)
    ended: dict[str, Any] = {
        "ending": Ending.TRANSFERRED if moved else Ending.COMPLETED,
        "confirmed": None if moved else rng.random() < habits.settled,
        "survey": survey if rng.random() < 0.4 else None,
        "duration_s": seconds,
        "ended_at": at + timedelta(seconds=seconds),
        "split": split,
    }
    return call(call_id, key, arm, at, *turns, **ended)


def kept(calls: Iterable[CallRecord], url: str) -> None:
    """Write calls into a call database."""
    store = CallStore(url)
    for item in calls:
        store.save(item)
    store.close()


def main(folder: Path) -> None:
    """3,000 simulated callers of a split at 30 %, the first of them 45 days ago."""
    folder.mkdir(parents=True, exist_ok=True)
    split = a_split(30, start=datetime.now(UTC) - timedelta(days=45))
    kept(simulated(3_000, split), f"sqlite:///{folder / 'calls.db'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Calls, exported files and filled-in reviews for tests."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flows.utterances import ExportOutcome
from serving.call.machine import Ending
from serving.call.record import CallRecord, Decision, TurnRecord, Unrecorded

NOW = datetime.now(UTC)
CONSENT = "Terms 2026-11, section 7"
INTENTS = {
    "card_arrival": {
        "train": ["when will my card come", "my card is not here yet"],
        "validate": ["has the card been sent"],
        "test": ["where is the card that i ordered"],
    },
    "lost_or_stolen_card": {
        "train": ["i lost my card", "somebody stole my wallet"],
        "validate": ["my card is gone"],
        "test": ["block the card it was stolen"],
    },
}
PERSONAL = (
    "my card number is 4111 1111 1111 1111",
    "my name is margaret thatcher",
    "write to jane.roe@example.com please",
    "call me on +1 555 010 0199",
    "i was born on 4 march 1961",
    "my pin is 4921",
    "i live at 221 baker street",
)


def call(name: str, *said: str | tuple[str, float], unrecorded: Unrecorded | None = Unrecorded.OFF,
         ended: bool = True, ago: timedelta = timedelta(hours=2)) -> CallRecord:  # fmt: skip
    began = NOW - ago
    turns = []
    for index, words in enumerate(said, start=1):
        text, sure = (words, 0.5) if isinstance(words, str) else words
        turns.append(
            TurnRecord(
                call_id=name, index=index, started_at=began, text=text, stt_engine="typed", confidence=1.0,
                audio_s=0.0, decision=Decision.ANSWER, answer="", spoken="", interrupted=False, stages={},
                voice_to_voice_s=None, reply_s=0.0, intent="card_arrival", intent_probability=sure,
                intent_version="banking-lora/1",
            )
        )  # fmt: skip
    return CallRecord(
        name, began, "console", "banking-lora/1", "scope", {}, ended_at=began if ended else None,
        ending=Ending.COMPLETED if ended else None, unrecorded=unrecorded, turns=tuple(turns),
    )  # fmt: skip


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def review(file: Path, labels: dict[str, str], **changed: str) -> Path:
    """A copy with labels filled in by text, and some fields of these lines changed."""
    header, *texts = rows(file)
    done = [
        row | ({"label": labels[row["text"]], **changed} if row["text"] in labels else {}) for row in texts
    ]
    copy = file.with_name("done.jsonl")
    copy.write_text("".join(json.dumps(row) + "\n" for row in (header, *done)), encoding="utf-8")
    return copy


def texts_of(outcome: ExportOutcome) -> list[str]:
    return [row["text"] for row in rows(outcome.file)[1:]]

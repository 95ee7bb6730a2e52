"""Callers' utterances for reviewers: which turns may leave the call records, and in what form.

Only redacted texts leave, none of a caller who wants no recording, none without a stated consent, and none in
which a second look still finds something personal. An export tells what it left out. Nothing of the call but
the words goes with them: no call, no caller, no time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from serving.call.policy import OPT_OUT, opts_out
from serving.call.record import CallRecord, TurnRecord, Unrecorded
from serving.errors import InvalidInputError, RefusedError
from serving.telemetry.redaction import contains_personal, redact
from training.data import MAX_TEXT_CHARS, canonical, comparable

SCHEMA = 1
HEADER = "export"
_ID_HEX = 16


@dataclass(frozen=True, slots=True)
class Utterance:
    """One text for a reviewer; its file has the fields in this order, behind the label.

    Attributes:
        text: redacted words, canonical.
        predicted: the adapter's intent.
        probability: its probability, 0 to 1.
        in_scope: whether the adapter took the text for something it knows.
        version: the adapter.
        times: turns with this text, apart from case and punctuation.
        id: stands for the text; a label comes back under it.
    """

    text: str
    predicted: str
    probability: float
    in_scope: bool
    version: str
    times: int
    id: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Turns that were left out, by the first reason that held, and calls.

    Attributes:
        opted_out_calls: calls whose caller wants no recording; no turn of them is looked at.
        open_calls: calls that still last, whose caller may yet say so.
        untagged: turns without words or intent.
        personal: turns in whose redacted text something personal was still found.
        too_long: turns longer than a training text may be.
        repeated: turns whose text is there already.
    """

    opted_out_calls: int = 0
    open_calls: int = 0
    untagged: int = 0
    personal: int = 0
    too_long: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that leaves.

    Attributes:
        since: beginning of the window, UTC.
        until: its end, UTC.
        consent: what the bank stated.
        calls: calls of the window.
        dropped: what was left out.
        utterances: the least sure first.
    """

    since: datetime
    until: datetime
    consent: str
    calls: int
    dropped: Dropped
    utterances: tuple[Utterance, ...]

    @property
    def sha256(self) -> str:
        """Stands for the export: its facts and its texts, without any label."""
        rows = [_line(asdict(utterance)) for utterance in self.utterances]
        return hashlib.sha256("\n".join([_line(self._facts()), *rows]).encode()).hexdigest()

    def to_jsonl(self) -> str:
        """The reviewers' file: a header, then a line for each text with an empty label."""
        header = {HEADER: {**self._facts(), "sha256": self.sha256}}
        rows = [{"label": "", **asdict(utterance)} for utterance in self.utterances]
        return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in (header, *rows))

    def _facts(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "since": self.since.isoformat(timespec="seconds"),
            "until": self.until.isoformat(timespec="seconds"),
            "consent": self.consent,
            "calls": self.calls,
            "texts": len(self.utterances),
            "dropped": asdict(self.dropped),
        }


def export_utterances(calls: Iterable[CallRecord], since: datetime, until: datetime, consent: str) -> Export:
    """Choose what reviewers may see of a window's calls.

    Args:
        calls: calls with their turns; those that began outside the window are not looked at.
        since: beginning of the window, UTC.
        until: its end, UTC.
        consent: what lets callers' words be used for training (`training_consent`).

    Raises:
        RefusedError: no consent was stated.
    """
    if not consent.strip():
        raise RefusedError(
            "Callers' words may be used for training only with their consent, and none is stated.",
            advice="Set VOICEBOT_TRAINING_CONSENT to where it is given, such as 'Terms 2026-11, section 7'.",
        )
    window = [call for call in calls if since <= call.started_at < until]
    counts = dict.fromkeys(asdict(Dropped()), 0)
    found: dict[str, list[TurnRecord]] = {}
    for call in window:
        if opted_out(call):
            counts["opted_out_calls"] += 1
        elif call.ended_at is None:
            counts["open_calls"] += 1
        else:
            for turn in call.turns:
                if reason := _unfit(turn):
                    counts[reason] += 1
                else:
                    found.setdefault(comparable(turn.text), []).append(turn)
    counts["repeated"] = sum(len(turns) - 1 for turns in found.values())
    rows = sorted(_utterances(found), key=lambda row: (row.probability, -row.times, row.id))
    # To the second, as the header says it, so that a file that is read again has the same hash.
    first, last = (moment.astimezone(UTC).replace(microsecond=0) for moment in (since, until))
    return Export(first, last, consent.strip(), len(window), Dropped(**counts), tuple(rows))


def opted_out(call: CallRecord) -> bool:
    """Whether the caller wants no recording: the record says so, or that it may be, or a turn does.

    Where no sound was kept anyway (typed calls), only the turn tells.
    """
    if call.unrecorded in {Unrecorded.OPTED_OUT, Unrecorded.UNANSWERED}:
        return True
    return any(turn.intent == OPT_OUT or opts_out(turn.text) for turn in call.turns)


def still_personal(text: str) -> bool:
    """Whether redaction would take anything out of a text that was redacted before."""
    return contains_personal(text) or redact(text).text != text


def text_id(text: str) -> str:
    """What stands for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_HEX]


def read_export(lines: Iterable[Mapping[str, Any]]) -> Export:
    """The export behind the lines of its file; labels are not looked at.

    Raises:
        InvalidInputError: these are not the lines of an export.
    """
    try:
        header, *rows = lines
        facts = dict(header[HEADER])
        if facts["schema"] != SCHEMA:
            raise ValueError("another schema")
        return Export(
            since=datetime.fromisoformat(facts["since"]),
            until=datetime.fromisoformat(facts["until"]),
            consent=str(facts["consent"]),
            calls=int(facts["calls"]),
            dropped=Dropped(**facts["dropped"]),
            utterances=tuple(
                Utterance(**{name: value for name, value in row.items() if name != "label"}) for row in rows
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"This is no export of utterances: {error!r}.") from error


def _unfit(turn: TurnRecord) -> str:
    text = canonical(turn.text)
    if not turn.intent or not comparable(text):
        return "untagged"
    if len(text) > MAX_TEXT_CHARS:
        return "too_long"
    return "personal" if still_personal(text) else ""


def _utterances(found: Mapping[str, list[TurnRecord]]) -> Iterator[Utterance]:
    """One for each distinct text: of its turns the least sure."""
    for turns in found.values():
        turn = min(turns, key=lambda item: (item.intent_probability, item.text))
        text, sure = canonical(turn.text), round(min(1.0, turn.intent_probability), 6)
        yield Utterance(
            text, turn.intent, sure, turn.in_scope, turn.intent_version, len(turns), text_id(text)
        )


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)

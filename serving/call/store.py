"""Call and turn records in a database, through SQLAlchemy so that PostgreSQL is only a URL.

A turn is inserted once, in its own transaction, when it is finalised; a second insert of the same turn
is an integrity error, not an update. Errors never quote what was written: they reach logs.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serving.call.machine import Ending
from serving.call.record import CallRecord, TurnRecord, Unrecorded, call_of
from serving.call.tables import CALLS, TURNS, open_engine, prepare_tables, translated
from serving.errors import InvalidInputError, MissingError, UnavailableError
from serving.plain import plain

_TYPED = "typed"
"""Engine's name in the record of a turn that was not spoken."""


class CallStore:
    """Records of all calls of one installation.

    Args:
        url: SQLAlchemy address; tables and columns are created where they are missing.

    Raises:
        InvalidInputError: the address is none.
        UnavailableError: the database does not answer or cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = open_engine(url)
        # The address may hold a password, so neither it nor what SQLAlchemy says of it is repeated.
        except (sa.exc.ArgumentError, ValueError, TypeError) as error:
            raise InvalidInputError(
                f"The database address of the call records cannot be read ({type(error).__name__}).",
                advice="Write VOICEBOT_DATABASE_URL as postgresql+DRIVER://USER:PASSWORD@HOST:PORT/NAME.",
            ) from None
        except (ModuleNotFoundError, OSError) as error:
            raise UnavailableError(
                f"The database address of the call records cannot be used ({type(error).__name__}).",
                advice="Check VOICEBOT_DATABASE_URL, that its driver is installed, and its folder.",
            ) from error
        try:
            self._create()
        except UnavailableError:  # another process may just have made the tables
            self._create()

    def _create(self) -> None:
        with translated():
            prepare_tables(self._engine)

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    def begin(self, call: CallRecord) -> None:
        """Insert a call at its start.

        Raises:
            IntegrityError: the call was begun before.
        """
        with translated(f"Call {call.call_id} was begun before."), self._engine.begin() as db:
            db.execute(CALLS.insert().values(_call_row(call)))

    def add_turn(self, turn: TurnRecord) -> None:
        """Insert a finalised turn of a call that was begun.

        Raises:
            IntegrityError: this turn was recorded before, or its call never was.
        """
        twice = f"Turn {turn.index} of call {turn.call_id} was recorded before, or its call never began."
        with translated(twice), self._engine.begin() as db:
            db.execute(TURNS.insert().values(_turn_row(turn)))

    def end(self, call: CallRecord) -> None:
        """Write the end of a call that was begun.

        Raises:
            MissingError: it was not.
        """
        with translated(), self._engine.begin() as db:
            if not db.execute(_update(call)).rowcount:
                raise MissingError(f"Call {call.call_id} has no beginning on record.")

    def save(self, call: CallRecord) -> None:
        """Write all that is missing of a call in one transaction; turns that are there stay as they are."""
        with translated(), self._engine.begin() as db:
            if not db.execute(_update(call)).rowcount:
                db.execute(CALLS.insert().values(_call_row(call)))
            there = set(db.scalars(sa.select(TURNS.c.index).where(TURNS.c.call_id == call.call_id)))
            missing = [_turn_row(turn) for turn in call.turns if turn.index not in there]
            if missing:
                db.execute(TURNS.insert(), missing)

    def end_lost(self, *, silent_since: datetime) -> int:
        """End the calls that nobody will end any more; returns how many.

        They end, as `Ending.LOST`, with the last that is known of them. A call that was still going on
        overwrites that when it really ends.

        Args:
            silent_since: UTC; a call whose last turn (without one, itself) began before this is lost.
        """
        last = sa.func.coalesce(sa.func.max(TURNS.c.started_at), CALLS.c.started_at)
        left_open = (
            sa.select(CALLS.c.call_id, CALLS.c.started_at, last.label("last"))
            .outerjoin(TURNS, TURNS.c.call_id == CALLS.c.call_id)
            .where(CALLS.c.ended_at.is_(None), CALLS.c.started_at < silent_since)
            .group_by(CALLS.c.call_id, CALLS.c.started_at)
            .having(last < silent_since)
        )
        with translated(), self._engine.begin() as db:
            lost = db.execute(left_open).all()
            for call_id, started_at, seen in lost:
                end = {"ended_at": seen, "ending": Ending.LOST.value}
                seconds = max(0.0, (seen - started_at).total_seconds())
                still_open = (CALLS.c.call_id == call_id) & CALLS.c.ended_at.is_(None)
                db.execute(CALLS.update().where(still_open).values(**end, duration_s=seconds))
        return len(lost)

    def call(self, call_id: str) -> CallRecord:
        """One call with its turns.

        Raises:
            MissingError: no such call.
        """
        found = self._found(CALLS.select().where(CALLS.c.call_id == call_id))
        if not found:
            raise MissingError(f"No call {call_id[:64]} is recorded.")
        return found[0]

    def calls(self, *, since: datetime | None = None, limit: int | None = None) -> list[CallRecord]:
        """Calls with their turns, oldest first; `limit` keeps the newest.

        Args:
            since: only calls that started at or after this time; a time without a zone is UTC.
        """
        query = CALLS.select().order_by(CALLS.c.started_at.desc(), CALLS.c.call_id.desc())
        if since is not None:
            query = query.where(CALLS.c.started_at >= _utc(since))
        return self._found(query.limit(limit))[::-1]

    def ended_in_split(self, split: str, *, since: datetime) -> list[tuple[str, datetime]]:
        """Id and end of the calls of a split that ended at or after a time, oldest end first."""
        query = (
            sa.select(CALLS.c.call_id, CALLS.c.ended_at)
            .where(CALLS.c.split == split, CALLS.c.ended_at >= _utc(since))
            .order_by(CALLS.c.ended_at, CALLS.c.call_id)
        )
        with translated(), self._engine.connect() as db:
            return [(call_id, _utc(at)) for call_id, at in db.execute(query)]

    def these(self, call_ids: Sequence[str]) -> list[CallRecord]:
        """Calls by their ids (at most some hundreds), oldest first; unknown ids are left out."""
        return self._found(CALLS.select().where(CALLS.c.call_id.in_(call_ids)).order_by(CALLS.c.started_at))

    def check(self) -> None:
        """Ask the database for nothing, to know whether it answers.

        Raises:
            UnavailableError: it does not.
        """
        with translated(), self._engine.connect() as db:
            db.execute(sa.select(1))

    def endings(self, *, since: datetime) -> dict[str, int]:
        """How many calls ended in which way at or after a time."""
        query = (
            sa.select(CALLS.c.ending, sa.func.count())
            .where(CALLS.c.ended_at >= _utc(since), CALLS.c.ending.is_not(None))
            .group_by(CALLS.c.ending)
            .order_by(CALLS.c.ending)
        )
        with translated(), self._engine.connect() as db:
            return {row.ending: row[1] for row in db.execute(query)}

    def waits(self, *, since: datetime) -> list[float]:
        """Voice-to-voice of each spoken turn that was answered at or after a time, seconds."""
        query = sa.select(TURNS.c.voice_to_voice_s).where(
            TURNS.c.started_at >= _utc(since),
            TURNS.c.voice_to_voice_s.is_not(None),
            TURNS.c.record["stt_engine"].as_string() != _TYPED,
        )
        with translated(), self._engine.connect() as db:
            return list(db.scalars(query))

    def recordings(self, *, until: datetime) -> list[tuple[str, str]]:
        """Call and path of each recording on record whose call began before a time, oldest first."""
        query = (
            sa.select(CALLS.c.call_id, CALLS.c.recording)
            .where(CALLS.c.started_at < _utc(until), CALLS.c.recording.is_not(None))
            .order_by(CALLS.c.started_at, CALLS.c.call_id)
        )
        with translated(), self._engine.connect() as db:
            return [(call_id, path) for call_id, path in db.execute(query)]

    def forget_recording(self, call_id: str) -> None:
        """Note that a call's recording is past its time and gone; harmless twice."""
        gone = {"recording": None, "unrecorded": Unrecorded.EXPIRED.value}
        with translated(), self._engine.begin() as db:
            db.execute(CALLS.update().where(CALLS.c.call_id == call_id).values(gone))

    def _found(self, query: sa.Select[Any]) -> list[CallRecord]:
        """Calls of a query in its order, with their turns, all as of one moment."""
        ids = query.with_only_columns(CALLS.c.call_id).subquery()
        of_those = TURNS.select().where(TURNS.c.call_id.in_(sa.select(ids))).order_by(TURNS.c.index)
        with translated(), self._engine.connect() as db:
            rows = [dict(row) for row in db.execute(query).mappings()]
            turns: dict[str, list[Any]] = {row["call_id"]: [] for row in rows}
            for item in db.execute(of_those).mappings():
                if item["call_id"] in turns:  # a call that began between the two queries
                    turns[item["call_id"]].append(_decoded(item["record"]))
        return [call_of({**row, "turns": turns[row["call_id"]]}) for row in rows]


def _utc(moment: datetime) -> datetime:
    """SQLite keeps no zone; a time without one is UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _call_row(call: CallRecord) -> dict[str, Any]:
    row = asdict(replace(call, turns=()))
    del row["turns"]
    row["started_at"] = _utc(call.started_at)
    row["ended_at"] = _utc(call.ended_at) if call.ended_at else None
    row["ending"] = call.ending.value if call.ending else None
    row["unrecorded"] = call.unrecorded.value if call.unrecorded else None
    row["engines"] = dict(call.engines)
    row["transfer_summary"] = _text(call.transfer_summary)
    return row


def _text(words: str) -> str:
    """Words as every database takes them: without NUL, and without halves of a character."""
    return words.replace("\0", "").encode(errors="replace").decode()


def _update(call: CallRecord) -> sa.Update:
    row = {name: value for name, value in _call_row(call).items() if name != "call_id"}
    return CALLS.update().where(CALLS.c.call_id == call.call_id).values(row)


def _turn_row(turn: TurnRecord) -> dict[str, Any]:
    return {
        "call_id": turn.call_id,
        "index": turn.index,
        "started_at": _utc(turn.started_at),
        "intent": turn.intent,
        "decision": turn.decision.value,
        "voice_to_voice_s": turn.voice_to_voice_s,
        "record": plain(turn),
    }


def _decoded(record: Any) -> Any:
    return json.loads(record) if isinstance(record, str) else record

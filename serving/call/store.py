"""Call and turn records in a database, through SQLAlchemy so that PostgreSQL is only a URL.

A turn is inserted once, in its own transaction, when it is finalised; a second insert of the same turn
is an integrity error, not an update. Errors never quote what was written: they reach logs.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serving.call.machine import Ending
from serving.call.record import CallRecord, TurnRecord, call_of
from serving.errors import (
    EngineError,
    IntegrityError,
    InvalidInputError,
    MissingError,
    UnavailableError,
)
from serving.plain import plain

SQLITE_BUSY_S = 1.0
"""How long a write waits for another one, seconds; a caller waits with it."""

metadata = sa.MetaData()

_calls = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", sa.String(32), primary_key=True),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("transport", sa.String(32), nullable=False),
    sa.Column("script", sa.String(64), nullable=False, default=""),
    sa.Column("caller", sa.String(64), nullable=False, default="", index=True),
    sa.Column("adapter", sa.String(128), nullable=False),
    sa.Column("cache_scope", sa.String(64), nullable=False),
    sa.Column("engines", sa.JSON, nullable=False),
    sa.Column("ending", sa.String(32)),
    sa.Column("duration_s", sa.Float, nullable=False, default=0.0),
    sa.Column("talk_s", sa.Float, nullable=False, default=0.0),
    sa.Column("confirmed", sa.Boolean),
    sa.Column("survey", sa.Integer),
    sa.Column("recording", sa.Text),
)

_turns = sa.Table(
    "turns",
    metadata,
    sa.Column("call_id", sa.String(32), sa.ForeignKey("calls.call_id"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("intent", sa.String(64), nullable=False, index=True),
    sa.Column("decision", sa.String(32), nullable=False),
    sa.Column("voice_to_voice_s", sa.Float),
    sa.Column("record", sa.JSON, nullable=False),
)


class CallStore:
    """Records of all calls of one installation.

    Args:
        url: SQLAlchemy address; tables are created where they are missing.

    Raises:
        InvalidInputError: the address is none.
        UnavailableError: the database does not answer or cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = _engine(url)
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
        with _translated():
            if self._engine.dialect.name == "sqlite":
                with self._engine.connect() as db:  # readers and the writer do not wait for each other
                    db.exec_driver_sql("PRAGMA journal_mode = WAL")
            metadata.create_all(self._engine)

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    def begin(self, call: CallRecord) -> None:
        """Insert a call at its start.

        Raises:
            IntegrityError: the call was begun before.
        """
        with _translated(f"Call {call.call_id} was begun before."), self._engine.begin() as db:
            db.execute(_calls.insert().values(_call_row(call)))

    def add_turn(self, turn: TurnRecord) -> None:
        """Insert a finalised turn of a call that was begun.

        Raises:
            IntegrityError: this turn was recorded before, or its call never was.
        """
        twice = f"Turn {turn.index} of call {turn.call_id} was recorded before, or its call never began."
        with _translated(twice), self._engine.begin() as db:
            db.execute(_turns.insert().values(_turn_row(turn)))

    def end(self, call: CallRecord) -> None:
        """Write the end of a call that was begun.

        Raises:
            MissingError: it was not.
        """
        with _translated(), self._engine.begin() as db:
            if not db.execute(_update(call)).rowcount:
                raise MissingError(f"Call {call.call_id} has no beginning on record.")

    def save(self, call: CallRecord) -> None:
        """Write all that is missing of a call in one transaction; turns that are there stay as they are."""
        with _translated(), self._engine.begin() as db:
            if not db.execute(_update(call)).rowcount:
                db.execute(_calls.insert().values(_call_row(call)))
            there = set(db.scalars(sa.select(_turns.c.index).where(_turns.c.call_id == call.call_id)))
            missing = [_turn_row(turn) for turn in call.turns if turn.index not in there]
            if missing:
                db.execute(_turns.insert(), missing)

    def end_lost(self, *, silent_since: datetime) -> int:
        """End the calls that nobody will end any more; returns how many.

        They end, as `Ending.LOST`, with the last that is known of them. A call that was still going on
        overwrites that when it really ends.

        Args:
            silent_since: UTC; a call whose last turn (without one, itself) began before this is lost.
        """
        last = sa.func.coalesce(sa.func.max(_turns.c.started_at), _calls.c.started_at)
        left_open = (
            sa.select(_calls.c.call_id, _calls.c.started_at, last.label("last"))
            .outerjoin(_turns, _turns.c.call_id == _calls.c.call_id)
            .where(_calls.c.ended_at.is_(None), _calls.c.started_at < silent_since)
            .group_by(_calls.c.call_id, _calls.c.started_at)
            .having(last < silent_since)
        )
        with _translated(), self._engine.begin() as db:
            lost = db.execute(left_open).all()
            for call_id, started_at, seen in lost:
                end = {"ended_at": seen, "ending": Ending.LOST.value}
                seconds = max(0.0, (seen - started_at).total_seconds())
                still_open = (_calls.c.call_id == call_id) & _calls.c.ended_at.is_(None)
                db.execute(_calls.update().where(still_open).values(**end, duration_s=seconds))
        return len(lost)

    def call(self, call_id: str) -> CallRecord:
        """One call with its turns.

        Raises:
            MissingError: no such call.
        """
        found = self._found(_calls.select().where(_calls.c.call_id == call_id))
        if not found:
            raise MissingError(f"No call {call_id[:64]} is recorded.")
        return found[0]

    def calls(self, *, since: datetime | None = None, limit: int | None = None) -> list[CallRecord]:
        """Calls with their turns, oldest first; `limit` keeps the newest.

        Args:
            since: only calls that started at or after this time; a time without a zone is UTC.
        """
        query = _calls.select().order_by(_calls.c.started_at.desc(), _calls.c.call_id.desc())
        if since is not None:
            moment = since.replace(tzinfo=UTC) if since.tzinfo is None else since.astimezone(UTC)
            query = query.where(_calls.c.started_at >= moment)
        return self._found(query.limit(limit))[::-1]

    def _found(self, query: sa.Select[Any]) -> list[CallRecord]:
        """Calls of a query in its order, with their turns, all as of one moment."""
        ids = query.with_only_columns(_calls.c.call_id).subquery()
        of_those = _turns.select().where(_turns.c.call_id.in_(sa.select(ids))).order_by(_turns.c.index)
        with _translated(), self._engine.connect() as db:
            rows = [dict(row) for row in db.execute(query).mappings()]
            turns: dict[str, list[Any]] = {row["call_id"]: [] for row in rows}
            for item in db.execute(of_those).mappings():
                if item["call_id"] in turns:  # a call that began between the two queries
                    turns[item["call_id"]].append(_decoded(item["record"]))
        return [call_of({**row, "turns": turns[row["call_id"]]}) for row in rows]


def _engine(url: str) -> sa.Engine:
    address = sa.make_url(url)
    if address.get_backend_name() != "sqlite":
        return sa.create_engine(address, pool_pre_ping=True, hide_parameters=True)
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(address, connect_args={"timeout": SQLITE_BUSY_S}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")  # a turn needs its call, as in PostgreSQL

    return engine


@contextmanager
def _translated(conflict: str = "Two records contradict each other.") -> Iterator[None]:
    """Errors of the database in our words; what was being written stays out of them."""
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise IntegrityError(conflict) from error
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        cause = getattr(error, "orig", None)
        raise UnavailableError(
            f"The database of the call records does not answer: {cause or type(error).__name__}.",
            advice="Check that it is running, not locked, and that VOICEBOT_DATABASE_URL is right.",
        ) from error
    except sa.exc.DatabaseError as error:
        kind = type(error.orig).__name__
        raise EngineError(
            f"The database of the call records failed ({kind}).", advice="Look into the database's own log."
        ) from error


def _call_row(call: CallRecord) -> dict[str, Any]:
    row = asdict(replace(call, turns=()))
    del row["turns"]
    row["ending"] = call.ending.value if call.ending else None
    row["engines"] = dict(call.engines)
    return row


def _update(call: CallRecord) -> sa.Update:
    row = {name: value for name, value in _call_row(call).items() if name != "call_id"}
    return _calls.update().where(_calls.c.call_id == call.call_id).values(row)


def _turn_row(turn: TurnRecord) -> dict[str, Any]:
    return {
        "call_id": turn.call_id,
        "index": turn.index,
        "started_at": turn.started_at,
        "intent": turn.intent,
        "decision": turn.decision.value,
        "voice_to_voice_s": turn.voice_to_voice_s,
        "record": plain(turn),
    }


def _decoded(record: Any) -> Any:
    return json.loads(record) if isinstance(record, str) else record

"""Call and turn records in a database, through SQLAlchemy so that PostgreSQL is only a URL.

A turn is inserted once, in its own transaction, when it is finalised; a second insert of the same turn
is an integrity error, not an update.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serving.call.machine import Ending
from serving.call.record import CacheRecord, CallRecord, Decision, ToolRecord, TurnRecord
from serving.errors import IntegrityError, MissingError, UnavailableError
from serving.plain import plain

_metadata = sa.MetaData()

_calls = sa.Table(
    "calls",
    _metadata,
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
    _metadata,
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
        UnavailableError: the database does not answer or cannot be opened.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = sa.create_engine(url)
            with _translated():
                _metadata.create_all(self._engine)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise UnavailableError(
                f"The database address of the call records cannot be used: {error}.",
                advice="Check VOICEBOT_DATABASE_URL, and that its driver is installed.",
            ) from error

    def begin(self, call: CallRecord) -> None:
        """Insert a call at its start."""
        row = {key: value for key, value in _row(call).items() if key != "turns"}
        with _translated(), self._engine.begin() as db:
            db.execute(_calls.insert().values(row))

    def add_turn(self, turn: TurnRecord) -> None:
        """Insert a finalised turn.

        Raises:
            IntegrityError: this turn of this call was recorded before.
        """
        values = {
            "call_id": turn.call_id,
            "index": turn.index,
            "started_at": turn.started_at,
            "intent": turn.intent,
            "decision": turn.decision.value,
            "voice_to_voice_s": turn.voice_to_voice_s,
            "record": plain(turn),
        }
        try:
            with _translated(), self._engine.begin() as db:
                db.execute(_turns.insert().values(values))
        except sa.exc.IntegrityError as error:
            raise IntegrityError(f"Turn {turn.index} of call {turn.call_id} was recorded before.") from error

    def end(self, call: CallRecord) -> None:
        """Write the end of a call that was begun."""
        row = {key: value for key, value in _row(call).items() if key not in {"turns", "call_id"}}
        with _translated(), self._engine.begin() as db:
            db.execute(_calls.update().where(_calls.c.call_id == call.call_id).values(row))

    def call(self, call_id: str) -> CallRecord:
        """One call with its turns.

        Raises:
            MissingError: no such call.
        """
        with _translated(), self._engine.connect() as db:
            row = db.execute(_calls.select().where(_calls.c.call_id == call_id)).mappings().first()
            if row is None:
                raise MissingError(
                    f"No call {call_id} is recorded.", advice="List calls with `voicebot calls`."
                )
            turns = db.execute(
                _turns.select().where(_turns.c.call_id == call_id).order_by(_turns.c.index)
            ).mappings()
            return _call(dict(row), tuple(_turn(item["record"]) for item in turns))

    def calls(self, *, since: datetime | None = None, limit: int | None = None) -> list[CallRecord]:
        """Calls with their turns, oldest first; `limit` keeps the newest.

        Args:
            since: only calls that started at or after this UTC time.
        """
        query = _calls.select().order_by(_calls.c.started_at.desc(), _calls.c.call_id.desc())
        if since is not None:
            query = query.where(_calls.c.started_at >= since)
        with _translated(), self._engine.connect() as db:
            rows = [dict(row) for row in db.execute(query.limit(limit)).mappings()]
            ids = {row["call_id"] for row in rows}
            turns: dict[str, list[TurnRecord]] = {id_: [] for id_ in ids}
            ordered = _turns.select().order_by(_turns.c.call_id, _turns.c.index)
            for item in db.execute(ordered).mappings():
                if item["call_id"] in ids:
                    turns[item["call_id"]].append(_turn(item["record"]))
        return [_call(row, tuple(turns[row["call_id"]])) for row in reversed(rows)]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.OperationalError as error:
        raise UnavailableError(
            f"The database of the call records does not answer: {error.orig}.",
            advice="Check that it is running, not locked, and that VOICEBOT_DATABASE_URL is right.",
        ) from error


def _row(call: CallRecord) -> dict[str, Any]:
    row = asdict(replace(call, turns=()))
    row["ending"] = call.ending.value if call.ending else None
    row["engines"] = dict(call.engines)
    return row


def _utc(value: datetime | None) -> datetime | None:
    """SQLite drops the zone; all times here are UTC."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def _call(row: dict[str, Any], turns: tuple[TurnRecord, ...]) -> CallRecord:
    row["started_at"], row["ended_at"] = _utc(row["started_at"]), _utc(row["ended_at"])
    row["ending"] = Ending(row["ending"]) if row["ending"] else None
    return CallRecord(**row, turns=turns)


def _turn(record: dict[str, Any] | str) -> TurnRecord:
    data: dict[str, Any] = json.loads(record) if isinstance(record, str) else dict(record)
    data["started_at"] = datetime.fromisoformat(data["started_at"])
    data["decision"] = Decision(data["decision"])
    data["cache"] = CacheRecord(**data["cache"]) if data["cache"] else None
    data["tools"] = tuple(ToolRecord(**item) for item in data["tools"])
    for name in ("values", "disclosures"):
        data[name] = tuple(data[name])
    return TurnRecord(**data)

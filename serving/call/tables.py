"""Tables of the call records, how an older database gains what it lacks, and the errors of both in our words.

Columns are only ever added, each with a default of the database's own: an older server may go on writing
beside a newer one, and a database that was opened once by a newer version still opens with an older.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from serving.errors import EngineError, IntegrityError, UnavailableError
from serving.telemetry.attributes import CHAMPION

SQLITE_BUSY_S = 5.0
"""How long a write waits for another one, seconds. Live calls write aside; fifty of them on one machine that
is busy kept each other waiting for more than one."""
CONNECT_S = 2
"""How long a server of a database may take to accept a connection, whole seconds."""
_DEAD_AFTER_MS = 10_000
"""A connection whose other end says nothing for this long is given up, milliseconds."""
_STATEMENT_MS = 30_000
"""Longest statement, milliseconds; reports over months of calls take seconds."""
_MIGRATION_LOCK = 0x766F6963
"""Key of PostgreSQL's advisory lock: one process at a time creates and changes tables."""

metadata = sa.MetaData()

CALLS = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", sa.String(32), primary_key=True),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("ended_at", sa.DateTime(timezone=True), index=True),
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
    # Since 0.2. What is added needs a default of the database's own, for the rows that are there.
    sa.Column("dropped_frames", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("false_interruptions", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("transfer_summary", sa.Text, nullable=False, server_default=""),
    sa.Column("verified", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("unrecorded", sa.String(16)),
    sa.Column("arm", sa.String(16), nullable=False, server_default=CHAMPION),
    sa.Column("split", sa.String(32), nullable=False, server_default="", index=True),
    sa.Column("caller_key", sa.String(64), nullable=False, server_default=""),
)

TURNS = sa.Table(
    "turns",
    metadata,
    sa.Column("call_id", sa.String(32), sa.ForeignKey("calls.call_id"), primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("intent", sa.String(64), nullable=False, index=True),
    sa.Column("decision", sa.String(32), nullable=False),
    sa.Column("voice_to_voice_s", sa.Float),
    sa.Column("record", sa.JSON, nullable=False),
)


def open_engine(url: str) -> sa.Engine:
    """A pool of connections; nothing is asked of the database yet.

    Args:
        url: SQLAlchemy address; a PostgreSQL that names no driver is reached by the one that we install.
    """
    address = sa.make_url(url)
    if address.drivername in {"postgresql", "postgres"}:
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() != "sqlite":
        limits = _postgres_limits(address)
        return sa.create_engine(
            address, pool_pre_ping=True, pool_timeout=CONNECT_S, hide_parameters=True, connect_args=limits
        )
    if address.database and address.database != ":memory:":
        Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(address, connect_args={"timeout": SQLITE_BUSY_S}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")  # a turn needs its call, as in PostgreSQL

    return engine


def _postgres_limits(address: sa.URL) -> dict[str, Any]:
    """Time limits in the words of libpq, for its driver; what the address itself says comes first."""
    if address.get_driver_name() != "psycopg":
        return {}
    limits = {
        "connect_timeout": CONNECT_S,
        "tcp_user_timeout": _DEAD_AFTER_MS,
        "options": f"-c timezone=UTC -c statement_timeout={_STATEMENT_MS}",
    }
    return {name: value for name, value in limits.items() if name not in address.query}


def prepare_tables(engine: sa.Engine) -> None:
    """Create what is missing: tables, indexes, and columns that a version after the database's added."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as db:  # readers and the writer do not wait for each other
            db.exec_driver_sql("PRAGMA journal_mode = WAL")
    with engine.connect() as db:
        if sa.inspect(db).has_table(TURNS.name) and not _lacking(db) and not _unindexed(db):
            return
    with engine.begin() as db:
        # Whoever comes second waits, and then finds nothing missing.
        if db.dialect.name == "sqlite":
            db.exec_driver_sql("BEGIN IMMEDIATE")
        elif db.dialect.name == "postgresql":
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        metadata.create_all(db)
        for column in _lacking(db):
            definition = sa.schema.CreateColumn(column).compile(dialect=db.dialect)
            db.exec_driver_sql(f"ALTER TABLE {CALLS.name} ADD COLUMN {definition}")
        for index in _unindexed(db):
            index.create(db)


def _lacking(db: sa.Connection) -> list[sa.Column[Any]]:
    """Columns that the database's table of calls does not have; all, where there is no table."""
    inspector = sa.inspect(db)
    there: set[str] = set()
    if inspector.has_table(CALLS.name):
        there = {column["name"] for column in inspector.get_columns(CALLS.name)}
    return [column for column in CALLS.columns if column.name not in there]


def _unindexed(db: sa.Connection) -> list[sa.Index]:
    """Indexes that the database's tables do not have."""
    inspector = sa.inspect(db)
    there = {item["name"] for table in metadata.tables for item in inspector.get_indexes(table)}
    return [index for table in metadata.tables.values() for index in table.indexes if index.name not in there]


@contextmanager
def translated(conflict: str = "Two records contradict each other.") -> Iterator[None]:
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

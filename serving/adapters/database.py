"""A quick look at MLflow's database before MLflow is asked, and what MLflow's own errors mean.

MLflow creates a missing SQLite file and waits 20 s for a locked one, then logs a stack trace. This look
takes a fraction of a millisecond and turns an absent, foreign or locked file into an error that says
what to do. Databases on a server are not looked at; their driver's own errors are clear enough.
"""

import os
import sqlite3
from pathlib import Path

from serving.errors import (
    IntegrityError,
    InvalidInputError,
    MissingError,
    UnavailableError,
    VoicebotError,
)

_SQLITE = "sqlite:///"
_SERVERS = ("postgresql", "mysql", "mssql")


def quiet_mlflow() -> None:
    """Keep MLflow off the network; entry points call it before anything imports MLflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")


def check_readable(uri: str, timeout_s: float) -> None:
    """Make sure that the registry can be read.

    Args:
        uri: MLflow's database address.
        timeout_s: how long a locked file is waited for, in seconds.

    Raises:
        MissingError: there is no database yet.
        UnavailableError: it stays locked, or cannot be opened.
        IntegrityError: the file is no SQLite database.
        InvalidInputError: the address is none that the registry supports, or the database is not MLflow's.
    """
    path = _sqlite_file(uri)
    if path is not None:
        if _is_new(path):
            raise MissingError(
                f"There is no adapter registry yet ({path}).",
                advice="Run `make demo` or `voicebot train`, or set VOICEBOT_MLRUNS to where it is.",
            )
        _query(path, "SELECT version_num FROM alembic_version", timeout_s)


def check_writable(uri: str, timeout_s: float, *, create: bool) -> None:
    """Make sure that the registry can be changed, as `check_readable` does for reading.

    Args:
        uri: MLflow's database address.
        timeout_s: how long a locked file is waited for, in seconds.
        create: whether the database may be made now where there is none.
    """
    path = _sqlite_file(uri)
    if path is not None and create and _is_new(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    check_readable(uri, timeout_s)
    if path is not None:
        _query(path, "BEGIN IMMEDIATE", timeout_s)


def translated(uri: str, code: str, error: Exception, absent: MissingError | None = None) -> VoicebotError:
    """Our error for one that MLflow or its database driver raised.

    Args:
        uri: MLflow's database address.
        code: MLflow's error code.
        error: what was raised.
        absent: what it means where something is not there; default: MLflow's own words.
    """
    reason = " ".join(str(error).split())[:300]
    if "out-of-date database schema" in reason:
        address = uri if uri.startswith(_SQLITE) else '"$VOICEBOT_TRACKING_URI"'  # may hold a password
        return UnavailableError(
            f"The adapter registry was made by another version of MLflow: {reason}",
            advice=f"Back the database up, then run `mlflow db upgrade {address}`, "
            "or install the version of MLflow that made it.",
        )
    if code == "RESOURCE_DOES_NOT_EXIST":
        return absent or MissingError(
            f"The registry does not know that: {reason}",
            advice="`adapter-control list` shows what there is; `voicebot train` registers a first adapter.",
        )
    return UnavailableError(f"The adapter registry did not answer: {reason}", advice="Try again in a moment.")


def _sqlite_file(uri: str) -> Path | None:
    """The database file; None where the database is on a server."""
    if uri.startswith(_SQLITE):
        return Path(uri.removeprefix(_SQLITE).partition("?")[0])
    if uri.startswith(_SERVERS):
        return None
    raise InvalidInputError(
        f"The registry needs a database address; {uri.partition(':')[0][:20]!r} is none.",
        advice="Set VOICEBOT_TRACKING_URI to sqlite:////path/mlflow.db or postgresql://…",
    )


def _is_new(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


def _query(path: Path, statement: str, timeout_s: float) -> None:
    """Run one statement and take it back; `mode=rw` never creates a file."""
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None
        )
        try:
            connection.execute(statement).fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise _explained(path, error, timeout_s) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError(
            f"{path} is no readable SQLite database: {error}.", advice="Restore it from its backup."
        ) from error


def _explained(
    path: Path, error: sqlite3.OperationalError, timeout_s: float
) -> UnavailableError | InvalidInputError:
    if "no such table" in str(error):
        return InvalidInputError(
            f"{path} is a database, but not MLflow's.", advice="Set VOICEBOT_MLRUNS to MLflow's folder."
        )
    if "locked" in str(error):
        return UnavailableError(
            f"The adapter registry {path} has been locked for {timeout_s:g} s.",
            advice="Another program is writing; try again, or look for one that hangs.",
        )
    return UnavailableError(f"The adapter registry {path} cannot be used: {error}.")

"""Filing a call's records: what the database refuses is kept in memory, written later, or set aside.

A call goes on whatever happens to its records, and none of them is lost silently: each later record
first tries to save all that is missing, and what is still missing at the end of the call becomes a file
that the next start of the server (and its sweeper) saves. Every failure is logged and counted.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loguru import logger

from serving.call.faults import fault
from serving.call.ports import Records
from serving.call.record import CallRecord, TurnRecord, call_of
from serving.errors import UnavailableError
from serving.files import make_folder, write_atomically
from serving.plain import plain


class Filing:
    """The records of one call on their way to the database; it never raises.

    Called by one thread after another, but for a write that hangs and comes back beside later ones.

    Args:
        records: the database.
        aside: folder for calls that could not be saved by their end.
        failed: told of each write that failed.
    """

    def __init__(self, records: Records, aside: Path, failed: Callable[[], None] = lambda: None) -> None:
        self._records = records
        self._aside = aside
        self._failed = failed
        self._behind = False
        self._missed = False
        self._call: CallRecord | None = None

    def begin(self, call: CallRecord) -> None:
        """The call began."""
        self._call = call
        self._write(call, lambda: self._records.begin(call))

    def add_turn(self, turn: TurnRecord) -> None:
        """A turn was finalised."""
        assert self._call is not None
        self._call = replace(self._call, turns=(*self._call.turns, turn))
        self._write(self._call, lambda: self._records.add_turn(turn))

    def missed(self) -> None:
        """A record hangs on its way, or never came here: the end of the call writes whatever is missing."""
        self._missed = True

    def end(self, call: CallRecord) -> None:
        """The call ended."""
        self._behind = self._behind or self._missed
        if not self._write(call, lambda: self._records.end(call)):
            _set_aside(call, self._aside)

    def _write(self, call: CallRecord, latest: Callable[[], None]) -> bool:
        """Write the latest record, or all of the call where earlier ones are missing; whether it is written.

        Until a write has come back it counts as missing: a signal may end the process in the middle of it.
        """
        behind, self._behind = self._behind, True
        try:
            if behind:
                self._records.save(call)
            else:
                latest()
        except Exception as error:  # a bug in a driver must not end the call either
            self._failed()
            logger.error("records of call {} are kept for later: {}", call.call_id, fault("records", error))
            return False
        self._behind = False
        return True


def _set_aside(call: CallRecord, folder: Path) -> None:
    try:
        make_folder(folder)
        write_atomically(folder / f"{call.call_id}.json", json.dumps(plain(call), default=str), private=True)
    except Exception as error:  # it is the last copy, but the other calls go on
        turns = len(call.turns)
        logger.critical("call {} with {} turns is lost: {}", call.call_id, turns, fault("records", error))
    else:
        logger.error("call {} is set aside in {}", call.call_id, folder)


def save_set_aside(folder: Path, records: Records) -> int:
    """Save the calls that were set aside; returns how many. It never raises.

    What cannot be saved now stays for the next time; what cannot be read is renamed and left to people.
    """
    saved = 0
    for path in sorted(folder.glob("*.json")):
        try:
            call = call_of(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # another process was quicker
            continue
        except Exception as error:  # whatever the file holds
            logger.error("{} cannot be read and is left alone: {}", path.name, fault("records", error))
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".unreadable"))
            continue
        try:
            records.save(call)
            path.unlink(missing_ok=True)
        except Exception as error:  # none may keep a server from its start, or the next file from its turn
            logger.error("{} stays set aside: {}", path.name, fault("records", error))
            if isinstance(error, UnavailableError):  # the others would fail as well
                break
            continue
        saved += 1
    if saved:
        logger.info("{} calls that were set aside are saved", saved)
    return saved

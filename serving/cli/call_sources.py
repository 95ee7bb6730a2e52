"""Where `monitor-session` looks: at a server over HTTP, or straight into the Redis and database it shares.

What a server or Redis that does not answer cannot tell of ended calls, the database tells.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from serving.cli.server_url import answer_of, checked, client, server_url, silent
from serving.errors import MissingError, UnavailableError, VoicebotError
from serving.plain import plain
from serving.services.sharing import redis_url

if TYPE_CHECKING:
    from serving.call.store import CallStore
    from serving.settings import Settings

_SILENCE_S = 15.0
"""A stream that does not even pulse for this long is dead, seconds."""
_TRIES = 3
"""How often in a row a stream may break before it is given up."""
_WAIT_S = 2.0
"""Wait before a stream that broke is taken up again, unless the server names another, seconds."""
_LONGEST_WAIT_S = 30.0
"""Whatever a server names."""


class CallSource(Protocol):
    """Calls in progress and those that ended, as plain JSON values."""

    def calls(self) -> list[dict[str, Any]]:
        """States of all calls in progress, oldest first."""
        ...

    def live(self, call_id: str) -> dict[str, Any] | None:
        """A call's newest state; None where it is not in progress."""
        ...

    def states(self, call_id: str) -> Iterator[dict[str, Any]]:
        """Its states from the newest on, until it ends."""
        ...

    def record(self, call_id: str) -> dict[str, Any] | None:
        """What is on record of a call; None where nothing is."""
        ...

    def stats(self) -> dict[str, Any]:
        """Figures of this moment."""
        ...

    def close(self) -> None:
        """Let connections go."""
        ...


def open_source(settings: "Settings", url: str) -> CallSource:
    """The server that is named; else the shared state, where servers share one; else the settings' server.

    Ended calls of the last two are found in the settings' database while these do not answer.
    """
    if url:
        return ServerCalls(server_url(settings, url))
    records = RecordsHere(settings)
    if redis_url(settings):
        return BackedCalls(SharedCalls(settings), records, advice="Or name a server with --url.")
    return BackedCalls(ServerCalls(server_url(settings)), records)


class ServerCalls:
    """What a server tells over HTTP; each operation raises `UnavailableError` where it does not answer.

    Args:
        url: of the server.
        sleep: waits so many seconds before a stream that broke is taken up again.
    """

    def __init__(self, url: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client(url)
        self._sleep = sleep

    def calls(self) -> list[dict[str, Any]]:
        """See `CallSource.calls`."""
        return list(answer_of(self._client, "/v1/calls")["calls"])

    def live(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.live`."""
        return self._known(f"/v1/calls/{call_id}/live", "state")

    def states(self, call_id: str) -> Iterator[dict[str, Any]]:
        """See `CallSource.states`; a stream that breaks is taken up where it was, when the server is back."""
        position, left, wait_s = "", _TRIES, _WAIT_S
        while True:
            broken = UnavailableError("The server ended its stream before the call ended.")
            try:
                for event in self._events(call_id, position):
                    if event.name == "ended":
                        return
                    if event.name == _RETRY:
                        wait_s = event.wait_s
                        continue
                    if event.name == "broken":
                        raise UnavailableError(str(event.data.get("error")))
                    position, left = event.position, _TRIES
                    yield event.data
            except MissingError:  # it ended before the stream began
                return
            except UnavailableError as error:
                if not position:  # nobody answered yet: that is news at once
                    raise
                broken = error
            left -= 1  # the one count of all that can go wrong
            if not left:
                raise broken
            self._sleep(wait_s)

    def record(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.record`."""
        return self._known(f"/v1/calls/{call_id}/record", "call")

    def stats(self) -> dict[str, Any]:
        """See `CallSource.stats`."""
        return answer_of(self._client, "/v1/stats")

    def close(self) -> None:
        """See `CallSource.close`."""
        self._client.close()

    def _known(self, path: str, name: str) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", answer_of(self._client, path)[name])
        except MissingError:
            return None

    def _events(self, call_id: str, position: str) -> Iterator["_Event"]:
        import httpx

        headers = {"last-event-id": position} if position else {}
        path = f"/v1/calls/{call_id}/events"
        try:
            with self._client.stream("GET", path, headers=headers, timeout=_SILENCE_S) as response:
                if response.status_code != 200:
                    checked(self._client, response.status_code, response.read())
                yield from _events_of(response.iter_lines())
        except (httpx.HTTPError, OSError) as error:
            raise silent(self._client, error) from error


_RETRY = "retry"
"""Name of an event that only says how long to wait."""


class _Event:
    """One Server-Sent Event whose data is a JSON object, or the time to wait before the next try."""

    def __init__(self) -> None:
        self.name, self.position, self.text = "", "", ""

    @property
    def wait_s(self) -> float:
        """What the server says of the next try, seconds."""
        return min(int(self.text) / 1_000, _LONGEST_WAIT_S)

    @property
    def data(self) -> dict[str, Any]:
        """The object.

        Raises:
            UnavailableError: it is none.
        """
        try:
            return dict(json.loads(self.text))
        except (ValueError, TypeError, RecursionError):
            raise UnavailableError("What answers there sends no states of a call.") from None


def _events_of(lines: Iterator[str]) -> Iterator[_Event]:
    event = _Event()
    for line in lines:
        field, _, value = line.partition(": ")
        if not line and event.name:
            yield event
            event = _Event()
        elif field == "event":
            event.name = value
        elif field == _RETRY and value.isascii() and value.isdecimal() and len(value) < 10:
            event.name, event.text = _RETRY, value
        elif field == "id":
            event.position = value
        elif field == "data":
            event.text = value


class RecordsHere:
    """The call records in the database that the settings name; a look at it does not make one."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    def record(self, call_id: str) -> dict[str, Any] | None:
        """What is on record of a call; None where nothing is."""
        with self.opened() as store:
            try:
                return cast("dict[str, Any]", plain(store.call(call_id))) if store else None
            except MissingError:
                return None

    @contextmanager
    def opened(self) -> "Iterator[CallStore | None]":
        """The database, where there is one."""
        from serving.call.store import CallStore

        if self._settings.database_url is None and not _default_database(self._settings).is_file():
            yield None
            return
        store = CallStore(self._settings.records_url)
        try:
            yield store
        finally:
            store.close()


def _default_database(settings: "Settings") -> Path:
    return Path(settings.records_url.removeprefix("sqlite:///"))


class SharedCalls:
    """What the Redis and the database of the servers hold; no server is asked."""

    def __init__(self, settings: "Settings") -> None:
        from serving.services.sharing import open_live_state

        self._timezone = settings.timezone
        self._records = RecordsHere(settings)
        self._state = open_live_state(settings)

    def calls(self) -> list[dict[str, Any]]:
        """See `CallSource.calls`."""
        return [plain(state) for state in self._state.calls()]

    def live(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.live`."""
        state = self._state.get(call_id)
        return plain(state) if state else None

    def states(self, call_id: str) -> Iterator[dict[str, Any]]:
        """See `CallSource.states`."""
        for state in self._state.follow(call_id):
            yield plain(state)

    def record(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.record`."""
        return self._records.record(call_id)

    def stats(self) -> dict[str, Any]:
        """See `CallSource.stats`."""
        from serving.services.call_stats import stats_now

        with self._records.opened() as store:
            if store is None:
                raise MissingError(
                    "There are no call records here.",
                    advice="Set VOICEBOT_DATABASE_URL as the servers have it.",
                )
            figures = stats_now(self._state, store, timezone=self._timezone)
        return cast("dict[str, Any]", plain(figures))

    def close(self) -> None:
        """See `CallSource.close`."""
        self._state.close()


class BackedCalls:
    """A source, and the records for calls that ended while the source does not answer.

    Args:
        source: asked first.
        records: where calls that ended are found otherwise.
        advice: what else helps where the source does not answer; added to its own.
    """

    def __init__(self, source: CallSource, records: RecordsHere, advice: str = "") -> None:
        self._source = source
        self._records = records
        self._advice = advice

    def calls(self) -> list[dict[str, Any]]:
        """See `CallSource.calls`."""
        with self._advised():
            return self._source.calls()

    def live(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.live`; None also for a call that ended while the source does not answer."""
        with self._advised():
            try:
                return self._source.live(call_id)
            except UnavailableError:
                if not self._ended(call_id):
                    raise
                return None

    def states(self, call_id: str) -> Iterator[dict[str, Any]]:
        """See `CallSource.states`; none for a call that ended while the source does not answer."""
        with self._advised():
            try:
                yield from self._source.states(call_id)
            except UnavailableError:
                if not self._ended(call_id):
                    raise

    def record(self, call_id: str) -> dict[str, Any] | None:
        """See `CallSource.record`."""
        with self._advised():
            try:
                return self._source.record(call_id)
            except UnavailableError:
                record = self._ended(call_id)
                if not record:
                    raise
                return record

    def stats(self) -> dict[str, Any]:
        """See `CallSource.stats`."""
        with self._advised():
            return self._source.stats()

    def close(self) -> None:
        """See `CallSource.close`."""
        self._source.close()

    def _ended(self, call_id: str) -> dict[str, Any] | None:
        """The record of a call that has ended; one that has not may still be in progress."""
        try:
            record = self._records.record(call_id)
        except VoicebotError:  # that the source does not answer is what counts
            return None
        return record if record and record["ending"] else None

    @contextmanager
    def _advised(self) -> Iterator[None]:
        try:
            yield
        except UnavailableError as error:
            raise UnavailableError(error.message, advice=f"{error.advice} {self._advice}".strip()) from error

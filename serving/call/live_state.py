"""What is known, while it lasts, of the calls in progress: for admission, for monitors, for other servers.

State lives in memory (`serving.call.live_memory`) or in Redis (`serving.services.redis_state`), behind one
protocol with one conformance suite. None of it is personal and none of it is needed to finish a call: when
it is gone, calls go on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Protocol

from serving.errors import UnavailableError
from serving.telemetry.attributes import CHAMPION

CALL_ID = r"^[0-9A-Za-z_-]{1,64}$"
"""What may be asked for as a call's id."""
KEPT_STATES = 200
"""Newest states that are kept of a call, for a watcher who comes back."""


@dataclass(frozen=True, slots=True)
class LiveSnapshot:
    """Where a call stands; published at each change.

    Attributes:
        at: UTC.
        phase: of the turn machine (`serving.call.machine.Phase`).
        turn: index of the newest caller turn; 0 before the first.
        epoch: of the bot's work in flight.
        happened: what led here: `began`, `heard`, `answered`, `played`, …; docs/operations.md has them all.
        decision: of the newest committed turn; empty before.
        server: name of the orchestrator that holds the caller's socket.
        arm: `champion` or `challenger`; as in the call's record.
    """

    call_id: str
    started_at: datetime
    at: datetime
    transport: str
    adapter: str
    phase: str
    turn: int
    epoch: int
    happened: str
    decision: str = ""
    server: str = ""
    arm: str = CHAMPION


@dataclass(frozen=True, slots=True)
class Sighting:
    """A state of a call and its place among the others.

    Attributes:
        position: what `LiveState.watch` takes as `after` to go on behind this state.
    """

    position: str
    state: LiveSnapshot


class LiveState(Protocol):
    """Calls in progress on all servers that share it. Thread-safe; may block on a network for a moment.

    A call is in progress from its admission to its release. On an event loop use
    `serving.call.live_background.BackgroundState` around it.
    """

    @property
    def draining(self) -> bool:
        """Whether this server takes no new calls."""
        ...

    def drain(self) -> None:
        """Take no new calls on this server from now on; those in progress go on."""
        ...

    def admit(self, call_id: str, most: int) -> None:
        """Take a slot, atomically over all servers; harmless for a call that has one.

        Raises:
            UnavailableError: `most` calls are in progress, this server drains, or the state is out of reach.
        """
        ...

    def release(self, call_id: str) -> None:
        """Give the slot back; harmless twice. It never raises."""
        ...

    def publish(self, snapshot: LiveSnapshot) -> None:
        """Make the newest state known of a call that this server admitted. It never raises.

        What cannot be stored is dropped, and so is what comes after the call's release.
        """
        ...

    def get(self, call_id: str) -> LiveSnapshot | None:
        """A call's newest state; None where no such call is in progress.

        Raises:
            UnavailableError: the state is out of reach.
        """
        ...

    def calls(self) -> tuple[LiveSnapshot, ...]:
        """All calls in progress of which a state is known, oldest first.

        Raises:
            UnavailableError: the state is out of reach.
        """
        ...

    def watch(self, call_id: str, *, after: str = "", pulse_s: float = 1.0) -> Iterator[Sighting | None]:
        """The states of a call until it ends; blocks between them.

        It begins with the newest state, or behind the position `after`, and is empty where no such call is
        known. Now and then it yields None where nothing happens, so that who watches can stop.

        Args:
            after: position of the last state seen; what is none counts as empty.
            pulse_s: a None comes at least this often, seconds.

        Raises:
            UnavailableError: the state is out of reach, and stays so.
        """
        ...

    def follow(self, call_id: str) -> Iterator[LiveSnapshot]:
        """The states of a call from its newest one on, until it ends; blocks between them.

        Raises:
            UnavailableError: as `watch`.
        """
        ...

    def check(self) -> None:
        """Look whether the state can be reached.

        Raises:
            UnavailableError: it cannot.
        """
        ...

    def close(self) -> None:
        """Let threads and connections go; calls in progress keep their slots until these expire."""
        ...


def followed(sightings: Iterator[Sighting | None]) -> Iterator[LiveSnapshot]:
    """The states alone, of what `LiveState.watch` yields."""
    return (sighting.state for sighting in sightings if sighting is not None)


def all_lines_busy() -> UnavailableError:
    """The refusal where every slot is taken."""
    return UnavailableError("All lines are busy.", advice="Call again in a few minutes.")


def lines_closing() -> UnavailableError:
    """The refusal of a server that drains."""
    return UnavailableError("The lines are being closed.", advice="Call again in a minute.")


def snapshot_of(data: Mapping[str, Any]) -> LiveSnapshot:
    """The snapshot that `serving.plain.plain` made plain; fields of a newer version are left out.

    Raises:
        ValueError: it is none.
    """
    known = {field.name: data[field.name] for field in fields(LiveSnapshot) if field.name in data}
    for name, value in known.items():
        wanted = int if name in {"turn", "epoch"} else str
        if type(value) is not wanted:
            raise ValueError(f"{name} of a live state is no {wanted.__name__}")
    try:
        for name in ("started_at", "at"):
            moment = datetime.fromisoformat(known[name])
            known[name] = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return LiveSnapshot(**known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a live state lacks {error}") from None

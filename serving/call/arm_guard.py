"""The guardrail of a running split, on the records of the calls that ended, and the thread that follows both.

Every server with the same records comes to the same counts. Which of them acts is decided by the registry's
lock: the first one halts the split, the others find it halted.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

from loguru import logger

from serving.adapters.live import ServedAdapter
from serving.adapters.live_arms import Champion, LiveArms, Placed, Standing
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splitting import halt
from serving.arms.guardrail import Finding
from serving.arms.split import Split
from serving.call.faults import fault
from serving.call.split_tally import SplitRecords, SplitTally
from serving.errors import UnavailableError, VoicebotError
from serving.language.encoder import SentenceEncoder
from serving.settings import Settings

_LAST_ROUND_S = 5.0
"""For a round that is going on when the server stops, seconds."""


class ArmGuard:
    """Halts the split that this server follows, when its challenger does harm.

    Args:
        arms: what this server follows.
        registry: where a split is halted.
        records: ended calls, of all servers that share the database.
        server: this server's name, for the audit.
    """

    def __init__(self, arms: LiveArms, registry: AdapterRegistry, records: SplitRecords, server: str) -> None:
        self._arms = arms
        self._registry = registry
        self._records = records
        self._by = f"guardrail on {server}"
        self._counted: SplitTally | None = None

    def look(self) -> None:
        """Judge the running split after the calls that ended since the last look.

        Raises:
            VoicebotError: the records or the registry are out of reach; where the challenger does harm, new
                calls of this server get the champion all the same.
        """
        split = self._arms.standing.split
        if split is None:
            self._counted = None
            return
        if self._counted is None or self._counted.split != split:  # another one, or another share
            self._counted = SplitTally(split, self._records)
        self._counted.update()
        if self._counted.harmful():
            self._halt(split, self._counted.findings())

    def _halt(self, split: Split, findings: Sequence[Finding]) -> None:
        if not any(finding.broken for finding in findings):
            return
        self._arms.suspend(split.id)
        try:
            ended = halt(self._registry, split, findings, by=self._by)
        except UnavailableError as error:
            raise UnavailableError(
                f"The challenger of the split {split.id} does harm, but the registry cannot be told: "
                f"{error.message} New calls of this server get the champion."
            ) from error
        if ended is not None:
            logger.error("the split {} is halted, every new call gets {}: {}", split.id, split.champion,
                         ended.ended_why)  # fmt: skip
        self._arms.check()


class CallArms:
    """Both arms of a server's calls, followed and guarded by a thread of their own.

    Args:
        arms: brought up to date with each round.
        guard: looks after that.
        poll_s: time between two rounds, seconds.
    """

    def __init__(self, arms: LiveArms, guard: ArmGuard, poll_s: float) -> None:
        self._arms = arms
        self._guard = guard
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._told = ""
        self._thread: threading.Thread | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        champion: Champion,
        encoder: SentenceEncoder,
        records: SplitRecords,
        warm: Callable[[ServedAdapter], int],
    ) -> Self:
        """The arms of an installation; `start` them before use.

        Args:
            settings: of the installation.
            champion: what serves where no split is in effect.
            encoder: the frozen encoder that all adapters share.
            records: where ended calls are.
            warm: opens the cache scope of an adapter; returns its number of entries.
        """
        registry, poll_s = AdapterRegistry.from_settings(settings), settings.registry_poll_s
        arms = LiveArms(champion, registry, encoder, settings.home / "adapters", warm=warm, poll_s=poll_s)
        server = settings.server_name or socket.gethostname()
        return cls(arms, ArmGuard(arms, registry, records, server), poll_s)

    @property
    def standing(self) -> Standing:
        """How this server takes part in the registry's running split."""
        return self._arms.standing

    def place(self, caller_key: Callable[[], str]) -> Placed:
        """What a new call gets; see `LiveArms.place`."""
        return self._arms.place(caller_key)

    def start(self) -> None:
        """Follow the split as it is now, then go on in the background."""
        self._round()
        self._thread = threading.Thread(target=self._work, name="arms", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; arms stay as they are. A database that hangs does not hold up the end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_LAST_ROUND_S)
            self._thread = None

    def _work(self) -> None:
        while not self._stop.wait(self._poll_s):
            self._round()

    def _round(self) -> None:
        """Look once; nothing keeps a server from its start or ends the watch, and a trouble is told once.

        What keeps the registry's split from being followed does not keep this server's from being guarded.
        """
        known = ""
        for step in (self._arms.check, self._guard.look):
            try:
                step()
            except Exception as error:
                known = known or (error.message if isinstance(error, VoicebotError) else fault("arms", error))
        if known and known != self._told:
            logger.error("the split of callers is not followed or guarded as it should be: {}", known)
        self._told = known

"""A live state that an event loop may use: what is published leaves through a bounded queue and one thread.

Calls change several times a second, and the network to a shared state may hang: nobody on a line waits for
it. A state that comes too late gives way to newer ones; the release of a slot never does.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from loguru import logger

from serving.call.faults import fault
from serving.call.live_state import LiveSnapshot, LiveState, Sighting

QUEUED_STATES = 1_000
"""States that wait for the network at most; then the oldest one gives way."""
_LAST_WORDS_S = 3.0
"""How long closing waits for what is queued."""
_ADMISSIONS = 4
"""Admissions that may wait for the network at a time; engines shall not take their threads."""


class BackgroundState:
    """A `LiveState` whose `publish` and `release` return at once, in their order.

    Reading, `admit` and `check` go straight to the state and may wait for it: on an event loop use
    `admitted`, and read in a thread.

    Args:
        state: where everything goes.
        most_queued: states that may wait at a time.

    Attributes:
        dropped: how many states gave way to newer ones.
    """

    def __init__(self, state: LiveState, *, most_queued: int = QUEUED_STATES) -> None:
        self._state = state
        self._most = most_queued
        self._states: OrderedDict[int, LiveSnapshot] = OrderedDict()
        self._releases: OrderedDict[int, str] = OrderedDict()
        self._numbered = 0
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._admissions = ThreadPoolExecutor(_ADMISSIONS, thread_name_prefix="admission")
        self.dropped = 0

    @property
    def draining(self) -> bool:
        """See `LiveState.draining`."""
        return self._state.draining

    def drain(self) -> None:
        """See `LiveState.drain`."""
        self._state.drain()

    def admit(self, call_id: str, most: int) -> None:
        """See `LiveState.admit`."""
        self._state.admit(call_id, most)

    async def admitted(self, call_id: str, most: int) -> None:
        """Admit without holding the event loop; a slot that comes after a cancellation is given back.

        Raises:
            UnavailableError: as `LiveState.admit`.
        """
        loop = asyncio.get_running_loop()
        admission = loop.run_in_executor(self._admissions, self._state.admit, call_id, most)
        try:
            await asyncio.shield(admission)
        except asyncio.CancelledError:
            admission.add_done_callback(lambda done: self._give_back(call_id, done))
            raise

    def _give_back(self, call_id: str, admission: "asyncio.Future[None]") -> None:
        if not admission.cancelled() and admission.exception() is None:
            self.release(call_id)

    def release(self, call_id: str) -> None:
        """See `LiveState.release`."""
        with self._wake:
            self._numbered += 1
            self._releases[self._numbered] = call_id
            self._awake()

    def publish(self, snapshot: LiveSnapshot) -> None:
        """See `LiveState.publish`."""
        with self._wake:
            self._numbered += 1
            self._states[self._numbered] = snapshot
            if len(self._states) > self._most:
                self._states.popitem(last=False)
                self.dropped += 1
            self._awake()

    def get(self, call_id: str) -> LiveSnapshot | None:
        """See `LiveState.get`."""
        return self._state.get(call_id)

    def calls(self) -> tuple[LiveSnapshot, ...]:
        """See `LiveState.calls`."""
        return self._state.calls()

    def watch(self, call_id: str, *, after: str = "", pulse_s: float = 1.0) -> Iterator[Sighting | None]:
        """See `LiveState.watch`."""
        return self._state.watch(call_id, after=after, pulse_s=pulse_s)

    def follow(self, call_id: str) -> Iterator[LiveSnapshot]:
        """See `LiveState.follow`."""
        return self._state.follow(call_id)

    def check(self) -> None:
        """See `LiveState.check`."""
        self._state.check()

    def close(self) -> None:
        """Pass on what is queued, as far as it goes in a moment, and close the state."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(_LAST_WORDS_S)
        self._admissions.shutdown(wait=False)
        self._state.close()

    def _awake(self) -> None:
        """Have the thread look; the condition is held. It starts with the first that is to be passed on."""
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._pass_on, name="live-state", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # none can be had now; the next that is to be passed on asks again
                logger.error("live states wait for a thread: {}", fault("live_state", error))
                return
            self._thread = thread
        self._wake.notify_all()

    def _pass_on(self) -> None:
        while True:
            with self._wake:
                while not self._states and not self._releases:
                    if self._closed:
                        return
                    self._wake.wait()
                first_state, first_release = next(iter(self._states), None), next(iter(self._releases), None)
                release = first_state is None or (first_release is not None and first_release < first_state)
                call_id = self._releases.popitem(last=False)[1] if release else ""
                snapshot = None if release else self._states.popitem(last=False)[1]
            try:
                if snapshot is None:
                    self._state.release(call_id)
                else:
                    self._state.publish(snapshot)
            except Exception as error:  # a bug must not keep the other calls' states from leaving
                logger.error("a live state was not passed on: {}", fault("live_state", error))

"""Voice detectors made before they are needed: loading one would hold up the sound of every other call.

Each is given away once and never comes back, so that nothing of one call can reach another.
"""

import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue

from loguru import logger

from serving.errors import MissingError
from serving.speech.protocols import Vad
from serving.speech.vad import SileroVad

FEWEST = 4
"""Ready however many are in use: calls end without a word to this module, and others begin."""
_PAUSE_S = 0.02
"""Between two that are made, seconds: loading keeps the interpreter, and a frame of each line is due."""
_LOOK_S = 1.0
"""How often the number in use is looked at, seconds."""
_AGAIN_S = 60.0
"""When it is tried again after one could not be made, seconds."""


class SpareVads:
    """Detectors for new calls; thread-safe.

    Args:
        make: loads one.
        again_s: wait after one could not be made, seconds.
    """

    def __init__(self, make: Callable[[], Vad] = SileroVad, *, again_s: float = _AGAIN_S) -> None:
        self._make = make
        self._again_s = again_s
        self._ready: SimpleQueue[Vad] = SimpleQueue()
        self._used: weakref.WeakSet[Vad] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> int:
        """How many can be had at once."""
        return self._ready.qsize()

    def keep(self, most: int) -> None:
        """Have them made from now on, in a thread: as many as calls may begin at once.

        Args:
            most: calls at a time; detectors in use and ready ones are no more than that, and `FEWEST`.
        """
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._fill, args=(most,), name="voice detectors", daemon=True
                )
                self._thread.start()

    def take(self) -> Vad:
        """One that nobody has used; loaded now where none is ready.

        Raises:
            MissingError: voice activity detection is not installed.
        """
        try:
            vad = self._ready.get_nowait()
        except Empty:
            vad = self._make()
        with self._lock:
            self._used.add(vad)
        self._wake.set()
        return vad

    def close(self) -> None:
        """Make no more; harmless twice."""
        self._closed.set()
        self._wake.set()

    def _fill(self, most: int) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            with self._lock:
                wanted = max(FEWEST, most - len(self._used))
            if self.ready >= wanted:
                self._wake.wait(_LOOK_S)
                continue
            try:
                self._ready.put(self._make())
            except Exception as error:  # a call that needs one will be told
                logger.warning("no voice detector could be made beforehand: {}", type(error).__name__)
                if isinstance(error, MissingError):  # nothing that comes by itself
                    return
                self._closed.wait(self._again_s)
            else:
                self._closed.wait(_PAUSE_S)

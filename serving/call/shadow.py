"""Shadow checks: some answers from the cache are asked of the engine as well, off the caller's time.

What the engine would have said is compared with what the caller was told; the verdict is feedback on the
entry and evidence for the bound of false hits. Nothing here is in a call's way: what is sampled goes into a
short queue that one thread works off, and where the queue is full the check is dropped and counted. Only
redacted text is asked with, and none is logged.
"""

import contextlib
import hashlib
import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from queue import Empty, Full, Queue

from loguru import logger

from serving.cache.protocol import Feedback, Signal
from serving.cache.same_answer import AnswerJudge
from serving.cache.types import CacheEntry
from serving.call.faults import fault
from serving.errors import EngineError
from serving.language.protocols import Llm, LlmRequest, TextDelta, ToolCall

QUEUE = 32
"""Checks that wait; at 2 % of hits more than a thousand hits."""
_LONGEST_ANSWER = 2_000
_LAST_CHECK_S = 1.0
"""For the check that is going on when the server stops, seconds."""


class ShadowResult(StrEnum):
    """What became of a sampled hit; a metric label."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    FAILED = "failed"
    """The engine gave no answer; nothing is known."""
    DROPPED = "dropped"
    """There was no time for it, or no place in the queue."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer from the cache that the engine could have given.

    Attributes:
        call_id: the call.
        index: the turn's place in it.
        entry: what was served.
        llm: the engine that the call speaks with.
        request: what it would have been asked; redacted.
    """

    call_id: str
    index: int
    entry: CacheEntry
    llm: Llm
    request: LlmRequest


class ShadowChecks:
    """Samples hits and checks them; made once for a server and shared by its calls.

    Args:
        judge: compares answers.
        share: of the hits that are checked, 0 to 1; 0 checks none.
        key: of the hash that chooses them, so that no caller can tell.
        tell: takes the feedback; what it raises costs the feedback.
        counted: told of each result.
    """

    def __init__(
        self,
        judge: AnswerJudge,
        *,
        share: float,
        key: bytes,
        tell: Callable[[Feedback], object],
        counted: Callable[[ShadowResult], object] = lambda _result: None,
    ) -> None:
        self._judge = judge
        self._share = share
        self._key = key
        self._tell = tell
        self._counted = counted
        self._hits: Queue[Hit | None] = Queue(QUEUE)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._answering = 0
        self._free = threading.Condition()

    def sampled(self, call_id: str, index: int) -> bool:
        """Whether a hit in this turn is checked; the same in every process with the key."""
        digest = hmac.new(self._key, f"shadow\x1f{call_id}\x1f{index}".encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8]) < self._share * (1 << 64)

    def offer(self, hit: Callable[[], Hit], call_id: str, index: int) -> None:
        """Check a hit some time later, if it is sampled; returns at once and never raises.

        Args:
            hit: makes the hit; called only where it is needed.
            call_id: the call.
            index: the turn's place in it.
        """
        try:
            if self._stop.is_set() or not self.sampled(call_id, index):
                return
            self._hits.put_nowait(hit())
            self._staff()
        except Full:
            self._counted(ShadowResult.DROPPED)
        except Exception as error:  # the caller has an answer already
            logger.warning("a shadow check was not begun: {}", fault("shadow", error))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A caller waits for an answer inside the block: an engine that gives one at a time is theirs."""
        with self._free:
            self._answering += 1
        try:
            yield
        finally:
            with self._free:
                self._answering -= 1
                self._free.notify_all()

    def waiting(self) -> int:
        """Checks that wait for their turn."""
        return self._hits.qsize()

    def close(self) -> None:
        """Check nothing more; what waits is dropped, and what hangs is not waited for."""
        self._stop.set()
        with self._free:
            self._free.notify_all()
        while True:
            try:
                dropped = self._hits.get_nowait()
            except Empty:
                break
            if dropped is not None:
                self._counted(ShadowResult.DROPPED)
        with contextlib.suppress(Full):
            self._hits.put_nowait(None)
        if self._thread is not None:
            self._thread.join(_LAST_CHECK_S)

    def _staff(self) -> None:
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                thread = threading.Thread(target=self._run, name="shadow-checks", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while (hit := self._hits.get()) is not None:
            try:
                result = self._check(hit)
            except Exception as error:  # the thread must live on for the next
                logger.warning("a shadow check failed: {}", fault("shadow", error))
                result = ShadowResult.FAILED
            self._counted(result)

    def _check(self, hit: Hit) -> ShadowResult:
        text = self._ask(hit)
        if text is None:
            return ShadowResult.DROPPED
        found = self._judge.compare(hit.entry.answer, text)
        signal = Signal.SHADOW_AGREES if found.agrees else Signal.SHADOW_DISAGREES
        origin = f"call:{hit.call_id}:{hit.index}"
        note = f"{hit.llm.info.name}: {found.detail}"
        try:
            self._tell(Feedback(hit.entry.id, signal, datetime.now(UTC), origin, "shadow", note))
        except Exception as error:  # the entry may be gone, the store locked: the count stands
            logger.warning("a shadow check was not recorded: {}", fault("shadow", error))
        return ShadowResult.AGREES if found.agrees else ShadowResult.DISAGREES

    def _ask(self, hit: Hit) -> str | None:
        """The engine's answer; None where a caller needed it, or the server stops.

        Raises:
            EngineError: the engine gave no answer in words.
        """
        alone = hit.llm.info.name == "local"  # one answer at a time, and a caller must not wait for ours
        if alone:
            with self._free:
                self._free.wait_for(lambda: not self._answering or self._stop.is_set())
        pieces: list[str] = []
        events = hit.llm.stream(hit.request)
        try:
            for event in events:
                if self._stop.is_set() or (alone and self._answering):
                    return None
                if isinstance(event, ToolCall):
                    raise EngineError("The engine called a tool that it was not offered.")
                if isinstance(event, TextDelta):
                    pieces.append(event.text)
                if sum(map(len, pieces)) > _LONGEST_ANSWER:
                    raise EngineError("The engine answered without end.")
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
        text = " ".join("".join(pieces).split())
        if not text:
            raise EngineError("The engine gave an empty answer.")
        return text

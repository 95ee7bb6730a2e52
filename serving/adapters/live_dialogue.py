"""The language model with the dialogue adapter that serves now, and the thread that notices promotions.

A call reads `current` once and keeps what it got: one engine, whose adapter never changes. An adapter is
verified, put beside the shared base and asked known answers in the watcher's thread; only then does it take
the place of the one before. Whatever fails, that one goes on serving.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from loguru import logger

from serving.adapters.dialogue import (
    NO_ADAPTER,
    DialogueAdapter,
    checked,
    dialogue_store,
    fetch_dialogue,
)
from serving.adapters.failure import Failure
from serving.adapters.loader import LocalCopy, last_good, local_copy, remember_good
from serving.adapters.pin import Reference, dialogue_reference
from serving.adapters.registry import AdapterRegistry
from serving.adapters.vllm_dialogue import AwaitedLlm, TidyLlm, adaptable
from serving.errors import EngineError, InvalidInputError, MissingError, UnavailableError, VoicebotError
from serving.language.protocols import Llm
from serving.language.vllm import ServerAwayError

if TYPE_CHECKING:
    from serving.settings import Settings

_CLOSE_S = 5.0


@runtime_checkable
class AdaptableLlm(Llm, Protocol):
    """An answering engine that can speak with an adapter of its base."""

    def with_adapter(self, adapter: Path, label: str) -> Llm:
        """An engine of its own that speaks with the adapter in a verified folder; this one stays as it is.

        Raises:
            VoicebotError: it does not fit or cannot be loaded.
        """
        ...


@dataclass(frozen=True, slots=True)
class ServedDialogue:
    """What speaks: read it once per call and keep it.

    Attributes:
        llm: the engine.
        version: label of the adapter, such as `banking-dialogue-lora/3`; empty where the base speaks alone.
        identity: for cache scopes; `none` where the base speaks alone.
        target: version that was asked for; None for a copy that stands in, or without an adapter.
    """

    llm: Llm
    version: str = ""
    identity: str = NO_ADAPTER
    target: int | None = None

    def names(self) -> dict[str, str]:
        """Engine and adapter, as a call's record names them."""
        return {"llm": self.llm.info.name} | ({"dialogue": self.version} if self.version else {})


class PlainEngine:
    """An engine that speaks as it is, where the settings name no registered adapter.

    Args:
        engine: any answering engine.
    """

    problem = ""

    def __init__(self, engine: Llm) -> None:
        self.current = ServedDialogue(engine)

    def start(self) -> Self:
        """Nothing is loaded."""
        return self

    def close(self) -> None:
        """Nothing is watched."""


def live_dialogue(settings: "Settings", engine: Llm) -> "LiveDialogue | PlainEngine":
    """What keeps the adapter that the settings name in service, or the engine as it is.

    Raises:
        InvalidInputError: an adapter is named, and the engine takes none.
    """
    reference = dialogue_reference(settings)
    if reference is None:
        return PlainEngine(engine)
    engine = adaptable(settings, engine)
    if not isinstance(engine, AdaptableLlm):
        raise InvalidInputError(
            f"The engine {engine.info.name} takes no adapter; VOICEBOT_DIALOGUE_ADAPTER names {reference}.",
            advice="Unset it, or set VOICEBOT_LLM to an engine that takes one, such as local.",
        )
    registry = AdapterRegistry.from_settings(settings)
    poll_s = settings.registry_poll_s
    return LiveDialogue(engine, registry, dialogue_store(settings), reference, poll_s=poll_s)


class LiveDialogue:
    """Keeps the wanted dialogue adapter in service.

    Args:
        engine: the language model without an adapter.
        registry: where promotions happen.
        store: private folder of copies.
        reference: which adapter is wanted, usually a champion.
        poll_s: time between two looks at the registry, in seconds.
    """

    def __init__(
        self,
        engine: AdaptableLlm,
        registry: AdapterRegistry,
        store: Path,
        reference: Reference,
        *,
        poll_s: float = 1.0,
    ) -> None:
        self._engine, self._registry, self._store = engine, registry, store
        self._reference, self._poll_s = reference, poll_s
        self._served: ServedDialogue | None = None
        self._failed: Failure[int] = Failure()
        self._checking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> ServedDialogue:
        """What speaks now; read it once per call.

        Raises:
            MissingError: `start` was not called.
        """
        if self._served is None:
            raise MissingError("No dialogue adapter is loaded.", advice="Call start() first.")
        return self._served

    @property
    def problem(self) -> str:
        """Why the wanted adapter does not speak; empty where it does."""
        return self._failed.message

    def start(self) -> Self:
        """Load what shall serve, or the last good copy where that fails, and begin to watch.

        An engine on another machine that does not answer yet, or is too busy, is no reason not to start: it
        is tried again, and until then nobody speaks with its base alone.

        Raises:
            MissingError: the adapter that the settings name was never registered or promoted.
            VoicebotError: it cannot be used, and no older copy either.
        """
        target: int | None = None
        try:
            target = self._wanted()
            self._serve(target)
        except VoicebotError as error:
            self._served = self._stand_in(error)
            self._failed = Failure(target, str(error))
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="dialogue-watcher", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching; what serves goes on serving. A load that goes on is not waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
            self._thread = None

    def check(self) -> bool:
        """Look once at the registry, and swap if it asks for another version.

        Returns:
            Whether another version serves now. Failures are logged and tried again later.
        """
        with self._checking:
            target: int | None = None
            try:
                target = self._wanted()
                if self._served is not None and target == self._served.target:
                    self._failed = Failure()
                    return False
                if not self._failed.may_retry(target, time.monotonic()):
                    return False
                self._serve(target)
            except VoicebotError as error:
                self._note_failure(target, error)
                return False
            self._failed = Failure()
            return True

    def _stand_in(self, error: VoicebotError) -> ServedDialogue:
        """What speaks at first where the wanted adapter cannot."""
        copied = last_good(self._store)
        try:
            if isinstance(error, ServerAwayError):
                raise error
            if copied is None or copied.name != self._reference.name:
                raise error
            served = self._built(copied, None)
        except (ServerAwayError, EngineError) as away:
            if not self._may_come(away):
                raise
            logger.warning("the language model answers nothing until its adapter is loaded: {}", away)
            return ServedDialogue(AwaitedLlm(self._engine.info))
        logger.warning("the language model speaks with the last good {}: {}", copied.label, error)
        return served

    def _may_come(self, error: VoicebotError) -> bool:
        """Whether an engine on another machine is only not up yet, or too busy to answer."""
        busy = isinstance(self._engine, TidyLlm) and isinstance(error, EngineError) and error.retryable
        return isinstance(error, ServerAwayError) or busy

    def _wanted(self) -> int:
        reference = self._reference
        if isinstance(reference.ref, int):
            return reference.ref
        version = self._registry.aliases(reference.name).get(reference.ref)
        if version is None:
            raise MissingError(
                f"{reference.name} has no {reference.ref} yet.",
                advice="`adapter-control promote` makes one; without VOICEBOT_DIALOGUE_ADAPTER the language "
                "model speaks as it is.",
            )
        return version

    def _serve(self, version: int) -> None:
        """Load aside, then swap the one reference."""
        started = time.perf_counter()
        copied = self._copied(version)
        served = self._built(copied, version)
        before, self._served = self._served, served
        remember_good(copied, self._store)
        logger.info(
            "dialogue adapter {} serves (before: {}), loaded in {:.0f} ms",
            served.version,
            before.version if before else NO_ADAPTER,
            1_000 * (time.perf_counter() - started),
        )

    def _copied(self, version: int) -> LocalCopy:
        """The private copy of a version; one made earlier serves where the registry does not answer."""
        try:
            reference = Reference(self._reference.name, version)
            found = fetch_dialogue(self._registry, reference, self._store)
        except (UnavailableError, MissingError) as error:
            copied = local_copy(self._store, self._reference.name, version)
            if copied is None:
                raise
            logger.warning("using this home's copy of {}: {}", copied.label, error)
            return copied
        return LocalCopy(found.name, found.version, found.folder)

    def _built(self, copied: LocalCopy, target: int | None) -> ServedDialogue:
        adapter: DialogueAdapter = checked(self._registry, copied)
        llm = self._engine.with_adapter(adapter.folder, adapter.label)
        return ServedDialogue(llm, adapter.label, adapter.identity, target)

    def _note_failure(self, target: int | None, error: VoicebotError) -> None:
        known = self._failed
        self._failed = known.again(target, str(error), time.monotonic(), self._poll_s)
        if str(error) != known.message:
            serving = self._served.version if self._served else "nothing"
            logger.warning("{} goes on speaking; the wanted adapter cannot be loaded: {}", serving, error)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.check()
                if isinstance(self._engine, TidyLlm):
                    self._engine.tidy()
            except Exception:
                logger.exception("the dialogue watcher met an unexpected error and goes on")

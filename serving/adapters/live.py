"""The adapter that serves now, and the thread that notices promotions, rollbacks and pins.

Callers read `current` once per call and keep what they got: one immutable tagger with its version, so
no answer can mix two adapters. Loading happens aside in the watcher's thread; only a tagger that
proved itself takes the place of the old one. Whatever fails, the old one goes on serving. So it does where
the new one lacks intents that the old one knows and callers need: a wrong answer is worse than a late
promotion. A rollback alone is followed all the same: somebody has said, at night, that the old one is worse.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from loguru import logger

from serving.adapters.audit import Action, Step
from serving.adapters.failure import Failure
from serving.adapters.fit import OTHER_LABELS, Needed, fit, labels_of, lacking
from serving.adapters.loader import (
    LocalCopy,
    fetch,
    last_good,
    load_frozen_head,
    load_tagger,
    local_copy,
    remember_good,
)
from serving.adapters.pin import DEFAULT_NAME, Reference, read_pin
from serving.adapters.registry import AdapterRegistry
from serving.errors import MissingError, RefusedError, UnavailableError, VoicebotError
from serving.language.encoder import SentenceEncoder, load_encoder
from serving.language.intent import BASELINE_VERSION
from serving.language.protocols import IntentTagger

if TYPE_CHECKING:
    from serving.settings import Settings

_CHAMPIONS = frozenset({Action.PROMOTE, Action.ROLLBACK})


@dataclass(frozen=True, slots=True)
class Target:
    """What shall serve.

    Attributes:
        name: registered model's name.
        version: its number.
        enabled: False for the frozen baseline head of that version.
    """

    name: str
    version: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """What serves: read it once per call and keep it.

    Attributes:
        tagger: immutable and safe for many threads.
        version: the tagger's own, such as `banking-lora/3`.
        identity: name, number and content hash (`versions.identity`); marked when the frozen head serves.
        target: what was asked for; None for a copy that stands in for it.
        source: why this one serves: `registry`, `disabled` (frozen baseline head), or `last good`
            (this home's copy, because the registry or the wanted version could not be used).
        missing: intents that callers need and it does not know, sorted.
    """

    tagger: IntentTagger
    version: str
    identity: str
    target: Target | None
    source: Literal["registry", "disabled", "last good"]
    missing: tuple[str, ...] = ()


class LiveAdapter:
    """Keeps the wanted adapter in service.

    Args:
        registry: where promotions happen.
        encoder: the frozen encoder that all adapters share.
        store: private folder of copies, pin and last good adapter (`settings.home / "adapters"`).
        name: the model whose champion serves where nothing is pinned.
        poll_s: time between two looks at registry and pin, in seconds.
        needed: which intents this server's callers need.
    """

    def __init__(
        self,
        registry: AdapterRegistry,
        encoder: SentenceEncoder,
        store: Path,
        *,
        name: str = DEFAULT_NAME,
        poll_s: float = 1.0,
        needed: Needed | None = None,
    ) -> None:
        self._registry = registry
        self._encoder = encoder
        self._store = store
        self._name = name
        self._poll_s = poll_s
        self.needed = needed or Needed()
        self._served: ServedAdapter | None = None
        self._failed: Failure[Target] = Failure()
        self._checking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def from_settings(
        cls, settings: "Settings", encoder: SentenceEncoder | None = None, needed: Needed | None = None
    ) -> Self:
        """The live adapter of an installation; `start` it before use."""
        return cls(
            AdapterRegistry.from_settings(settings),
            encoder or load_encoder(settings.encoder),
            settings.home / "adapters",
            poll_s=settings.registry_poll_s,
            needed=needed,
        )

    @property
    def current(self) -> ServedAdapter:
        """What serves now; read it once per call.

        Raises:
            MissingError: `start` was not called.
        """
        served = self._served
        if served is None:
            raise MissingError("No adapter is loaded.", advice="Call start() first.")
        return served

    @property
    def problem(self) -> str:
        """Why the wanted adapter does not serve, or what the serving one lacks; empty where all is well."""
        served = self._served
        if self._failed.message or served is None:
            return self._failed.message
        return lacking(served.version, served.missing) if served.missing else ""

    def start(self) -> Self:
        """Load what shall serve, or the last good copy where that fails, and begin to watch.

        Raises:
            MissingError: there is no adapter at all.
            VoicebotError: there is one, it cannot be used, and there is no older copy either.
        """
        try:
            self._serve(self._wanted())
        except VoicebotError as error:
            self._served = self._stand_in(error)
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="adapter-watcher", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching; what serves goes on serving."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> bool:
        """Look once at pin and registry, and swap if they ask for another adapter.

        Returns:
            Whether another adapter serves now. Failures are logged and tried again later.
        """
        with self._checking:
            target: Target | None = None
            try:
                target = self._wanted()
                served = self._served
                if served is not None and target == served.target:
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

    def _wanted(self) -> Target:
        """Resolve pin and alias; a pinned number needs no registry, nor does switching an adapter off."""
        pin = read_pin(self._store)
        reference = pin.reference if pin else Reference(self._name)
        enabled = pin.enabled if pin else True
        if isinstance(reference.ref, int):
            return Target(reference.name, reference.ref, enabled)
        try:
            version = self._registry.aliases(reference.name).get(reference.ref)
            if version is None:
                raise MissingError(
                    f"{reference.name} has no {reference.ref} yet.",
                    advice="`adapter-control promote` makes a version the champion.",
                )
        except VoicebotError:
            at_hand = None if enabled else last_good(self._store)
            if at_hand is None:
                raise
            return Target(at_hand.name, at_hand.version, enabled)
        return Target(reference.name, version, enabled)

    def _copied(self, target: Target) -> LocalCopy:
        """The private copy of a version; one made earlier serves where the registry does not answer.

        To switch an adapter off, whatever fails, any copy will do: its frozen head answers.
        """
        try:
            version = self._registry.get(target.name, target.version)
            return fetch(version, self._store, self._registry.signatures)
        except VoicebotError as error:
            if target.enabled and not isinstance(error, UnavailableError | MissingError):
                raise
            copied = local_copy(self._store, target.name, target.version)
            if copied is None and not target.enabled:
                copied = last_good(self._store)
            if copied is None:
                raise
            logger.warning("using this home's copy of {}: {}", copied.label, error)
            return copied

    def _serve(self, target: Target) -> None:
        """Load aside, then swap the one reference."""
        started = time.perf_counter()
        copied = self._copied(target)
        if target.enabled:
            self._require_no_loss(copied, target)
        served = self._built(copied, target, enabled=target.enabled)
        before, self._served = self._served, served
        remember_good(copied, self._store)
        logger.info(
            "adapter {} serves (before: {}), loaded in {:.0f} ms",
            served.version,
            before.version if before else "none",
            1_000 * (time.perf_counter() - started),
        )
        if served.missing:
            logger.warning("{} {}", lacking(served.version, served.missing), OTHER_LABELS)

    def _missing(self, copied: LocalCopy) -> tuple[str, ...]:
        """What a verified copy's labels lack, in any arm and with either head."""
        return fit(labels_of(copied.folder), self.needed).missing

    def _require_no_loss(self, copied: LocalCopy, target: Target) -> None:
        """Refuse an adapter that lacks intents which the present one knows, unless somebody went back to it.

        At a start the present one is what served last in this home.

        Raises:
            RefusedError: callers would get wrong answers that they do not get now.
        """
        missing = self._missing(copied)
        if not missing:
            return
        if self._served is not None:
            present = self._served.missing
        else:
            before = last_good(self._store)
            present = self._missing(before) if before is not None else missing
        lost = set(missing) - set(present)
        if lost and not self._went_back_to(target):
            raise RefusedError(lacking(copied.label, lost), advice=OTHER_LABELS)

    def _went_back_to(self, target: Target) -> bool:
        """Whether the last change of the champion was a rollback to this version.

        A plan that failed or was killed before it moved the champion is no change.
        """
        abandoned: set[int] = set()
        for row in reversed(self._registry.audit.readable()):
            act = row.act
            if act.model != target.name or act.action not in _CHAMPIONS:
                continue
            if row.step == Step.ABANDONED:
                abandoned.add(row.closes)
                continue
            killed = row.step == Step.BEGUN and act.champion_after != target.version
            if not killed and row.sequence not in abandoned:
                return (act.action, act.champion_after) == (Action.ROLLBACK, target.version)
        return False

    def _built(self, copied: LocalCopy, target: Target | None, *, enabled: bool) -> ServedAdapter:
        self._registry.signatures.require(copied.folder, copied.label)
        name, missing = copied.folder.name, self._missing(copied)
        if enabled:
            tagger: IntentTagger = load_tagger(copied, self._encoder)
            source: Literal["registry", "last good"] = "registry" if target else "last good"
            return ServedAdapter(tagger, tagger.version, name, target, source, missing)
        head = load_frozen_head(copied, self._encoder)
        return ServedAdapter(head, head.version, f"{BASELINE_VERSION}:{name}", target, "disabled", missing)

    def _stand_in(self, error: VoicebotError) -> ServedAdapter:
        """The copy that served last in this home, when the wanted one cannot be had at start."""
        copied = last_good(self._store)
        if copied is None:
            if isinstance(error, MissingError):
                raise MissingError(
                    f"There is no adapter to serve with. {error.message}",
                    advice="Run `make demo`, or `voicebot train` and then `adapter-control promote`.",
                ) from error
            raise error
        try:
            pin = read_pin(self._store)
        except VoicebotError:
            pin = None
        served = self._built(copied, None, enabled=pin.enabled if pin else True)
        logger.warning("serving the last good adapter {} of this home: {}", served.version, error)
        return served

    def _note_failure(self, target: Target | None, error: VoicebotError) -> None:
        known = self._failed
        self._failed = known.again(target, str(error), time.monotonic(), self._poll_s)
        if str(error) != known.message:
            serving = self._served.version if self._served else "nothing"
            logger.warning("{} goes on serving; the wanted adapter cannot be loaded: {}", serving, error)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.check()
            except Exception:
                logger.exception("the adapter watcher met an unexpected error and goes on")

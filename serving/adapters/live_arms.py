"""Champion and challenger in service together, and which of them a call gets.

A split is followed as the registry holds it. It takes effect only where this server serves the split's own
champion, has the challenger loaded and proved, and finds both cache scopes warm; until then, and whatever
fails, every call gets the champion, and `standing` says why. A call reads `place` once and keeps what it got.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from loguru import logger

from serving.adapters.failure import Failure
from serving.adapters.fit import OTHER_LABELS, Needed, fit, labels_of, lacking
from serving.adapters.live import ServedAdapter, Target
from serving.adapters.loader import fetch, load_tagger
from serving.adapters.pin import DEFAULT_NAME
from serving.adapters.registry import AdapterRegistry
from serving.adapters.splits import split_in
from serving.arms.assignment import arm_of
from serving.arms.split import Arm, Split
from serving.errors import IntegrityError, MissingError, RefusedError, VoicebotError
from serving.language.encoder import SentenceEncoder


class Champion(Protocol):
    """What serves where no split is in effect; see `serving.adapters.live.LiveAdapter`."""

    @property
    def current(self) -> ServedAdapter:
        """What serves now."""
        ...

    @property
    def needed(self) -> Needed:
        """Which intents this server's callers need."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """What a call got at its start, and keeps.

    Attributes:
        served: the adapter.
        arm: for records, metrics and spans.
        split: the split's id; empty where none is in effect.
        caller_key: what the call was assigned by; empty where no split is in effect.
    """

    served: ServedAdapter
    arm: str = Arm.CHAMPION
    split: str = ""
    caller_key: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How this server takes part in the registry's running split.

    Attributes:
        split: the split that runs; None where none does.
        challenger: its challenger, loaded and proved; None where that failed.
        trouble: why all calls get the champion although a split runs; empty where it is in effect.
    """

    split: Split | None = None
    challenger: ServedAdapter | None = None
    trouble: str = ""


_ALONE = Standing()


class LiveArms:
    """Keeps the challenger of a running split in service beside the champion.

    Args:
        champion: what serves without a split.
        registry: where splits are.
        encoder: the frozen encoder that all adapters share.
        store: private folder of copies (`settings.home / "adapters"`).
        warm: opens the cache scope of an adapter; returns its number of entries.
        name: the model whose split is followed.
        poll_s: time after which a challenger that failed to load is tried again, doubled each time, seconds.
    """

    def __init__(
        self,
        champion: Champion,
        registry: AdapterRegistry,
        encoder: SentenceEncoder,
        store: Path,
        *,
        warm: Callable[[ServedAdapter], int],
        name: str = DEFAULT_NAME,
        poll_s: float = 1.0,
    ) -> None:
        self._champion = champion
        self._registry = registry
        self._encoder = encoder
        self._store = store
        self._warm = warm
        self._name = name
        self._poll_s = poll_s
        self._standing = _ALONE
        self._failed: Failure[Target] = Failure()
        self._suspended = ""
        self._told = ""

    @property
    def standing(self) -> Standing:
        """How this server takes part at this moment."""
        return self._effective(self._champion.current)

    def place(self, caller_key: Callable[[], str]) -> Placed:
        """What a new call gets: its arm's adapter where a split is in effect, else the champion.

        Args:
            caller_key: makes the call's key (`serving.arms.assignment.caller_key`).
        """
        served = self._champion.current
        standing = self._effective(served)
        if standing.split is None or standing.challenger is None or standing.trouble:
            return Placed(served)
        key = caller_key()
        arm = arm_of(standing.split, key)
        return Placed(
            standing.challenger if arm is Arm.CHALLENGER else served, arm.value, standing.split.id, key
        )

    def check(self) -> None:
        """Look once at the registry; failures are logged, and a registry that is away changes nothing.

        A split that is damaged ends here: every call gets the champion.
        """
        try:
            tags = self._registry.model_tags(self._name)
        except MissingError:  # no registry: no split
            tags = {}
        except VoicebotError as error:
            self._tell(f"the split of callers cannot be read, and stays as it is here: {error}")
            return
        try:
            split = split_in(tags)
        except IntegrityError as error:  # nobody knows the share any more, nor can the guardrail end it
            self._standing = _ALONE
            self._tell(f"every call gets the champion: {error}")
            return
        if split is None or not split.running:
            if self._standing.split is not None:
                logger.info("the split {} is over; every new call gets the champion", self._standing.split.id)
            self._standing, self._told = _ALONE, ""
            return
        self._follow(split)

    def suspend(self, split_id: str) -> None:
        """Give new calls of this server the champion, although the registry cannot be told."""
        self._suspended = split_id

    def _follow(self, split: Split) -> None:
        known, target = self._standing, Target(split.model, split.challenger_version, enabled=True)
        if known.split == split and not known.trouble:
            return
        if known.split == split and not self._failed.may_retry(target, time.monotonic()):
            return
        try:
            challenger = self._loaded(target, known)
        except VoicebotError as error:
            self._failed = self._failed.again(target, str(error), time.monotonic(), self._poll_s)
            self._standing = Standing(split, None, f"{split.challenger} cannot be loaded: {error}")
        else:
            self._failed = Failure()
            self._standing = Standing(split, challenger, self._coldness(split, challenger))
        if self._standing.trouble:
            self._tell(
                f"every call gets the champion in spite of the split {split.id}: {self._standing.trouble}"
            )
        else:
            self._told = ""
            logger.info("split {}: {} gets {} % of callers", split.id, split.challenger, split.percent)

    def _loaded(self, target: Target, known: Standing) -> ServedAdapter:
        """The challenger, proved; the one at hand where it is the split's.

        Raises:
            RefusedError: it lacks intents that callers need and the champion knows.
        """
        if known.challenger is not None and known.challenger.target == target:
            return known.challenger
        version = self._registry.get(target.name, target.version)
        copied = fetch(version, self._store, self._registry.signatures)
        self._registry.signatures.require(copied.folder, copied.label)
        missing = fit(labels_of(copied.folder), self._champion.needed).missing
        if lost := set(missing) - set(self._champion.current.missing):
            raise RefusedError(lacking(copied.label, lost), advice=OTHER_LABELS)
        tagger = load_tagger(copied, self._encoder)
        return ServedAdapter(tagger, tagger.version, copied.folder.name, target, "registry", missing)

    def _coldness(self, split: Split, challenger: ServedAdapter) -> str:
        """Which cache scope holds nothing; both are opened here, before the first call needs them."""
        cold = [served.version for served in (self._champion.current, challenger) if not self._warm(served)]
        if not cold or split.cold:
            return ""
        commands = ", ".join(f"`voicebot build-cache --ref {label.rpartition('/')[2]}`" for label in cold)
        return f"the cache holds nothing for {' and '.join(cold)}; {commands} fills it"

    def _effective(self, served: ServedAdapter) -> Standing:
        standing = self._standing
        split = standing.split
        if split is None or standing.trouble:
            return standing
        if split.id == self._suspended:
            return replace(standing, trouble="its guardrail was broken, and the registry could not be told")
        if served.target != Target(split.model, split.champion_version, enabled=True):
            return replace(standing, trouble=f"this server serves {served.version}, not {split.champion}")
        return standing

    def _tell(self, trouble: str) -> None:
        """Each trouble once."""
        if trouble != self._told:
            logger.error("{}", trouble)
        self._told = trouble

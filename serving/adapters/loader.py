"""From a registered version to a tagger that may answer callers.

The bundle is copied into a private folder of this home, every byte of the copy is checked, weights are
merged aside, and the result must answer known texts before anyone sees it. Nothing that serves is
touched; who asked for the load swaps one reference afterwards.
"""

import json
import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from loguru import logger

from serving.adapters.files import copy_files
from serving.adapters.lora import merged_classifier
from serving.adapters.manifest import MANIFEST_FILE, SIGNATURE_FILE, Kind, check_name, verify
from serving.adapters.signature import Signatures, Standing
from serving.adapters.versions import AdapterVersion, identity
from serving.errors import IntegrityError, InvalidInputError, VoicebotError
from serving.files import PRIVATE_FOLDER, new_folder, write_atomically, writing_to
from serving.language.encoder import SentenceEncoder
from serving.language.intent import (
    BASELINE_VERSION,
    FrozenHeadTagger,
    IntentConfig,
    TorchIntentTagger,
    load_baseline,
)

ENERGY_TOLERANCE = 0.01
"""How far the energy of a known text may be off after reloading: float32 rounding on another machine is
a thousand times smaller, wrong weights are a hundred times more."""
_KEPT_COPIES = 4
_LAST_GOOD_FILE = "last-good.json"
_SMOKE_TEXTS = (
    "i lost my card yesterday",
    "what would a loan of twenty thousand dollars over five years cost me",
    "so um the thing is",
    "",
)


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A private, verified copy of one version's bundle.

    Attributes:
        name: registered model's name.
        version: its number.
        folder: the copy.
    """

    name: str
    version: int
    folder: Path

    @property
    def label(self) -> str:
        """What tags and call records name it: `banking-lora/3`."""
        return f"{self.name}/{self.version}"


def fetch(version: AdapterVersion, store: Path, signatures: Signatures | None = None) -> LocalCopy:
    """Copy a version's bundle into the private folder `store` (mode 0700) and check the copy.

    A copy that is there and sound is used again; a damaged one is replaced. Where its signature is worth
    nothing, it takes the registry's, which may be newer; whoever loads the copy checks that.

    Raises:
        MissingError: the registry's bundle is gone.
        IntegrityError: it was altered.
        UnavailableError: the store cannot be written.
    """
    manifest = version.verify()
    folder = store / identity(version.name, version.version, manifest.sha256)
    copied = LocalCopy(version.name, version.version, folder)
    with writing_to(store):
        store.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if _is_sound(version, folder):
            _take_signature(version.bundle, folder, signatures or Signatures())
            os.utime(folder)
            return copied
        signed = [SIGNATURE_FILE] if (version.bundle / SIGNATURE_FILE).is_file() else []
        try:
            with new_folder(folder) as temporary:
                copy_files(version.bundle, temporary, [*manifest.files, MANIFEST_FILE, *signed])
                version.check(verify(temporary))
        except FileExistsError:  # another process of this home made the same copy
            version.check(verify(folder))
    return copied


def load_tagger(copied: LocalCopy, encoder: SentenceEncoder) -> TorchIntentTagger:
    """Build and prove the tagger of a bundle.

    Raises:
        IntegrityError: a file, the base, the labels or a tensor is not what the manifest says, or the
            tagger does not answer its known texts as it did after training.
    """
    config = checked_config(copied.folder, encoder)
    tagger = TorchIntentTagger(
        merged_classifier(copied.folder, encoder, config), encoder, config, copied.label
    )
    smoke_test(tagger)
    return tagger


def load_frozen_head(copied: LocalCopy, encoder: SentenceEncoder) -> FrozenHeadTagger:
    """Build the baseline tagger of a bundle: the encoder as it is, with the frozen head.

    Raises:
        IntegrityError: as for `load_tagger`.
    """
    config = checked_config(copied.folder, encoder)
    version = f"{BASELINE_VERSION}:{copied.label}"  # another bundle's head is another tagger
    tagger = load_baseline(copied.folder, encoder, config, version)
    _require_finite(tagger)
    return tagger


def checked_config(folder: Path, encoder: SentenceEncoder) -> IntentConfig:
    """Verify a bundle for this encoder and read its intent configuration.

    Raises:
        IntegrityError: the bundle is damaged, for another base, or its parts contradict each other.
        InvalidInputError: it is no intent adapter.
    """
    manifest = verify(folder, base_sha256=encoder.base_sha256)
    origin = manifest.provenance
    if origin.kind != Kind.INTENT:
        raise InvalidInputError(
            f"{origin.name} is a {origin.kind.value} adapter; the intent tagger needs kind intent."
        )
    config = IntentConfig.load(folder)
    if (config.base_sha256, config.labels_sha256) != (origin.base_sha256, origin.labels_sha256):
        raise IntegrityError(
            "intent.json and manifest.json name different bases or labels.", advice="Train the adapter again."
        )
    return config


def smoke_test(tagger: TorchIntentTagger) -> None:
    """Make sure that a tagger answers, and answers its probes as it did after training.

    Raises:
        IntegrityError: logits are not finite, or a probe's label or energy differs.
    """
    _require_finite(tagger)
    probes = tagger.config.probes
    for probe, tag in zip(probes, tagger.tag_all([probe.text for probe in probes]), strict=True):
        if tag.label != probe.label or abs(tag.energy - probe.energy) > ENERGY_TOLERANCE:
            raise IntegrityError(
                f"{tagger.version} does not answer as it did after training: {probe.label} with energy "
                f"{probe.energy:.3f} became {tag.label} with {tag.energy:.3f}.",
                advice="The encoder or a library differs from the one that trained it; train it again here.",
            )


def remember_good(copied: LocalCopy, store: Path) -> None:
    """Note which copy serves, for a start without the registry, and drop copies long unused.

    A store that cannot be written is logged: the adapter serves, and only such a start is worse off.
    """
    note = {"name": copied.name, "version": copied.version, "folder": copied.folder.name}
    try:
        with writing_to(store):
            write_atomically(store / _LAST_GOOD_FILE, json.dumps(note) + "\n")
            copies = [path for path in store.iterdir() if (path / MANIFEST_FILE).is_file()]
    except VoicebotError as error:
        logger.warning("{} serves, but this home cannot remember it: {}", copied.label, error)
        return
    for path in sorted(copies, key=_last_used, reverse=True)[_KEPT_COPIES:]:
        if path != copied.folder:
            shutil.rmtree(path, ignore_errors=True)


def last_good(store: Path) -> LocalCopy | None:
    """The copy that served last in this home, verified; None where there is none or it is damaged."""
    try:
        note = json.loads((store / _LAST_GOOD_FILE).read_text(encoding="utf-8"))
        name, version, folder = check_name(note["name"]), int(note["version"]), str(note["folder"])
        if not fnmatchcase(folder, f"{name}-{version}-*") or Path(folder).name != folder:
            raise IntegrityError(f"{folder[:80]!r} is no copy of {name}/{version}")
        return _sound_copy(name, version, store / folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, VoicebotError) as error:
        logger.warning("the note on the last good adapter of this home cannot be read: {}", error)
        return None


def local_copy(store: Path, name: str, version: int) -> LocalCopy | None:
    """A sound copy of a version that was made earlier in this home; None where there is none.

    Of several (a registry that was made anew counts from 1 again) the one that served last, else the newest.
    """
    served = last_good(store)
    if served is not None and (served.name, served.version) == (name, version):
        return served
    folders = sorted(store.glob(f"{name}-{version}-*"), key=_last_used, reverse=True)
    return next(filter(None, (_sound_copy(name, version, folder) for folder in folders)), None)


def _sound_copy(name: str, version: int, folder: Path) -> LocalCopy | None:
    try:
        if verify(folder).provenance.name == name:
            return LocalCopy(name, version, folder)
    except VoicebotError as error:
        logger.warning("the private copy {} cannot be used: {}", folder.name, error)
    return None


def _last_used(folder: Path) -> float:
    """When a copy was made or used last, in seconds; 0 where another server has just removed it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _take_signature(bundle: Path, folder: Path, signatures: Signatures) -> None:
    """Renew the signature of a copy from the registry, unless the copy's own is good: keys are exchanged."""
    if signatures.examine(folder).standing != Standing.VALID and (bundle / SIGNATURE_FILE).is_file():
        write_atomically(folder / SIGNATURE_FILE, (bundle / SIGNATURE_FILE).read_bytes(), private=True)


def _is_sound(version: AdapterVersion, folder: Path) -> bool:
    """Whether an earlier copy can be used; a damaged one is removed."""
    if not folder.exists():
        return False
    try:
        version.check(verify(folder))
    except VoicebotError as error:
        logger.warning("the private copy of {} is damaged and is replaced: {}", version.label, error)
        shutil.rmtree(folder)
        return False
    return True


def _require_finite(tagger: TorchIntentTagger | FrozenHeadTagger) -> None:
    if not np.isfinite(tagger.logits(_SMOKE_TEXTS)).all():
        raise IntegrityError(
            f"{tagger.version} gives logits that are not finite.", advice="Train the adapter again."
        )

"""Dialogue adapters for a vLLM server: written where it can read them, then loaded, proved and let go.

The server may run as another user, in another container or on another machine, and see the folder under
another path. What lies there is what `adapter-control export --form vllm` writes.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from loguru import logger

from serving.adapters.export import vllm_config, write_for_vllm
from serving.adapters.manifest import ADAPTER_CONFIG_FILE, ADAPTER_FILE, FileRecord, verify
from serving.adapters.versions import identity
from serving.errors import UnavailableError, VoicebotError
from serving.files import PRIVATE_FILE, PRIVATE_FOLDER, new_folder, writing_to
from serving.language.protocols import Llm, LlmEvent, LlmRequest
from serving.language.vllm_llm import AdapterFolder, VllmLlm
from serving.speech.protocols import EngineInfo

if TYPE_CHECKING:
    from serving.settings import Settings

_KEPT_FOLDERS = 8


@runtime_checkable
class TidyLlm(Protocol):
    """An engine that keeps adapters elsewhere and has to let go of them."""

    def tidy(self) -> None:
        """Let go of what no call uses any more; asked now and then, never raises our own errors."""
        ...


class AwaitedLlm:
    """Stands where an engine on another machine will: it answers nothing, so the fallback does.

    Args:
        info: of the engine that is waited for.
    """

    def __init__(self, info: EngineInfo) -> None:
        self.info = info

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:  # noqa: ARG002 (nobody answers it)
        """Nothing.

        Raises:
            UnavailableError: always.
        """
        raise UnavailableError(
            "The language model's adapter is not loaded yet.",
            advice="`orchestrator-health` says what is in the way.",
        )


class VllmFolder:
    """The folder in which a vLLM server finds adapters.

    Args:
        folder: as this process sees it; made private where it is missing. Where its group may read, it may
            read the adapters too.
        seen_as: the same folder as the server sees it; empty for the same path.
    """

    def __init__(self, folder: Path, seen_as: str = "") -> None:
        self._folder = folder.resolve()
        self._seen_as = seen_as.rstrip("/") or str(self._folder)

    def write(self, bundle: Path, label: str) -> AdapterFolder:
        """Write a verified bundle in vLLM's layout, unless it lies there: another server may have it in use.

        Args:
            bundle: a sealed bundle of kind `dialogue`.
            label: of the version: `banking-dialogue-lora/3`.

        Raises:
            IntegrityError: it was altered, or vLLM cannot take it.
            UnavailableError: the folder cannot be written.
        """
        name, _, number = label.partition("/")
        manifest = verify(bundle)
        served = identity(name, int(number), manifest.sha256)
        config, _rank = vllm_config(bundle, label)
        place, weights = self._folder / served, manifest.files[ADAPTER_FILE]
        with writing_to(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            shared = bool(self._folder.stat().st_mode & stat.S_IRGRP)
            altered = place.exists()  # before it is read: what appears afterwards is another server's
            if not _holds(place, config, weights):
                try:
                    with new_folder(place, replace=altered) as made:
                        write_for_vllm(bundle, made, config)
                        _open_to_group(made, shared=shared)
                except (FileExistsError, FileNotFoundError) as error:  # another server writes the same
                    if not _holds(place, config, weights):
                        raise UnavailableError(f"{place} changed while it was written.") from error
            _open_to_group(place, shared=shared)
            with contextlib.suppress(PermissionError):  # made by the user of another server
                os.utime(place)
            self._prune(name, keep=served)
        return AdapterFolder(served, label, f"{self._seen_as}/{served}")

    def _prune(self, name: str, keep: str) -> None:
        """Keep the newest folders of a model: a server that was restarted may ask for those in use again."""
        ours = re.compile(rf"{re.escape(name)}-\d+-[0-9a-f]{{12}}")  # and not those of NAME-b
        found = [folder for folder in self._folder.iterdir() if ours.fullmatch(folder.name)]
        found.sort(key=_last_used, reverse=True)
        for folder in (folder for folder in found[_KEPT_FOLDERS:] if folder.name != keep):
            shutil.rmtree(folder, ignore_errors=True)


def _holds(place: Path, config: Mapping[str, object], weights: FileRecord) -> bool:
    """Whether a folder holds exactly this configuration and these weights."""
    try:
        written = json.loads((place / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
        with (place / ADAPTER_FILE).open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except (OSError, ValueError, RecursionError):
        return False
    return written == config and digest == weights.sha256


def _open_to_group(folder: Path, *, shared: bool) -> None:
    """Give an adapter's files the rights that its group shall have."""
    wanted = [(path, 0o640 if shared else PRIVATE_FILE) for path in folder.iterdir()]
    for path, mode in (*wanted, (folder, 0o750 if shared else PRIVATE_FOLDER)):
        if stat.S_IMODE(path.stat().st_mode) & 0o777 != mode:
            path.chmod(mode)


def _last_used(folder: Path) -> float:
    """When a folder was written or asked for last, in seconds; 0 where another server has just removed it."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


class AdaptableVllm:
    """A vLLM server as an engine that takes registered adapters; see `live_dialogue.AdaptableLlm`.

    Args:
        llm: the engine without an adapter.
        folder: where adapters are written for the server.
    """

    def __init__(self, llm: VllmLlm, folder: VllmFolder) -> None:
        self._llm, self._folder = llm, folder
        self._told = ""
        self.info = llm.info

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """The base model's answer."""
        return self._llm.stream(request)

    def with_adapter(self, adapter: Path, label: str) -> Llm:
        """An engine that answers with the adapter in a verified folder, once it was loaded and has answered.

        Raises:
            ServerAwayError: the server does not answer now.
            VoicebotError: vLLM cannot take the adapter, or it does not answer.
        """
        return self._llm.with_folder(self._folder.write(adapter, label))

    def tidy(self) -> None:
        """Have the server forget adapters whose last call has ended; a failure is tried again next time."""
        try:
            unloaded = self._llm.unload_unused()
        except VoicebotError as error:
            if str(error) != self._told:
                logger.warning("adapters that nobody uses stay loaded for now: {}", error)
            self._told = str(error)
        else:
            self._told = ""
            if unloaded:
                logger.info("the vLLM server unloaded {}", ", ".join(unloaded))


def adaptable(settings: "Settings", engine: Llm) -> Llm:
    """The engine as it takes registered adapters; any but a vLLM server as it is."""
    if not isinstance(engine, VllmLlm):
        return engine
    folder = settings.vllm_adapters or settings.home / "vllm"
    return AdaptableVllm(engine, VllmFolder(folder, settings.vllm_adapters_seen_as))

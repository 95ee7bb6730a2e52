"""Dialogue adapters for a vLLM server: written where it can read them, then loaded, proved and let go.

The server may run as another user, in another container or on another machine, and see the folder under
another path. What lies there is what `adapter-control export --form vllm` writes.
"""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from loguru import logger

from serving.adapters.export import vllm_config, write_for_vllm
from serving.adapters.manifest import ADAPTER_FILE, verify
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
        """Write a verified bundle in vLLM's layout; what stood under its name is replaced as a whole.

        Args:
            bundle: a sealed bundle of kind `dialogue`.
            label: of the version: `banking-dialogue-lora/3`.

        Raises:
            IntegrityError: it was altered, or vLLM cannot take it.
            UnavailableError: the folder cannot be written.
        """
        name, _, number = label.partition("/")
        served = identity(name, int(number), verify(bundle).sha256)
        config, _rank = vllm_config(bundle, label)
        with writing_to(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            shared = self._folder.stat().st_mode & stat.S_IRGRP
            with new_folder(self._folder / served, replace=True) as made:
                write_for_vllm(bundle, made, config)
                for path in made.iterdir():
                    path.chmod(0o640 if shared else PRIVATE_FILE)
                made.chmod(0o750 if shared else PRIVATE_FOLDER)
            self._prune(name)
        return AdapterFolder(served, label, f"{self._seen_as}/{served}")

    def _prune(self, name: str) -> None:
        """Keep the newest folders of a model: a server that was restarted may ask for those in use again."""
        found = [path.parent for path in self._folder.glob(f"{name}-*/{ADAPTER_FILE}")]
        found.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in found[_KEPT_FOLDERS:]:
            shutil.rmtree(folder, ignore_errors=True)


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

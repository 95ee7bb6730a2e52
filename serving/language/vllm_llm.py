"""A language model behind a vLLM server as an answering engine, alone or with one of its LoRA adapters.

An engine never changes its adapter: the next one is another engine, loaded under a name of its own that holds
version and checksum, and it must answer before anybody gets it. An adapter is unloaded when no engine has it
any more. A server that was restarted knows none: the first request that hears so has its adapter loaded
again, and is asked once more.
"""

import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loguru import logger

from serving.errors import EngineError, EngineTimeoutError, VoicebotError
from serving.language.chat_http import Limits, ResponseRefusedError, StreamedChat
from serving.language.protocols import LlmEvent, LlmRequest, Message, ToolSchema
from serving.language.vllm import ADVICE, VllmServer
from serving.speech.protocols import EngineInfo

if TYPE_CHECKING:
    import httpx

LOAD_TIMEOUT_S = 120.0
"""How long loading may take: the server reads the folder, perhaps over a network, and compiles at first."""
_PROOF_LIMITS = Limits(60.0, max_retries=0)
_PROOF = LlmRequest(
    (Message("user", "Good morning. What can you do for me?"),),
    (),
    tools=(ToolSchema("transfer_to_agent", "Put the caller through.", {"type": "object", "properties": {}}),),
    max_tokens=64,
)
"""What a freshly loaded adapter must answer, with words or a call; also pays for its slow first request."""
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A dialogue adapter that a vLLM server can load.

    Attributes:
        name: what it is called there; holds version and checksum, so that it never means another content.
        label: what people and call records call it: `banking-dialogue-lora/3`.
        folder: in vLLM's layout, as the server sees it.
    """

    name: str
    label: str
    folder: str


class VllmLlm:
    """Streaming chat with function calling. Any number of threads may stream at once.

    Args:
        server: the server.
        model: name of the base model there.
        limits: time and retries of one answer.
        bank: the bank's name, for requests without a system message.
        load_timeout_s: how long loading an adapter may take, seconds.
    """

    def __init__(
        self,
        server: VllmServer,
        model: str,
        limits: Limits,
        *,
        bank: str = "the bank",
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        self.server, self._model, self._limits, self._bank = server, model, limits, bank
        self._load_timeout_s = load_timeout_s
        self._loaded = _Loaded(server)
        self._chat = StreamedChat(_Sender(server, model), limits, ADVICE, bank=bank)
        self.info = EngineInfo("vllm", model, f"language model at {server.host}")

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """See `serving.language.chat_http.StreamedChat.stream`."""
        yield from self._chat.stream(request)  # a generator of its own, so that it keeps the engine alive

    def with_folder(self, adapter: AdapterFolder) -> "VllmLlm":
        """An engine of its own that answers with an adapter, which stays loaded while it lives.

        Raises:
            VoicebotError: it cannot be loaded or does not answer; this engine stays as it is.
        """
        with self._loaded.changing:
            self.server.load(adapter.name, adapter.folder, time.monotonic() + self._load_timeout_s)
            made = VllmLlm(self.server, self._model, self._limits, bank=self._bank)
            made._load_timeout_s = self._load_timeout_s
            made._loaded = self._loaded
            made.info = EngineInfo("vllm", f"{self._model} + {adapter.label}", self.info.note)
            made._loaded.hold(made, adapter)
            sender = _Sender(self.server, adapter.name, adapter, self._loaded)
            _prove(StreamedChat(sender, _PROOF_LIMITS, ADVICE, bank=self._bank), adapter.label)
            made._chat = StreamedChat(sender, self._limits, ADVICE, bank=self._bank)
        return made

    def unload_unused(self) -> list[str]:
        """Have the server forget the adapters that no engine has any more; returns their names.

        One that the server refuses to unload is forgotten here all the same: nobody asks for it again.

        Raises:
            ServerAwayError: the server does not answer; the next time tries again.
        """
        return self._loaded.unload_unused()

    def close(self) -> None:
        """Close idle connections; neither this engine nor those made from it can be used afterwards."""
        self.server.close()


class _Loaded:
    """What this process had a server load, and how many engines have it. Safe for many threads."""

    def __init__(self, server: VllmServer) -> None:
        self._server = server
        self._known: dict[str, AdapterFolder] = {}
        self._holders: Counter[str] = Counter()
        self._left: deque[str] = deque()
        """Names whose engine is gone and not counted yet: garbage collection comes in the middle of anything,
        so it takes no lock."""
        self._state = threading.Lock()
        self.changing = threading.Lock()
        """Held while an adapter is loaded for the first time, or the unused are unloaded. Restoring takes
        another lock: what is restored has an engine, so it is never unused."""
        self._restoring = threading.Lock()

    def hold(self, engine: VllmLlm, adapter: AdapterFolder) -> None:
        """Keep an adapter loaded for as long as an engine lives."""
        with self._state:
            self._known[adapter.name] = adapter
            self._holders[adapter.name] += 1
        weakref.finalize(engine, self._left.append, adapter.name)

    def unload_unused(self) -> list[str]:
        """See `VllmLlm.unload_unused`."""
        done = []
        with self.changing:
            with self._state:
                while self._left:
                    self._holders[self._left.popleft()] -= 1
                self._holders = +self._holders
                unused = [name for name in self._known if name not in self._holders]
            for name in unused:
                try:
                    self._server.unload(name)
                    done.append(name)
                except EngineError as error:  # such as of one that the engine had put out of memory by itself
                    logger.warning("the vLLM server keeps {} in its list: {}", name, error)
                with self._state:
                    del self._known[name]
        return done

    def restore(self, adapter: AdapterFolder, deadline: float) -> None:
        """Load an adapter again that the server denies; threads that come with the same load it once.

        Args:
            adapter: what an engine has.
            deadline: monotonic seconds.

        Raises:
            EngineTimeoutError: it was not there in time.
            VoicebotError: as for `VllmServer.load`.
        """
        if not self._restoring.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise EngineTimeoutError("The vLLM server was loading another adapter for too long.")
        try:
            if adapter.name not in self._server.models(deadline):
                self._server.load(adapter.name, adapter.folder, deadline)
                logger.warning("the vLLM server had forgotten {}; it is loaded again", adapter.label)
        finally:
            self._restoring.release()


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends requests to a model of a server; knows no engine, so that none is kept alive by its own parts.

    Attributes:
        model: the base model's or the adapter's name.
        adapter: what `model` is, where it is an adapter.
        loaded: restores it.
    """

    server: VllmServer
    model: str
    adapter: AdapterFolder | None = None
    loaded: _Loaded | None = None

    def __call__(self, messages: Sequence[Message], request: LlmRequest, deadline: float) -> "httpx.Response":
        try:
            return self.server.chat(self.model, messages, request, deadline)
        except ResponseRefusedError as refusal:
            if refusal.status != _NOT_FOUND or self.adapter is None or self.loaded is None:
                raise
        self.loaded.restore(self.adapter, deadline)
        return self.server.chat(self.model, messages, request, deadline)


def _prove(chat: StreamedChat, label: str) -> None:
    try:
        for _ in chat.stream(_PROOF):
            pass
    except VoicebotError as error:
        failed = EngineError(f"{label} does not answer at the vLLM server: {error}")
        failed.retryable = error.retryable
        raise failed from None

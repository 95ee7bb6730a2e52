"""A vLLM server: its OpenAI-compatible chat, and the loading and unloading of LoRA adapters.

The wire format as vLLM 0.6 to 0.33 speak it. An adapter is a model of its own name in `/v1/models` (`root` is
its folder) and in a request's `model`. Loading and unloading exist only where the server was started with
VLLM_ALLOW_RUNTIME_LORA_UPDATING. An error's body is `{"error": {"message", "type", "code"}}`, in older
versions without the outer `error`. `load_inplace` of newer versions (vllm#31326) is never used: reusing a
name can hit what the prefix cache holds of the weights before (vllm#42125). A name stands for one content for
ever, see `vllm_llm`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serving.errors import (
    EngineError,
    InvalidInputError,
    MissingError,
    RefusedError,
    UnavailableError,
)
from serving.language.chat_http import (
    RETRIED_STATUS,
    Advice,
    host_of,
    limit_connecting,
    refuse_other_than_stream,
    server_address,
    until,
)
from serving.language.protocols import LlmRequest, Message
from serving.language.tool_format import wire_messages, wire_tools

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 1 << 20
"""Longest body of an answer that is not a stream; a list of a thousand adapters has half of it."""
_MOST_CONNECTIONS = 512
_SHORT_S = 5.0
"""Time limit of what a server answers from memory, seconds."""
_KEY = "Check the API key (VOICEBOT_VLLM_API_KEY)."
_TOOLS = (
    "Check that the server runs with --enable-auto-tool-choice --tool-call-parser mistral and that "
    "--max-model-len has room for the dialogue."
)
_RUNTIME_LORA = (
    "Start the server with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or name the adapter's "
    "folder as the server sees it (vllm_adapters_seen_as)."
)
ADVICE = Advice(
    address="Check vllm_url.",
    unreachable="Check vllm_url and the network; a vLLM server takes minutes to start.",
    by_status={
        400: _TOOLS,
        401: _KEY,
        403: _KEY,
        404: "Check vllm_model (what /v1/models lists) and vllm_url (without /v1).",
        422: _TOOLS,
    },
)


class ServerAwayError(UnavailableError):
    """The server does not answer now; it may be starting."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A short answer of the server, read to its end."""

    status: int
    body: bytes

    def mapping(self) -> Mapping[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, Mapping) else {}

    def error(self) -> tuple[str, str]:
        """Type and message of a refusal, as the server words it; on one line, and short."""
        document = self.mapping()
        inner = document.get("error", document)
        if not isinstance(inner, Mapping):
            return "", ""
        kind, message = (inner.get(name) for name in ("type", "message"))
        return _line(kind), _line(message)


class VllmServer:
    """One vLLM server. Any number of threads may use it at once.

    Args:
        url: its address, without /v1, user or password.
        api_key: what it was started with (`--api-key`); empty for none.

    Raises:
        InvalidInputError: `url` is no http address, or holds a password; no header can hold `api_key`.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        import httpx

        self._address = server_address(url, "vllm_url")
        if urlsplit(url).username or urlsplit(url).password:
            raise InvalidInputError(
                "vllm_url holds a user or password.", advice="Give a key with VOICEBOT_VLLM_API_KEY."
            )
        if not (api_key.isascii() and api_key.isprintable()):
            raise InvalidInputError(
                "The vLLM server's API key holds a line break or a letter that no HTTP header can.",
                advice=_KEY,
            )
        self.host = host_of(self._address)
        self._http = httpx.Client(
            base_url=self._address,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            follow_redirects=False,
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=64),
            event_hooks={"request": [limit_connecting]},
        )

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    def check(self) -> None:
        """Make sure that the server is up and its engine lives (`/health`).

        Raises:
            ServerAwayError: it is not, or does not answer.
        """
        answer = self._ask("GET", "/health", None, time.monotonic() + _SHORT_S)
        if answer.status != 200:
            raise ServerAwayError(f"The vLLM server is not well (HTTP {answer.status}).")

    def models(self, deadline: float | None = None) -> dict[str, str]:
        """What the server answers with, by name: the folder or name of its weights (`/v1/models`).

        Raises:
            ServerAwayError: it does not answer.
            EngineError: it answers something else.
        """
        answer = self._ask("GET", "/v1/models", None, _at_most(deadline, _SHORT_S))
        cards = answer.mapping().get("data")
        if answer.status != 200 or not isinstance(cards, list):
            raise _refusal("list its models", answer)
        listed = [card for card in cards if isinstance(card, Mapping) and isinstance(card.get("id"), str)]
        return {card["id"]: str(card.get("root") or "") for card in listed}

    def load(self, name: str, folder: str, deadline: float) -> None:
        """Have an adapter loaded; one that is loaded already is left as it is.

        Not tried again here: loading may go on in the server after we stopped waiting.

        Args:
            name: under which requests will ask for it; stands for this content and no other.
            folder: in vLLM's layout, as the server sees it.
            deadline: monotonic seconds.

        Raises:
            ServerAwayError: the server does not answer, or not in time.
            MissingError: it does not see the folder, or does not load adapters at all.
            RefusedError: the name is taken by another folder.
            EngineError: it refuses the adapter; the message holds its own words.
        """
        body = {"lora_name": name, "lora_path": folder}
        answer = self._ask("POST", "/v1/load_lora_adapter", body, deadline)
        if answer.status == 200:
            return
        kind, message = answer.error()
        if answer.status == 400 and "already" in message:
            known = self.models(deadline).get(name)
            if known == folder:
                return
            raise RefusedError(
                f"The vLLM server has another folder loaded as {name}.",
                advice="Unload it there; names of this form belong to voicebot.",
            )
        if answer.status == 404:
            what = message or "it does not load adapters while it runs"
            raise MissingError(f"The vLLM server cannot load {name}: {what}.", advice=_RUNTIME_LORA)
        raise _refusal(f"load {name}", answer, kind, message)

    def unload(self, name: str) -> None:
        """Have an adapter forgotten; one that is not there counts as forgotten.

        Raises:
            ServerAwayError, EngineError: as for `load`.
        """
        body = {"lora_name": name}
        answer = self._ask("POST", "/v1/unload_lora_adapter", body, time.monotonic() + _SHORT_S)
        if answer.status not in (200, 404):
            raise _refusal(f"unload {name}", answer)

    def chat(
        self, model: str, messages: Sequence[Message], request: LlmRequest, deadline: float
    ) -> "httpx.Response":
        """Open the stream of an answer (`/v1/chat/completions`); who reads it closes it.

        Closing early ends the generation: the server notices that nobody listens.

        Raises:
            ResponseRefusedError: the server answered with something else than a stream.
            httpx.TransportError: it cannot be reached.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": wire_messages(messages),
            "max_tokens": request.max_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.tools:
            body |= {"tools": wire_tools(request.tools), "tool_choice": "auto"}
        response = self._open("POST", "/v1/chat/completions", body, deadline)
        refuse_other_than_stream(response)
        return response

    def _open(self, method: str, path: str, body: object, deadline: float) -> "httpx.Response":
        remaining = max(deadline - time.monotonic(), 0.001)
        # As ASCII: half characters, which no UTF-8 holds, stay escaped as they came.
        content = json.dumps(body).encode() if body is not None else None
        request = self._http.build_request(
            method,
            path,
            content=content,
            headers={"Content-Type": "application/json"} if content else {},
            timeout=remaining,
        )
        return self._http.send(request, stream=True)

    def _ask(self, method: str, path: str, body: object, deadline: float) -> _Answer:
        """A short exchange, read to its end within bounds."""
        failure: Exception
        try:
            with until(deadline, self._open(method, path, body, deadline)) as response:
                read = bytearray()
                for piece in response.iter_bytes():
                    read += piece
                    if len(read) > _MOST_BYTES:
                        raise EngineError(f"The vLLM server's answer to {path} is without end.")
                return _Answer(response.status_code, bytes(read))
        except EngineError:
            raise
        except Exception as error:  # whatever httpx raises ends here
            failure = _unreachable(path, type(error).__name__, late=time.monotonic() >= deadline)
        raise failure


def _unreachable(path: str, why: str, *, late: bool) -> ServerAwayError:
    if late or why == "ReadTimeout":
        return ServerAwayError(f"The vLLM server did not answer {path} in time.")
    return ServerAwayError(
        f"The vLLM server cannot be reached or broke off at {path} ({why}).", advice=ADVICE.unreachable
    )


def _refusal(what: str, answer: _Answer, kind: str = "", message: str = "") -> EngineError | ServerAwayError:
    """The error for an answer that is no success; its words are about adapters, not about callers."""
    if not message:
        kind, message = answer.error()
    said = f": {kind} {message}".rstrip(" .") if message else ""
    text = f"The vLLM server did not {what} (HTTP {answer.status}{said})."
    # A refused adapter is an HTTP 400 or, in newer versions, a 500 with a message: it stays refused.
    if answer.status in RETRIED_STATUS and not message:
        return ServerAwayError(text)
    error = EngineError(text, advice=ADVICE.by_status[401] if answer.status in (401, 403) else "")
    error.retryable = False
    return error


def _at_most(deadline: float | None, seconds: float) -> float:
    limit = time.monotonic() + seconds
    return limit if deadline is None else min(deadline, limit)


def _line(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())[:300]

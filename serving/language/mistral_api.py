"""A language model behind Mistral's chat API, or behind any server that speaks its wire format.

Requests are made by Mistral's SDK; time limit, retries and errors are those of `chat_http`, and the streamed
answer is read in `chat_stream`.
"""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from serving.errors import MissingError
from serving.language.chat_http import (
    Advice,
    Limits,
    StreamedChat,
    host_of,
    limit_connecting,
    refuse_other_than_stream,
    server_address,
)
from serving.language.protocols import LlmEvent, LlmRequest, Message
from serving.language.tool_format import wire_messages, wire_tools
from serving.speech.protocols import EngineInfo

if TYPE_CHECKING:
    import httpx2

_KEY = "Check the API key (VOICEBOT_MISTRAL_API_KEY)"
_SCHEMAS = "Check mistral_model and the schemas of the tools."
_ADVICE = Advice(
    address="Check mistral_server_url.",
    unreachable="Check mistral_server_url and the network.",
    by_status={
        400: _SCHEMAS,
        401: f"{_KEY}.",
        403: f"{_KEY} and what it may use.",
        404: "Check mistral_model and mistral_server_url (without /v1).",
        422: _SCHEMAS,
    },
)


class _NoLog:
    """Takes the place of the SDK's logger, which would write keys and dialogue with MISTRAL_DEBUG set."""

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Drop it."""


class MistralLlm:
    """Streaming chat with function calling.

    Any number of threads may stream at once.

    Args:
        api_key: empty for a server that wants none.
        server_url: address without /v1; None for Mistral's API.
        model: the model's name at the server.
        timeout_s, max_retries, backoff_s: see `serving.language.chat_http.Limits`.
        bank: the bank's name, for requests without a system message.

    Raises:
        MissingError: the package mistralai is not installed.
        InvalidInputError: `server_url` is no http address.
    """

    def __init__(
        self,
        api_key: str,
        *,
        server_url: str | None = None,
        model: str,
        timeout_s: float,
        max_retries: int,
        backoff_s: float = 0.25,
        bank: str = "the bank",
    ) -> None:
        address = None if server_url is None else server_address(server_url, "mistral_server_url")
        where = host_of(address) if address else "Mistral"
        self.info = EngineInfo("mistral", model, f"language model at {where}")
        self._model = model
        self._streamed = StreamedChat(
            self._send, Limits(timeout_s, max_retries, backoff_s), _ADVICE, bank=bank
        )
        try:
            import httpx2
            from mistralai.client import Mistral
        except ImportError as error:
            raise MissingError(
                "The Mistral API needs the package mistralai (3.7 or newer), which is not installed.",
                advice="Install voicebot with the extra `mistral`, or set llm to another engine.",
            ) from error
        self._http = httpx2.Client(
            follow_redirects=False,
            event_hooks={"request": [limit_connecting], "response": [refuse_other_than_stream]},
        )
        # Without a key the SDK would take MISTRAL_API_KEY from the environment and send it to any server.
        self._client = Mistral(
            api_key=api_key or "none",
            server_url=address,
            client=self._http,
            debug_logger=_NoLog(),
        )
        self._chat = self._client.chat  # imported by the SDK on first use: here, not in the first call

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """See `serving.language.chat_http.StreamedChat.stream`."""
        return self._streamed.stream(request)

    def close(self) -> None:
        """Close idle connections; the engine cannot be used afterwards."""
        self._http.close()

    def _send(self, messages: Sequence[Message], request: LlmRequest, deadline: float) -> "httpx2.Response":
        options: dict[str, Any] = {"tools": wire_tools(request.tools)} if request.tools else {}
        remaining = max(deadline - time.monotonic(), 0.001)
        answer = self._chat.stream(
            model=self._model,
            messages=wire_messages(messages),  # the SDK takes plain mappings too
            max_tokens=request.max_tokens,
            temperature=0.0,
            timeout_ms=max(int(remaining * 1_000), 1),
            **options,
        )
        return answer.response

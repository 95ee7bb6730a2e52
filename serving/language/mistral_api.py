"""A language model behind Mistral's chat API, or behind any server that speaks its wire format (vLLM).

Requests are made by Mistral's SDK; the streamed answer is read in `chat_stream`. Retries are bounded in
number and in time and happen only before the first word, because a caller has heard the rest. Errors name
the cause and never hold the key, the caller's words or what the server wrote.
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serving.errors import EngineError, EngineTimeoutError, InvalidInputError, MissingError, UnavailableError
from serving.language.chat_stream import IncompleteAnswerError, answer_events
from serving.language.prompt import messages_for
from serving.language.protocols import LlmEvent, LlmRequest, Message
from serving.language.tool_format import check_pairing, wire_messages, wire_tools
from serving.speech.protocols import EngineInfo

if TYPE_CHECKING:
    import httpx2

_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_BACKOFF_S = 5.0
_CONNECT_SHARE = 0.5
"""Part of the time limit that connecting may take, so that a black hole leaves time for an answer."""
_ADVICE = {
    400: "Check mistral_model and the schemas of the tools.",
    401: "Check the API key (VOICEBOT_MISTRAL_API_KEY).",
    403: "Check the API key (VOICEBOT_MISTRAL_API_KEY) and what it may use.",
    404: "Check mistral_model and mistral_server_url (without /v1).",
    422: "Check mistral_model and the schemas of the tools.",
}


class _ResponseRefusedError(Exception):
    """The server answered with something else than a stream; its body was not read."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after


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
        timeout_s: time limit of one answer, seconds; retries and the reader's own pauses count.
        max_retries: further tries after a failure that may pass, before the first word.
        backoff_s: wait before the first retry; it doubles with each, give or take a quarter.
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
        address = _server(server_url)
        self.info = EngineInfo("mistral", model, f"language model at {_host(address)}")
        self._model, self._bank = model, bank
        self._timeout_s, self._tries, self._backoff_s = timeout_s, max_retries + 1, backoff_s
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
            event_hooks={"request": [_limit_connecting], "response": [_refuse_other_than_stream]},
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
        """See `serving.language.protocols.Llm.stream`.

        Raises:
            EngineTimeoutError: no whole answer within the time limit.
            UnavailableError: the server cannot be reached, is overloaded, or broke off.
            EngineError: the request was refused, or the answer is none.
        """
        deadline = time.monotonic() + self._timeout_s
        messages = messages_for(request, bank=self._bank)
        check_pairing(messages)
        for attempt in range(self._tries):
            started = False
            try:
                for event in self._attempt(messages, request, deadline):
                    started = True
                    yield event
            except _TryAgainError as failure:
                error, wait = failure.error, self._wait(failure.retry_after, attempt)
            else:
                return
            if started or attempt + 1 == self._tries or time.monotonic() + wait >= deadline:
                raise error
            time.sleep(wait)

    def close(self) -> None:
        """Close idle connections; the engine cannot be used afterwards."""
        self._http.close()

    def _attempt(
        self, messages: Sequence[Message], request: LlmRequest, deadline: float
    ) -> Iterator[LlmEvent]:
        """One try, with every foreign exception translated."""
        failure: Exception
        try:
            with self._open(messages, request, deadline) as response:
                yield from answer_events(response.iter_bytes(), messages, max_tokens=request.max_tokens)
            return
        except EngineError:
            raise
        except Exception as error:  # whatever the SDK and its transport raise ends here
            failure = self._translated(error, deadline)
        # Outside the handler: the library's exception, kept as context, would carry key and dialogue along.
        raise failure

    @contextlib.contextmanager
    def _open(
        self, messages: Sequence[Message], request: LlmRequest, deadline: float
    ) -> Iterator["httpx2.Response"]:
        """The response to a request, which is broken off at the deadline and closed at the end."""
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
        watchdog = threading.Timer(max(deadline - time.monotonic(), 0), _break_off, (answer.response,))
        watchdog.daemon = True
        watchdog.start()
        try:
            yield answer.response
        finally:
            watchdog.cancel()
            answer.response.close()
            watchdog.join()

    def _translated(self, error: Exception, deadline: float) -> Exception:
        names = {base.__name__ for base in type(error).__mro__}
        if time.monotonic() >= deadline or "ReadTimeout" in names:
            return EngineTimeoutError(f"The language model did not answer within {self._timeout_s:g} s.")
        if isinstance(error, _ResponseRefusedError):
            return _refused(error)
        if isinstance(error, IncompleteAnswerError):
            return _TryAgainError(error)
        if "TransportError" in names:
            return _TryAgainError(
                UnavailableError(
                    f"The language model's server cannot be reached or broke off ({type(error).__name__}).",
                    advice="Check mistral_server_url and the network.",
                )
            )
        return EngineError(f"The request to the language model failed ({type(error).__name__}).")

    def _wait(self, retry_after: float | None, attempt: int) -> float:
        """Seconds before the next try: what the server asked for, else growing and jittered."""
        if retry_after is not None:
            return retry_after
        spread = random.uniform(0.75, 1.25)  # noqa: S311 (no secret depends on it)
        return min(self._backoff_s * 2.0**attempt * spread, _LONGEST_BACKOFF_S)


class _TryAgainError(Exception):
    """A failure that may pass; `error` is what the caller gets when it does not."""

    def __init__(self, error: UnavailableError, retry_after: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.retry_after = retry_after


def _refused(refusal: _ResponseRefusedError) -> Exception:
    status = refusal.status
    if status in _RETRIED_STATUS:
        busy = UnavailableError(f"The language model's server is not available now (HTTP {status}).")
        return _TryAgainError(busy, _seconds(refusal.retry_after))
    what = "answered with something else than a stream" if status < 300 else "refused the request"
    error = EngineError(
        f"The language model's server {what} (HTTP {status}).",
        advice=_ADVICE.get(status, "Check mistral_server_url."),
    )
    error.retryable = False
    return error


def _seconds(retry_after: str) -> float | None:
    """Seconds of a Retry-After header; a date, or nonsense, counts as none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        return None
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124 (not NaN)


def _server(url: str | None) -> str | None:
    """The server's address without a trailing /v1, which the SDK adds itself."""
    if url is None:
        return None
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url.rstrip("/").removesuffix("/v1").rstrip("/")
    raise InvalidInputError(
        "mistral_server_url is no http or https address.",
        advice="Write it like http://llm.internal:8000, without /v1.",
    )


def _host(address: str | None) -> str:
    """The server's name, without a user and password that the address may hold."""
    return (urlsplit(address).hostname or "") if address else "Mistral"


def _limit_connecting(request: "httpx2.Request") -> None:
    limits: Mapping[str, float | None] = request.extensions.get("timeout", {})
    connect = limits.get("connect")
    if connect:
        request.extensions["timeout"] = {**limits, "connect": connect * _CONNECT_SHARE}


def _refuse_other_than_stream(response: "httpx2.Response") -> None:
    """Stop before the body of a refusal is read: it may be huge, slow, or quote the dialogue."""
    kind = response.headers.get("content-type", "")
    if response.status_code != 200 or not kind.lower().startswith("text/event-stream"):
        response.close()
        raise _ResponseRefusedError(response.status_code, response.headers.get("retry-after", ""))


def _break_off(response: "httpx2.Response") -> None:
    """Wake a reader that waits for the server; closing alone would leave it waiting."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):
            connection.shutdown(socket.SHUT_RDWR)

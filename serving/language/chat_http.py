"""What clients of a streaming chat API share: one time limit, bounded retries, our own errors, a clean end.

A client brings a function that sends a request and returns the opened response; everything after that lives
here and in `chat_stream`. Retries happen only before the first word, because a caller has heard the rest.
Errors name the cause and never hold the key, the caller's words or what the server wrote. Responses may be
httpx's or httpx2's: only what both have is used.
"""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from serving.errors import EngineError, EngineTimeoutError, InvalidInputError, UnavailableError
from serving.language.chat_stream import IncompleteAnswerError, answer_events
from serving.language.prompt import messages_for
from serving.language.protocols import LlmEvent, LlmRequest, Message
from serving.language.tool_format import check_pairing

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
"""Answers of a server after which the same request may succeed; generating has no effect to repeat."""
_LONGEST_BACKOFF_S = 5.0
_CONNECT_SHARE = 0.5
"""Part of the time limit that connecting may take, so that a black hole leaves time for an answer."""


class StreamedResponse(Protocol):
    """What is used of an opened response; its body has not been read yet."""

    status_code: int
    headers: Any
    extensions: Any

    def iter_bytes(self) -> Iterator[bytes]:
        """The body, decoded, in whatever pieces it arrives."""
        ...

    def close(self) -> None:
        """Give the connection up."""
        ...


Send = Callable[[Sequence[Message], LlmRequest, float], StreamedResponse]
"""Sends the messages of a request before a deadline (monotonic seconds) and returns the opened stream."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an answer is waited for.

    Attributes:
        timeout_s: time limit of one answer, seconds; retries and the reader's own pauses count.
        max_retries: further tries after a failure that may pass, before the first word.
        backoff_s: wait before the first retry; it doubles with each, give or take a quarter.
    """

    timeout_s: float
    max_retries: int
    backoff_s: float = 0.25

    def wait(self, retry_after: float | None, attempt: int) -> float:
        """Seconds before the next try: what the server asked for, else growing and jittered."""
        if retry_after is not None:
            return retry_after
        spread = random.uniform(0.75, 1.25)  # noqa: S311 (no secret depends on it)
        return min(self.backoff_s * 2.0**attempt * spread, _LONGEST_BACKOFF_S)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to tell who runs the server.

    Attributes:
        address: what to check where nothing else is known.
        unreachable: what to check where nobody answers.
        by_status: what to check after a refusal, by HTTP status.
    """

    address: str
    unreachable: str
    by_status: Mapping[int, str]


class ResponseRefusedError(Exception):
    """The server answered with something else than a stream; its body was not read."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after


class _TryAgainError(Exception):
    """A failure that may pass; `error` is what the caller gets when it does not."""

    def __init__(self, error: UnavailableError, retry_after: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.retry_after = retry_after


class StreamedChat:
    """Answers requests by a server's stream. Any number of threads may stream at once.

    Args:
        send: opens the stream of a request; what it raises is translated here.
        limits: time and retries.
        advice: what to check when it fails.
        bank: the bank's name, for requests without a system message.
    """

    def __init__(self, send: Send, limits: Limits, advice: Advice, *, bank: str) -> None:
        self._send, self._limits, self._advice, self._bank = send, limits, advice, bank

    def stream(self, request: LlmRequest) -> Iterator[LlmEvent]:
        """See `serving.language.protocols.Llm.stream`.

        Raises:
            EngineTimeoutError: no whole answer within the time limit.
            UnavailableError: the server cannot be reached, is overloaded, or broke off.
            EngineError: the request was refused, or the answer is none.
        """
        deadline = time.monotonic() + self._limits.timeout_s
        messages = messages_for(request, bank=self._bank)
        check_pairing(messages)
        for attempt in range(self._limits.max_retries + 1):
            started = False
            try:
                for event in self._attempt(messages, request, deadline):
                    started = True
                    yield event
            except _TryAgainError as failure:
                error, wait = failure.error, self._limits.wait(failure.retry_after, attempt)
            else:
                return
            last = attempt == self._limits.max_retries
            if started or last or time.monotonic() + wait >= deadline:
                raise error
            time.sleep(wait)

    def _attempt(
        self, messages: Sequence[Message], request: LlmRequest, deadline: float
    ) -> Iterator[LlmEvent]:
        """One try, with every foreign exception translated."""
        failure: Exception
        try:
            with until(deadline, self._send(messages, request, deadline)) as response:
                yield from answer_events(response.iter_bytes(), messages, max_tokens=request.max_tokens)
            return
        except (EngineError, UnavailableError) as error:
            if not isinstance(error, IncompleteAnswerError):
                raise
            failure = _TryAgainError(error)
            if time.monotonic() >= deadline:
                failure = self._late()
        except Exception as error:  # whatever a library and its transport raise ends here
            failure = self._translated(error, deadline)
        # Outside the handler: the library's exception, kept as context, would carry key and dialogue along.
        raise failure

    def _late(self) -> EngineTimeoutError:
        return EngineTimeoutError(f"The language model did not answer within {self._limits.timeout_s:g} s.")

    def _translated(self, error: Exception, deadline: float) -> Exception:
        names = {base.__name__ for base in type(error).__mro__}
        if time.monotonic() >= deadline or "ReadTimeout" in names:
            return self._late()
        if isinstance(error, ResponseRefusedError):
            return self._refused(error)
        if "TransportError" in names:
            return _TryAgainError(
                UnavailableError(
                    f"The language model's server cannot be reached or broke off ({type(error).__name__}).",
                    advice=self._advice.unreachable,
                )
            )
        return EngineError(f"The request to the language model failed ({type(error).__name__}).")

    def _refused(self, refusal: ResponseRefusedError) -> Exception:
        status = refusal.status
        if status in RETRIED_STATUS:
            busy = UnavailableError(f"The language model's server is not available now (HTTP {status}).")
            return _TryAgainError(busy, _seconds(refusal.retry_after))
        what = "answered with something else than a stream" if status < 300 else "refused the request"
        error = EngineError(
            f"The language model's server {what} (HTTP {status}).",
            advice=self._advice.by_status.get(status, self._advice.address),
        )
        error.retryable = False
        return error


@contextlib.contextmanager
def until(deadline: float, response: StreamedResponse) -> Iterator[StreamedResponse]:
    """An opened response, which is broken off at the deadline and closed at the end.

    Args:
        deadline: monotonic seconds; a server that dribbles would otherwise be read for ever.
        response: an opened response.
    """
    watchdog = threading.Timer(max(deadline - time.monotonic(), 0), _break_off, (response,))
    watchdog.daemon = True
    try:
        watchdog.start()
        yield response
    finally:
        watchdog.cancel()
        response.close()
        if watchdog.ident is not None:  # it could be started
            watchdog.join()


def server_address(url: str, setting: str) -> str:
    """A server's address without a trailing /v1.

    Raises:
        InvalidInputError: it is no http address.
    """
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return url.rstrip("/").removesuffix("/v1").rstrip("/")
    raise InvalidInputError(
        f"{setting} is no http or https address.",
        advice="Write it like http://llm.internal:8000, without /v1.",
    )


def host_of(address: str) -> str:
    """The server's name, without a user and password that the address may hold."""
    return urlsplit(address).hostname or ""


def limit_connecting(request: Any) -> None:
    """Request hook of a client: connecting gets a part of the time only."""
    limits: Mapping[str, float | None] = request.extensions.get("timeout", {})
    connect = limits.get("connect")
    if connect:
        request.extensions["timeout"] = {**limits, "connect": connect * _CONNECT_SHARE}


def refuse_other_than_stream(response: StreamedResponse) -> None:
    """Stop before the body of a refusal is read: it may be huge, slow, or quote the dialogue.

    Raises:
        ResponseRefusedError: the response is no stream.
    """
    kind = response.headers.get("content-type", "")
    if response.status_code != 200 or not kind.lower().startswith("text/event-stream"):
        response.close()
        raise ResponseRefusedError(response.status_code, response.headers.get("retry-after", ""))


def _seconds(retry_after: str) -> float | None:
    """Seconds of a Retry-After header; a date, or nonsense, counts as none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        return None
    return max(seconds, 0.0) if seconds == seconds else None  # noqa: PLR0124 (not NaN)


def _break_off(response: StreamedResponse) -> None:
    """Wake a reader that waits for the server; closing alone would leave it waiting."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if connection is not None:
        with contextlib.suppress(OSError, ValueError):
            connection.shutdown(socket.SHUT_RDWR)

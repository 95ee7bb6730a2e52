"""Requests without the token are refused unread, and bodies over the limit before they are read whole."""

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import InvalidInputError, RefusedError
from serving.services.explained import error_body


class BodyLimit:
    """Answers 413 to a body over the limit: by what its header says, and by what really comes.

    Args:
        app: what is guarded.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not (length.isascii() and length.isdecimal() and int(length[:20]) <= self._most):
            await self._refuse(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most:
                raise _TooLargeError
            return message

        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLargeError:
            if not started:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = InvalidInputError(f"The body is larger than {self._most:,} bytes.")
        answer = JSONResponse(error_body(error), status_code=413, headers={"connection": "close"})
        await answer(scope, receive, send)


class _TooLargeError(BaseException):
    """More came than may; no handler of errors between here and the route turns it into another answer."""


class BearerGuard:
    """Answers 401 to a request under a path that does not carry the token; nothing of its body is read.

    Args:
        app: what is guarded.
        token: `Authorization: Bearer TOKEN`; empty for no guard.
        under: begins the guarded paths.
    """

    def __init__(self, app: ASGIApp, token: str, under: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""
        self._under = under

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and self._expected and scope["path"].startswith(self._under):
            given = Headers(scope=scope).get("authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, self._expected):
                error = RefusedError(
                    "The request does not carry this server's token.",
                    advice="Send `Authorization: Bearer` with what VOICEBOT_CACHE_TOKEN holds there.",
                )
                headers = {"www-authenticate": "Bearer", "connection": "close"}
                await JSONResponse(error_body(error), status_code=401, headers=headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

"""Keeps Chainlit's pages on this machine: no remote asset, no foreign site at the door.

Chainlit's page asks for fonts and a style sheet of other hosts, and its server answers every origin. Around
it, remote links are taken out of the page, the browser is told to fetch nothing from elsewhere, and requests
that another site's page makes are refused.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""What a browser may fetch for the page, and from where."""
_REMOTE_LINK = re.compile(rb"<link\b[^>]*\bhref=\"https?://[^>]*>")


class PrivatePage:
    """ASGI middleware; place it outermost.

    Args:
        app: Chainlit's application.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
        elif foreign(dict(scope["headers"])):
            await _refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            # Compressed pages cannot be read here; on loopback compression gains nothing.
            headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            await self._app({**scope, "headers": headers}, receive, _Cleaning(send))


def foreign(headers: dict[bytes, bytes]) -> bool:
    """Whether a page of another site makes this request: a browser then names that site as its origin."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    return bool(origin) and urlsplit(origin).netloc != headers.get(b"host", b"").decode("latin-1")


class _Cleaning:
    """Sends a response on; of a page, once it is whole, without its remote links."""

    def __init__(self, send: "Send") -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            if headers.get(b"content-type", b"").startswith(b"text/html"):
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = _REMOTE_LINK.sub(b"", self._body)
            kept = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
            self._start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
            await self._send(self._start)
            self._start = None
            message = {"type": "http.response.body", "body": body}
        await self._send(message)


async def _refuse(scope: "Scope", receive: "Receive", send: "Send") -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"This page answers its own site only.\n"})

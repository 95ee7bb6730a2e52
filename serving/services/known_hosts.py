"""Refuses requests that a page of a stranger sends through a name of its own that leads here (DNS rebinding).

The web sockets have their own guard, `may_open`, because there a browser says which page it is.
"""

from loguru import logger
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.services.live_options import LiveOptions, may_ask

_REFUSAL = {
    "error": "The request names a host that is not this server's.",
    "advice": "Set VOICEBOT_PUBLIC_URL to the address under which a proxy passes requests on.",
    "category": "refused",
}


class KnownHosts:
    """Answers 421 to an HTTP request whose Host header may be a stranger's; see `may_ask`."""

    def __init__(self, app: ASGIApp, options: LiveOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not may_ask(Headers(scope=scope).get("host", ""), self._options):
            logger.warning("a request for another host was refused; VOICEBOT_PUBLIC_URL names this server's")
            await JSONResponse(_REFUSAL, status_code=421)(scope, receive, send)
            return
        await self._app(scope, receive, send)

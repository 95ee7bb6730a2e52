"""What Twilio asks over HTTP: what to do with a new call, and what follows once its stream is over.

Every request must carry Twilio's signature. Without an auth token no call is taken; unsigned calls can be
allowed for tests, from this machine only.
"""

from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.requests import HTTPConnection

from serving.services.live_calls import FarEnding, LiveCalls
from serving.services.live_options import LiveOptions, is_loopback
from serving.transports import twilio_http
from serving.transports.twilio_http import SIGNATURE_HEADER, Form, caller_of

VOICE_PATH = "/twilio/voice"
AFTER_PATH = "/twilio/after"
STREAM_PATH = "/twilio/stream"
MAX_BODY = 65_536
MAX_FIELDS = 200
BUSY = "All our lines are busy. Please call again in a few minutes."
BROKEN = "We are sorry, something went wrong on our side. Please call again in a few minutes."
NO_PERSON = "Nobody can take your call at the moment. Please call again later."


def add_twilio_routes(app: FastAPI, live: LiveCalls, options: LiveOptions) -> None:
    """Serve the two addresses that Twilio asks."""

    @app.post(VOICE_PATH, include_in_schema=False)
    async def voice(request: Request) -> Response:
        form = await _signed_form(request, options)
        if isinstance(form, Response):
            return form
        if not await live.could_take():
            return _xml(twilio_http.say_goodbye(BUSY, options.locale))
        stream = _as_seen(request, options, STREAM_PATH).replace("http", "ws", 1)
        then = _as_seen(request, options, AFTER_PATH)
        return _xml(twilio_http.connect(stream, then, caller_of(form)))

    @app.post(AFTER_PATH, include_in_schema=False)
    async def after(request: Request) -> Response:
        form = await _signed_form(request, options)
        if isinstance(form, Response):
            return form
        ending = live.ending(next(iter(form.get("CallSid", ())), ""))
        return _xml(_follow_up(ending, options))


def _follow_up(ending: FarEnding | None, options: LiveOptions) -> str:
    """What a caller gets whose stream is over; the unknown one was refused, or belongs to a dead server."""
    if ending is FarEnding.HANG_UP:
        return twilio_http.hang_up()
    if ending in (FarEnding.TRANSFER, FarEnding.BROKEN) and options.twilio_transfer_to:
        return twilio_http.dial(options.twilio_transfer_to)
    words = NO_PERSON if ending is FarEnding.TRANSFER else BROKEN
    return twilio_http.say_goodbye(words, options.locale)


def stream_is_allowed(socket: WebSocket, options: LiveOptions) -> bool:
    """Whether a stream was opened by Twilio: it signs the address with `wss` and no parameters."""
    return _is_allowed(socket, options, {})


async def _signed_form(request: Request, options: LiveOptions) -> Form | Response:
    """The request's parameters, or the answer to one that is not Twilio's."""
    if not options.token and not _unsigned_is_fine(request, options):
        logger.error("a telephone call was refused: VOICEBOT_TWILIO_AUTH_TOKEN is not set")
        return JSONResponse({"error": "Telephone calls are not set up.", "advice": ""}, status_code=503)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            return JSONResponse({"error": "The request is too large.", "advice": ""}, status_code=413)
    form = _form(body)
    if form is None or not _is_allowed(request, options, form):
        logger.warning("a request to {} is not signed by Twilio; check VOICEBOT_PUBLIC_URL", request.url.path)
        return JSONResponse({"error": "The request is not signed by Twilio.", "advice": ""}, status_code=403)
    return form


def _form(body: bytes) -> Form | None:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        return None
    form: dict[str, list[str]] = {}
    for name, value in pairs:
        form.setdefault(name, []).append(value)
    return form


def _is_allowed(connection: HTTPConnection, options: LiveOptions, form: Form) -> bool:
    if not options.token:
        return _unsigned_is_fine(connection, options)
    address = _as_seen(connection, options, connection.url.path)
    if connection.url.query:
        address += f"?{connection.url.query}"
    if connection.scope["type"] == "websocket":
        address = address.replace("http", "ws", 1)
    given = connection.headers.get(SIGNATURE_HEADER, "")
    return twilio_http.is_signed(options.token, given, address, form)


def _unsigned_is_fine(connection: HTTPConnection, options: LiveOptions) -> bool:
    """Tests on this machine; a request that came through a proxy is not from this machine."""
    client = connection.client.host if connection.client else ""
    forwarded = any(name in connection.headers for name in ("x-forwarded-for", "forwarded"))
    return options.twilio_unsigned and is_loopback(options.host) and is_loopback(client) and not forwarded


def _as_seen(connection: HTTPConnection, options: LiveOptions, path: str) -> str:
    scheme = "https" if connection.url.scheme in ("https", "wss") else "http"
    return options.address(scheme, connection.headers.get("host", ""), path)


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml")

"""How commands reach a running server: its address from the settings, its answers, its errors as ours."""

import json
from typing import TYPE_CHECKING, Any

from serving.errors import (
    EngineError,
    IntegrityError,
    InvalidInputError,
    MissingError,
    RefusedError,
    UnavailableError,
    VoicebotError,
)

if TYPE_CHECKING:
    import httpx

    from serving.settings import Settings

TIMEOUT_S = 5.0
"""How long a server may take to answer, seconds."""
_MAX_BYTES = 16 << 20
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what a server listens on, not we)
_ERRORS: dict[str, type[VoicebotError]] = {
    error.category.value: error
    for error in (
        RefusedError,
        InvalidInputError,
        MissingError,
        UnavailableError,
        IntegrityError,
        EngineError,
    )
}


def server_url(settings: "Settings", url: str = "") -> str:
    """Address of the server, without a slash at its end.

    Args:
        settings: host and port; a server that listens everywhere is asked on this machine.
        url: what the user named instead; empty for the settings'.

    Raises:
        InvalidInputError: it is no address.
    """
    import httpx

    if not url:
        if not settings.port:
            raise InvalidInputError("VOICEBOT_PORT is 0, so the server's port is not known: name its --url.")
        host = _EVERYWHERE.get(settings.host, settings.host)
        return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise _no_address() from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise _no_address()
    return url.rstrip("/")


def _no_address() -> InvalidInputError:
    return InvalidInputError("--url is no address of a server.", advice="Such as http://127.0.0.1:8080.")


def client(base: str, timeout_s: float = TIMEOUT_S) -> "httpx.Client":
    """A client of one server; proxies of the environment are for other places."""
    import httpx

    return httpx.Client(base_url=base, timeout=timeout_s, trust_env=False)


def answer_of(asked: "httpx.Client", path: str, *, also: int = 0) -> dict[str, Any]:
    """The JSON object that a server answers.

    Args:
        asked: client of the server.
        path: below its address.
        also: another status than success whose body is an answer too.

    Raises:
        VoicebotError: the error that the server answered, by its category.
        UnavailableError: it does not answer, or is no orchestrator.
    """
    import httpx

    try:
        with asked.stream("GET", path) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise _stranger(asked)
    except (httpx.HTTPError, OSError) as error:
        raise silent(asked, error) from error
    return checked(asked, response.status_code, body, also=also)


def checked(asked: "httpx.Client", status: int, body: bytes, *, also: int = 0) -> dict[str, Any]:
    """The object of an answer; see `answer_of`."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise _stranger(asked) from None
    if not isinstance(data, dict):
        raise _stranger(asked)
    if status in {200, also}:
        return data
    kind = _ERRORS.get(str(data.get("category")))
    if kind is None:
        raise _stranger(asked)
    raise kind(str(data.get("error")), advice=str(data.get("advice") or ""))


def silent(asked: "httpx.Client", error: Exception) -> UnavailableError:
    """The error of a server that does not answer."""
    return UnavailableError(
        f"The server at {_shown(asked)} does not answer ({type(error).__name__}).",
        advice="Start it with `start-call --serve`, or name another with --url.",
    )


def _stranger(asked: "httpx.Client") -> UnavailableError:
    return UnavailableError(
        f"What answers at {_shown(asked)} is no orchestrator.", advice="Name the right one with --url."
    )


def _shown(asked: "httpx.Client") -> str:
    """Host and port; an address may hold a password."""
    address = asked.base_url
    return f"{address.host}:{address.port}" if address.port else address.host

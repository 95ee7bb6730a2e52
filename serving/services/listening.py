"""The server's socket, taken before anything is loaded, and how its place is written."""

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import UnavailableError

_OTHER_HOST = "Set VOICEBOT_HOST to an address of this machine, such as 127.0.0.1, or to 0.0.0.0 for all."
_OTHER_PORT = "Stop what uses that port, or set VOICEBOT_PORT to another."
_ADVICE = {
    errno.EADDRINUSE: _OTHER_PORT,
    errno.EACCES: "Set VOICEBOT_PORT to 1024 or more, or give this user the right to the port.",
}


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket of this place; it listens when uvicorn takes it over.

    Raises:
        UnavailableError: the place is in use, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, UnicodeError) as error:
            raise _unavailable(host, port, error) from error
        yield listener


def _unavailable(host: str, port: int, error: OSError | UnicodeError) -> UnavailableError:
    why, advice = "no host of this name is known", _OTHER_HOST
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror):
        why, advice = str(error.strerror), _ADVICE.get(error.errno or 0, _OTHER_HOST)
    return UnavailableError(f"The server cannot have {written(host, port)}: {why}.", advice=advice)


def written(host: str, port: int) -> str:
    """Host and port as addresses of pages have them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def place_of(listener: socket.socket) -> str:
    """Where a socket is reached from this machine, with the port that it really has."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:  # it listens everywhere
        host = "127.0.0.1" if address.version == 4 else "::1"
    return written(host, port)

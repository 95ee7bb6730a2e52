"""What an operator may set about live calls, whose pages may open a microphone line, and who may ask."""

import ipaddress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from serving.settings import Settings

_PORTS = {"http": 80, "https": 443}
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Settings of the live server, with the names and the defaults that they have in `Settings`.

    Attributes:
        host: the address that the server listens on.
        locale: language of what Twilio itself says.
        max_calls: live calls at a time; the next one is refused.
        drain_s: how long running calls may go on after the server was told to stop, seconds.
        public_url: address under which the world reaches this server, without a path at its end.
        allowed_origins: other pages that may open a line, such as `https://desk.example`.
        twilio_auth_token: without it no telephone call is taken.
        twilio_unsigned: take unsigned calls, from this machine only: for tests.
        twilio_transfer_to: number that callers are connected with who want a person (E.164).
    """

    host: str
    locale: str
    max_calls: int
    drain_s: float
    public_url: str
    allowed_origins: tuple[str, ...]
    twilio_auth_token: SecretStr | None
    twilio_unsigned: bool
    twilio_transfer_to: str

    @property
    def token(self) -> str:
        """The auth token; empty where there is none."""
        return self.twilio_auth_token.get_secret_value() if self.twilio_auth_token else ""

    def address(self, scheme: str, host: str, path: str) -> str:
        """Full address of a path as the world sees it.

        Args:
            scheme: what the request came by, `http` or `https`.
            host: the request's Host header, where no `public_url` is set.
            path: from the root, with its query.
        """
        return (self.public_url.rstrip("/") or f"{scheme}://{host}") + path


def options_of(settings: "Settings") -> LiveOptions:
    """What the settings say."""
    return LiveOptions(**{field.name: getattr(settings, field.name) for field in fields(LiveOptions)})


def may_open(origin: str | None, host: str, options: LiveOptions) -> bool:
    """Whether a page may open a line: a page of this server, or one on the list.

    A browser sends the operator's cookies with any page's socket, so the page must be known. No origin
    means no browser. The Host header counts only where it names this machine for certain, because a
    stranger's name can be made to lead here (DNS rebinding).

    Args:
        origin: the Origin header.
        host: the Host header.
        options: address of the server, and the list.
    """
    if origin is None:
        return True
    asked = _place(origin)
    if asked is None:
        return False
    if asked in {_place(address) for address in _addresses(options)}:
        return True
    scheme, name, _port = asked
    return _is_ours(name, options) and asked == _place(f"{scheme}://{host}")


def may_ask(host: str, options: LiveOptions) -> bool:
    """Whether an HTTP request may come by this name: not where a stranger's page could have sent it.

    A page that its own name leads to here may read all answers (DNS rebinding), and its browser sends that
    name. A stranger has no address of this machine and no name without a dot, such as those of services
    beside this one. A server that listens for others than this machine is reached by names that only its
    network knows, so there nothing is refused.

    Args:
        host: the Host header; a browser always sends one.
        options: address of the server, and the names that it is known by.
    """
    if not host or not is_loopback(options.host):
        return True
    asked = _place(f"http://{host}")
    if asked is None:
        return False
    name = asked[1]
    known = {place[1] for address in _addresses(options) if (place := _place(address))}
    return _is_ours(name, options) or "." not in name or name in known


def _is_ours(name: str, options: LiveOptions) -> bool:
    """Whether a host's name is this machine's for certain."""
    return name in _HERE or name == options.host.casefold() or _is_address(name)


def _addresses(options: LiveOptions) -> tuple[str, ...]:
    """Where the operator says that pages of this server are, or pages that may open its lines."""
    return tuple(address for address in (*options.allowed_origins, options.public_url) if address)


def _place(address: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None where it is no address of a page."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback

"""What Twilio asks and is told over HTTP: its request signature and the TwiML of a call. Pure functions.

The signature is base64(HMAC-SHA1(auth token, address + each POST parameter's name and value, sorted by
name)), over the address that Twilio was given, `wss://…` for a stream.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree as ET

from serving.transports.twilio import CALLER

SIGNATURE_HEADER = "x-twilio-signature"
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_CALLER = re.compile(r"[0-9A-Za-z+@._:-]{1,64}")
"""A number, a SIP address, or a word such as `anonymous`."""
_WITHHELD = frozenset({"anonymous", "blocked", "private", "restricted", "unavailable", "unknown"})
"""What networks put where a caller hides the number."""
_KEYPAD = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
"""Twilio writes those words as numbers, too: +266696687 is `anonymous` on a telephone's keys."""

Form = Mapping[str, list[str]]


def signature(token: str, address: str, form: Form) -> str:
    """The signature that a request must carry.

    Args:
        token: the account's auth token.
        address: full address, with its query.
        form: POST parameters with all their values; empty for a GET.
    """
    signed = address + "".join(
        name + value for name in sorted(form) for value in sorted(dict.fromkeys(form[name]))
    )
    digest = hmac.new(token.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def is_signed(token: str, given: str, address: str, form: Form) -> bool:
    """Whether a request comes from who knows the token; takes the same time whatever is wrong.

    A proxy may add or drop the scheme's own port, so the address with and without it is accepted.
    """
    right = [
        hmac.compare_digest(signature(token, form_of, form).encode(), given.encode("utf-8", "replace"))
        for form_of in _forms_of(address)
    ]
    return any(right)


def _forms_of(address: str) -> Iterator[str]:
    yield address
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # the request named a host that is none
        return
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else (parts.hostname or "")
    default = _DEFAULT_PORTS.get(parts.scheme)
    if port in (None, default):
        yield urlunsplit(parts._replace(netloc=host))
        yield urlunsplit(parts._replace(netloc=f"{host}:{default}"))


def caller_of(form: Form) -> str:
    """The caller's number as Twilio names it; empty where it is withheld, or none that could be passed on."""
    number = next(iter(form.get("From", ())), "").strip()
    return number if _CALLER.fullmatch(number) and not _withheld(number) else ""


def _withheld(number: str) -> bool:
    """Whether it says that there is none: else all who hide theirs were one caller."""
    name = number.lower().removeprefix("sip:").partition("@")[0].removeprefix("+")
    return name in _WITHHELD or name in {word.translate(_KEYPAD) for word in _WITHHELD}


def connect(stream: str, then: str, caller: str) -> str:
    """TwiML that connects a call with our stream.

    Args:
        stream: `wss://…` address; Twilio allows no query on it.
        then: where Twilio asks what to do once we have closed the stream.
        caller: the caller's number, handed to the stream as a parameter.
    """
    response = ET.Element("Response")
    line = ET.SubElement(response, "Connect", action=then, method="POST")
    noun = ET.SubElement(line, "Stream", url=stream)
    if caller:
        ET.SubElement(noun, "Parameter", name=CALLER, value=caller)
    return _document(response)


def say_goodbye(text: str, locale: str) -> str:
    """TwiML that says something in Twilio's own voice and hangs up."""
    response = ET.Element("Response")
    ET.SubElement(response, "Say", language=locale).text = text
    ET.SubElement(response, "Hangup")
    return _document(response)


def dial(number: str) -> str:
    """TwiML that connects the caller with a person."""
    response = ET.Element("Response")
    ET.SubElement(response, "Dial").text = number
    return _document(response)


def hang_up() -> str:
    """TwiML that ends the call."""
    response = ET.Element("Response")
    ET.SubElement(response, "Hangup")
    return _document(response)


def _document(response: ET.Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(response, encoding="unicode")

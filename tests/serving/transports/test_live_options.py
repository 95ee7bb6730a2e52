"""Whose pages may open a line, and which address the world sees."""

import pytest

from serving.services.live_options import LiveOptions, is_loopback, may_ask, may_open, options_of
from serving.settings import Settings

HERE = options_of(Settings())
PUBLIC = options_of(
    Settings(
        host="0.0.0.0",
        public_url="https://voice.bank.example/",
        allowed_origins=("https://desk.example:8443",),
    )
)


@pytest.mark.parametrize(
    ("origin", "host", "options"),
    [
        (None, "anything", HERE),
        ("http://localhost:8080", "localhost:8080", HERE),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", HERE),
        ("http://[::1]:8080", "[::1]:8080", HERE),
        ("HTTP://LocalHost", "localhost:80", HERE),
        ("http://192.168.1.7:8080", "192.168.1.7:8080", PUBLIC),
        ("https://voice.bank.example", "10.0.0.3:8080", PUBLIC),
        ("https://voice.bank.example:443", "voice.bank.example", PUBLIC),
        ("https://desk.example:8443", "voice.bank.example", PUBLIC),
    ],
    ids=str,
)
def test_a_known_page_may(origin: str | None, host: str, options: LiveOptions) -> None:
    assert may_open(origin, host, options)


@pytest.mark.parametrize(
    ("origin", "host", "options"),
    [
        ("null", "localhost:8080", HERE),
        ("", "localhost:8080", HERE),
        ("file://", "localhost:8080", HERE),
        ("https://evil.example", "localhost:8080", HERE),
        ("http://localhost:8081", "localhost:8080", HERE),
        ("https://localhost:8080", "evil.example", HERE),
        ("http://evil.example:8080", "evil.example:8080", HERE),
        ("http://localhost.evil.example:8080", "localhost.evil.example:8080", HERE),
        ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", HERE),
        ("http://[", "[", HERE),
        ("http://a:99999", "a:99999", HERE),
        ("http://voice.bank.example", "voice.bank.example", PUBLIC),
        ("https://desk.example", "voice.bank.example", PUBLIC),
        ("https://voice.bank.example.evil.example", "voice.bank.example", PUBLIC),
    ],
    ids=str,
)
def test_a_page_that_is_not_known_may_not(origin: str, host: str, options: LiveOptions) -> None:
    assert not may_open(origin, host, options)


HERE_BEHIND_A_PROXY = options_of(
    Settings(public_url="https://voice.bank.example/", allowed_origins=("https://desk.example:8443",))
)


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("localhost:8080", HERE),
        ("127.0.0.1:8080", HERE),
        ("[::1]:8080", HERE),
        ("10.0.0.3:8080", HERE),
        ("voicebot:8080", HERE),
        ("", HERE),
        ("voice.bank.example", HERE_BEHIND_A_PROXY),
        ("VOICE.bank.example:443", HERE_BEHIND_A_PROXY),
        ("desk.example", HERE_BEHIND_A_PROXY),
        ("voicebot.calls.svc.cluster.local:8080", PUBLIC),
        ("anything.example", PUBLIC),
    ],
    ids=str,
)
def test_a_request_by_a_name_that_no_stranger_has_is_answered(host: str, options: LiveOptions) -> None:
    assert may_ask(host, options)


@pytest.mark.parametrize("options", [HERE, HERE_BEHIND_A_PROXY], ids=["alone", "behind a proxy"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "voice.bank.example.evil.example",
        "evil.",
        "[",
        "evil.example:99999",
    ],
)
def test_a_request_by_a_name_that_a_stranger_may_have_is_refused(host: str, options: LiveOptions) -> None:
    assert not may_ask(host, options)


def test_the_public_address_replaces_what_a_proxy_left_of_it() -> None:
    assert PUBLIC.address("http", "10.0.0.3:8080", "/x?y=1") == "https://voice.bank.example/x?y=1"
    assert HERE.address("http", "localhost:8080", "/x") == "http://localhost:8080/x"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_loopback_addresses(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_options_come_from_settings_of_the_same_name(settings: Settings) -> None:
    options = options_of(settings.model_copy(update={"host": "127.0.0.2", "locale": "en-GB"}))
    assert (options.host, options.locale) == ("127.0.0.2", "en-GB")
    assert options.token == ""


def test_options_have_no_defaults_of_their_own() -> None:
    with pytest.raises(TypeError, match="max_calls"):
        LiveOptions()  # type: ignore[call-arg]

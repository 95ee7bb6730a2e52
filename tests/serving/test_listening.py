"""Where the server listens: an address that cannot be had is told at once, and its place is told right."""

import socket

import pytest

from serving.errors import UnavailableError
from serving.services import orchestrator
from serving.services.listening import place_of
from serving.settings import Settings

NO_HOSTS = ({"host": "256.1.1.1"}, {"host": "a..b"}, {"host": "203.0.113.7"}, {"host": "2001:db8::1"})


@pytest.mark.parametrize("change", [{}, *NO_HOSTS], ids=str)
def test_an_address_that_cannot_be_had_is_told_before_anything_is_loaded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    def load(*_arguments: object, **_options: object) -> None:
        raise AssertionError("models were loaded")

    monkeypatch.setattr(orchestrator, "Runtime", load)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as caught:
            orchestrator.serve(settings.model_copy(update={"port": port, **change}))
    assert str(port) in caught.value.message
    wrong, right = ("VOICEBOT_PORT", "VOICEBOT_HOST") if change else ("VOICEBOT_HOST", "VOICEBOT_PORT")
    assert right in caught.value.advice
    assert wrong not in caught.value.advice
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("host", "family", "reached"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),
        ("::1", socket.AF_INET6, "[::1]"),
        ("::", socket.AF_INET6, "[::1]"),
    ],
)
def test_the_place_of_a_socket_is_one_that_this_machine_reaches(
    host: str, family: socket.AddressFamily, reached: str
) -> None:
    with socket.create_server((host, 0), family=family) as listener:
        assert place_of(listener) == f"{reached}:{listener.getsockname()[1]}"

"""What docs/calls.md says of the protocol: the client that it shows runs, its limits are the real ones."""

import re
from pathlib import Path

import pytest

from serving.services.call_socket import Times
from serving.services.draining import MAX_SOCKET_MESSAGE, PING_S
from serving.services.live_server import TWILIO_TIMES
from serving.transports.browser import PIECE
from serving.transports.inbound import MAX_BAD, MAX_CALLER, MAX_MESSAGE, SOUND_AHEAD_S, TEXTS_AT_ONCE
from tests.serving.transports.loopback import served

PAGE = (Path(__file__).parents[3] / "docs" / "calls.md").read_text(encoding="utf-8")


def test_the_client_of_the_page_takes_a_call_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program is not None
    with served() as server:
        address = f"ws://127.0.0.1:{server.port}/ws"
        exec(program[1].replace("ws://127.0.0.1:8080/ws", address), {})
        call = server.calls[-1]
    printed = capsys.readouterr().out.split("\n")
    assert printed[0] == "call"
    assert "100 ms of sound" in printed
    assert printed[-2] == "ended"
    assert call.told("typed") == ["bye"]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (
            "A message over 64 KiB is not used, and one over 1 MiB closes",
            (MAX_MESSAGE >> 10, MAX_SOCKET_MESSAGE >> 20),
        ),
        ("Sound may be 5 s ahead", (SOUND_AHEAD_S,)),
        ("pieces of at most 100 ms", (PIECE / 16,)),
        ("(optional, 64 characters)", (MAX_CALLER,)),
    ],
)
def test_the_limits_of_the_page_are_the_real_ones(words: str, numbers: tuple[float, ...]) -> None:
    assert words in " ".join(PAGE.split())
    assert [float(number) for number in re.findall(r"\d+", words)] == list(numbers)


def test_the_waits_of_the_page_are_the_real_ones() -> None:
    text = " ".join(PAGE.split())
    assert "takes nothing for 5 s, does not start within 10 s, says nothing for 10 minutes" in text
    assert (Times().send_s, Times().start_s, Times().idle_s, PING_S) == (5, 10, 600, 20)
    assert "the fifty-first such message" in text
    assert "come five at once" in text
    assert (MAX_BAD, TEXTS_AT_ONCE, TWILIO_TIMES.idle_s) == (50, 5, 10)

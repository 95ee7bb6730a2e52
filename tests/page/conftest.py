"""A real Chromium with a fake microphone, and a loopback server for the page that it opens."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serving.audio import SPEECH_RATE, AudioClip, write_wav
from tests.page.browsers import Launch, chromium_launcher, microphone
from tests.page.loopback import Loopback, serving_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TONES_HZ = (350.0, 900.0, 2_200.0, 500.0, 3_600.0)
TONE_S = 0.4

Open = Callable[..., "Page"]


def caller_sound() -> AudioClip:
    """Tones one after another, each rising and falling as syllables do."""
    time = np.arange(int(TONE_S * SPEECH_RATE)) / SPEECH_RATE
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 5 * time)
    sound = np.concatenate([swell * np.sin(2 * np.pi * tone * time) for tone in TONES_HZ])
    return AudioClip((12_000 * sound).astype(np.int16), SPEECH_RATE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Launch]:
    """Launches Chromium for this module."""
    with chromium_launcher() as launch:
        yield launch


@pytest.fixture(scope="module")
def browser(chromium: Launch, tmp_path_factory: pytest.TempPathFactory) -> "Browser":
    """Chromium whose microphone is allowed and plays the caller's tones again and again."""
    path = tmp_path_factory.mktemp("caller") / "caller.wav"
    write_wav(path, [caller_sound()])
    return chromium(*microphone(path))


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    """The loopback server, one a module."""
    with serving_page() as running:
        yield running


@pytest.fixture
def server(loopback: Loopback) -> Loopback:
    """The loopback server, as if just started."""
    loopback.forget()
    return loopback


@pytest.fixture
def open_page(server: Loopback, browser: "Browser") -> Iterator[Open]:
    """Opens the page in a fresh profile.

    When the test is over: no script failed, the content policy was not violated, and no other host was asked.
    """
    complaints: list[str] = []
    contexts = []

    def watched(page: "Page", expected: str) -> "Page":
        page.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
        page.on("console", lambda said: _quiet(said.type, said.text, expected, complaints))
        page.on("request", lambda request: _same_host(request.url, server, complaints))
        page.on("websocket", lambda socket: _same_host(socket.url, server, complaints))
        return page

    def start(chosen: "Browser | None" = None, *, expected: str = "", **options: Any) -> "Page":
        context = (chosen or browser).new_context(**options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        context.add_init_script(path=Path(__file__).parent / "tapped.js")
        page = watched(context.new_page(), expected)
        page.goto(server.address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not complaints


def _quiet(kind: str, said: str, expected: str, complaints: list[str]) -> None:
    if kind in {"error", "warning"} and not (expected and expected in said):
        complaints.append(said)


def _same_host(url: str, server: Loopback, complaints: list[str]) -> None:
    host = server.address.removeprefix("http://")
    if not url.removeprefix("http://").removeprefix("ws://").startswith(host):
        complaints.append(f"asked another host: {url}")

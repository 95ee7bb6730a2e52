"""A real Chromium, headless, that asks no other host for anything."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

Launch = Callable[..., "Browser"]


@contextmanager
def chromium_launcher() -> Iterator[Launch]:
    """Launches Chromium with further switches; all are closed at the end.

    While it is open, nothing else can run an event loop on this thread.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        launched: list[Browser] = []

        def launch(*switches: str) -> "Browser":
            launched.append(driver.chromium.launch(executable_path=program, args=[*SWITCHES, *switches]))
            return launched[-1]

        yield launch
        for browser in launched:
            browser.close()


def microphone(path: object, *, once: bool = False) -> tuple[str, ...]:
    """Switches that allow the microphone and let it play a WAV file, again and again or once."""
    noloop = "%noloop" if once else ""
    return "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={path}{noloop}"

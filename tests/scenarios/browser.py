"""A real browser and a real scenario testing server for the tests that need both."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
APP = "serving/scenarios/app.py"
START_S = 120.0
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def skip_without_chainlit() -> None:
    """Skip, visibly; without importing it, which would write its files into the working folder."""
    if find_spec("chainlit") is None:
        pytest.skip("chainlit is not installed")


def skip_without_browser() -> None:
    """Skip, visibly, where Chainlit, playwright or Chromium is absent."""
    skip_without_chainlit()
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if _CHROMIUM is None:
        pytest.skip("no Chromium on this machine")


@contextmanager
def opened(address: str) -> Iterator["Page"]:
    """The page at an address; whatever the browser asks other hosts for fails the test."""
    from playwright.sync_api import sync_playwright

    hosts: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": 1_300, "height": 1_000})
            page.set_default_timeout(60_000)
            page.on("request", lambda request: hosts.add(request.url.partition("?")[0]))
            page.goto(address)
            yield page
        finally:
            browser.close()
    remote = [url for url in hosts if not url.startswith((address, address.replace("http", "ws"), "data:"))]
    assert remote == []


@dataclass(frozen=True)
class Server:
    """A scenario testing server in a process of its own."""

    address: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """Stop it as operators do; harmless twice."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def served(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Server]:
    """Run a scenario testing server in a folder until the block ends."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAINLIT_")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **variables}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command, "--headless", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(address, process)
    try:
        _wait_for(server, log)
        yield server
    finally:
        server.stop()


def _wait_for(server: Server, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if server.process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{server.address}health", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)  # another process starts, at its own pace
        else:
            return
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')}")

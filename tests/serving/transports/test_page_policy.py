"""The real page from the real server in a real browser: its content policy forbids nothing that it needs."""

import shutil
from collections.abc import Iterator

import pytest

from tests.serving.transports.loopback import Served, served, until

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--no-sandbox")


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as running:
        yield running


def test_the_page_calls_with_its_microphone_and_the_browser_blocks_nothing(server: Served) -> None:
    trouble: list[str] = []
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=list(FAKE_MICROPHONE))
        page = browser.new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("requestfailed", lambda request: trouble.append(request.url))
        page.goto(server.http)
        page.locator("#start-form button").first.click()
        until(lambda: page.wait_for_timeout(50) or (server.calls and server.calls[0].told("sound")), 15)
        until(lambda: page.wait_for_timeout(50) or server.calls[0].told("marked"), 15)
        browser.close()
    until(lambda: server.calls[0].ended)
    assert trouble == []


def test_a_page_of_another_origin_cannot_open_the_line_from_a_browser(server: Served) -> None:
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.route("http://evil.example/", lambda route: route.fulfill(body="<p>a stranger's page</p>"))
        page.goto("http://evil.example/")
        closed = page.evaluate(
            "url => new Promise(done => { const line = new WebSocket(url);"
            "line.onopen = () => done('open'); line.onerror = () => done('refused'); })",
            f"ws://127.0.0.1:{server.port}/ws",
        )
        browser.close()
    assert closed == "refused"
    assert server.calls == []

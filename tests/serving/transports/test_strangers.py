"""Who may open a line or read anything over HTTP, and what a page that we serve may do."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.serving.transports.loopback import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(most=5) as running:
        yield running


def test_a_page_of_another_site_does_not_open_the_line(
    server: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    for origin in (
        "https://evil.example",
        f"http://evil.example:{server.port}",
        "null",
        "http://127.0.0.1:1",
    ):
        with pytest.raises(InvalidStatus) as refused:
            server.connect(additional_headers={"Origin": origin})
        assert refused.value.response.status_code == 403
    assert "ERROR" not in capfd.readouterr().err


def test_our_own_page_and_a_client_that_is_no_browser_do(server: Served) -> None:
    with server.call(additional_headers={"Origin": server.http}), server.call():
        pass


def test_a_stranger_s_name_that_leads_here_is_still_a_stranger(server: Served) -> None:
    name = f"evil.example:{server.port}"
    connection = socket.create_connection(("127.0.0.1", server.port))
    with connection, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{name}/ws", sock=connection, origin=f"http://{name}")
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/calls/a", "/static/", "/"])
def test_neither_does_it_read_anything_over_http(server: Served, path: str) -> None:
    strange = httpx.get(f"{server.http}{path}", headers={"host": f"evil.example:{server.port}"})
    assert strange.status_code == 421
    assert "VOICEBOT_PUBLIC_URL" in strange.json()["advice"]
    assert "default-src 'none'" in strange.headers["content-security-policy"]
    assert httpx.get(f"{server.http}{path}").status_code != 421


def test_every_answer_forbids_what_the_page_does_not_need(server: Served) -> None:
    for path in ("/static/", "/healthz", "/nothing"):
        headers = httpx.get(server.http + path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


def test_the_page_is_served_and_nothing_beside_it(server: Served) -> None:
    page = httpx.get(server.http, follow_redirects=True)
    assert page.status_code == 200
    assert page.url.path == "/static/"
    assert "<!doctype html>" in page.text.lower()
    for path in ("/static/../live_server.py", "/static/%2e%2e/live_server.py", "/static/..%2flive_server.py"):
        assert httpx.get(server.http + path).status_code == 404

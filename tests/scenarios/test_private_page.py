"""The door around Chainlit: no remote link leaves it, no other site's page gets in."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving.scenarios.private_page import PrivatePage

PAGE = (
    """<head><link rel="preconnect" href="https://fonts.example" />
<link
  href="https://fonts.example/css2?family=Inter&display=swap"
  rel="stylesheet"
/><link rel="stylesheet" href="/assets/own.css"></head>"""
    + "x" * 5_000
)


async def page(_request: Request) -> Response:
    return HTMLResponse(PAGE)


async def in_pieces(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        yield PAGE[:60]
        yield PAGE[60:]

    return StreamingResponse(pieces(), media_type="text/html")


async def text(_request: Request) -> Response:
    return PlainTextResponse('<link href="https://example.com">')


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("welcome")
    await websocket.close()


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/", page),
        Route("/pieces", in_pieces),
        Route("/text", text),
        WebSocketRoute("/ws", socket),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(GZipMiddleware)
    app.add_middleware(PrivatePage)
    return TestClient(app, base_url="http://localhost:8000")


@pytest.mark.parametrize("path", ["/", "/pieces"])
def test_a_page_loses_its_remote_links_and_keeps_its_own(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"accept-encoding": "gzip"})
    assert "https://" not in answer.text
    assert "/assets/own.css" in answer.text
    assert answer.text.endswith("x" * 5_000)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_every_answer_tells_the_browser_to_fetch_from_here_only(client: TestClient) -> None:
    for path in ("/", "/text"):
        assert client.get(path).headers["content-security-policy"].startswith("default-src 'self'")


def test_what_is_no_page_stays_as_it_is(client: TestClient) -> None:
    assert client.get("/text").text == '<link href="https://example.com">'


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost:9999", "null", "http://localhost"]
)
def test_another_sites_page_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/", headers={"origin": origin}).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers={"origin": origin}):
        pass


def test_its_own_page_and_a_program_without_an_origin_are_served(client: TestClient) -> None:
    own = {"origin": "http://localhost:8000", "host": "localhost:8000"}
    assert client.get("/", headers=own).status_code == 200
    with client.websocket_connect("/ws", headers=own) as connection:
        assert connection.receive_text() == "welcome"
    assert client.get("/").status_code == 200

"""Following a call over HTTP while its server goes away: the stream is taken up again, but not for ever."""

from collections.abc import Iterator
from contextlib import closing
from itertools import product
from json import dumps

import pytest
from fastapi import FastAPI
from fastapi.responses import Response

from serving.cli.call_sources import ServerCalls
from serving.errors import UnavailableError
from tests.serving.sessions.served import serving_app, with_errors

FAILURES = ("ends", "breaks", "refuses")
MANY = 20
"""Requests after which the server tells that the call ended: nobody asks so often."""


class FailingServer:
    """Answers each request for a call's stream as its plan says, the last part of it again and again."""

    def __init__(self) -> None:
        self.plan: tuple[str, ...] = ()
        self.retry = ""
        self.waited: list[float] = []
        self.asked = 0
        self.app = with_errors(FastAPI())
        self.app.get("/v1/calls/a/events")(self.events)

    def events(self) -> Response:
        """One stream, whole."""
        what = self.plan[min(self.asked, len(self.plan) - 1)] if self.asked < MANY else "tells its end"
        self.asked += 1
        if what == "refuses":
            raise UnavailableError("Not now.")
        text = {
            "tells a state": f"id: {self.asked}\nevent: state\ndata: {dumps({'turn': self.asked})}\n\n",
            "tells its end": "event: ended\ndata: {}\n\n",
            "breaks": "event: broken\ndata: {}\n\n",
            "ends": "",
        }[what]
        return Response(f"{self.retry}{text}", media_type="text/event-stream")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FailingServer, str]]:
    """The server, and its address."""
    server = FailingServer()
    with serving_app(server.app) as url:
        yield server, url


def followed(served: tuple[FailingServer, str], *plan: str, retry: str = "retry: 1500\n\n") -> list[int]:
    """The turns of the states that were told."""
    server, url = served
    server.plan, server.asked, server.retry = plan, 0, retry
    server.waited.clear()
    with closing(ServerCalls(url, server.waited.append)) as calls:
        return [found["turn"] for found in calls.states("a")]


@pytest.mark.parametrize("failures", list(product(FAILURES, repeat=4)), ids="-".join)
def test_a_stream_is_given_up_after_three_failures_of_whatever_kinds(
    served: tuple[FailingServer, str], failures: tuple[str, ...]
) -> None:
    with pytest.raises(UnavailableError):
        followed(served, "tells a state", *failures)
    # The stream that told the state ended without an end: that is the first failure of the three.
    assert served[0].asked == 3
    assert served[0].waited == [1.5, 1.5]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_stream_that_comes_back_is_followed_to_its_end(
    served: tuple[FailingServer, str], failure: str
) -> None:
    plan = ["tells a state", failure] * 5
    assert followed(served, *plan, "tells its end") == [1, 3, 5, 7, 9]
    assert served[0].waited == [1.5] * 10


@pytest.mark.parametrize("failure", ["breaks", "refuses"])
def test_a_server_that_tells_nothing_at_all_is_news_at_once(
    served: tuple[FailingServer, str], failure: str
) -> None:
    with pytest.raises(UnavailableError):
        followed(served, failure)
    assert (served[0].asked, served[0].waited) == (1, [])


@pytest.mark.parametrize(
    ("retry", "wait_s"),
    [
        ("", 2.0),
        ("retry: soon\n\n", 2.0),
        ("retry: -5\n\n", 2.0),
        ("retry: \u0663\n\n", 2.0),
        ("retry: 0\n\n", 0.0),
        ("retry: 999999999\n\n", 30.0),
        (f"retry: {'9' * 5_000}\n\n", 2.0),
        ("retry: 100\nretry: 700\n\n", 0.7),
    ],
)
def test_the_wait_is_the_one_that_the_server_names_where_that_is_one(
    served: tuple[FailingServer, str], retry: str, wait_s: float
) -> None:
    assert followed(served, "tells a state", "tells its end", retry=retry) == [1]
    assert served[0].waited == [wait_s]

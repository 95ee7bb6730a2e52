"""The client of a cache service: a caller is on the line, so whatever is wrong with it is a quick miss."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from serving.cache.breaker import MOST_FAILURES, REST_S, Breaker
from serving.cache.protocol import Feedback, Signal
from serving.cache.remote import RemoteCache
from serving.cache.types import CacheDecision, Outcome, Reason
from serving.cache.wire import LookupAnswer, encode
from serving.errors import InvalidInputError, MissingError, UnavailableError
from serving.language.knowledge import Cacheability
from tests.serving.cache.conformance import SetClock
from tests.serving.cache.replicas import OFFER
from tests.serving.cache.worlds import local, remote, served
from tests.serving.cache_world import NOON, SCOPE, SIGNER, ask, entry
from tests.serving.sessions.servers import free_port

QUERY = ask("What does a wire transfer cost?")
HIT = CacheDecision(Outcome.HIT, Reason.EXACT, "", 1.0, entry())
Answering = Callable[[socket.socket], None]


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def says(raw: bytes) -> Answering:
    return lambda line: line.sendall(raw)


@contextmanager
def listening(answer: Answering) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request and then does what it likes; its address, and what it was sent."""
    came: list[bytes] = []

    def talk(line: socket.socket) -> None:
        with line:
            line.settimeout(5)
            try:
                while request := line.recv(1 << 20):
                    came.append(request)
                    answer(line)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        listener.shutdown(socket.SHUT_RDWR)


def answered(decision: CacheDecision) -> bytes:
    return encode(LookupAnswer(decision, 7))


def test_a_hit_is_what_the_service_says_and_the_generation_is_remembered() -> None:
    with listening(says(http(answered(HIT)))) as (url, came), remote(url, "t") as client:
        assert client.generation() == 0
        assert client.lookup(QUERY, SCOPE) == HIT
        assert client.generation() == 7
    assert b"authorization: Bearer t" in came[0]
    assert b"POST /v1/lookup" in came[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        http(b""),
        http(b"{}"),
        http(b"not json"),
        http(answered(HIT)[:-20]),
        http(answered(HIT).replace(b'"hit"', b'"hot"')),
        http(answered(replace(HIT, entry=None))),
        http(answered(replace(HIT, outcome=Outcome.MISS))),
        http(answered(replace(HIT, entry=entry(scope=replace(SCOPE, tenant="another"))))),
        http(answered(replace(HIT, entry=entry(intent="another")))),
        http(answered(replace(HIT, entry=entry(signature=SIGNER.sign("a mortgage"))))),
        http(answered(replace(HIT, entry=entry(cacheability=Cacheability.NEVER)))),
        http(b'{"a": "' + b"x" * 300_000 + b'"}'),
        http(b"{}", "401 Unauthorized"),
        http(b"{}", "500 Internal Server Error"),
        http(b"", "302 Found"),
        http(b"{}", "404 Not Found"),
    ],
    ids=range(18),
)
def test_an_answer_that_is_none_is_a_miss(raw: bytes) -> None:
    def say_and_go(line: socket.socket) -> None:
        line.sendall(raw)
        line.shutdown(socket.SHUT_RDWR)

    with listening(say_and_go) as (url, _), remote(url) as client:
        found = client.lookup(QUERY, SCOPE)
        assert (found.outcome, found.reason, found.entry) == (Outcome.MISS, Reason.ERROR, None)
        with pytest.raises((UnavailableError, MissingError)):
            client.insert(OFFER, SCOPE, actor="test")


def silent(_line: socket.socket) -> None:
    """It took the question and says nothing."""


def drips(line: socket.socket) -> None:
    """A byte now and then, so that no single read takes long."""
    line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        line.sendall(b" ")
        threading.Event().wait(0.05)


def drips_headers(line: socket.socket) -> None:
    """The same before the answer has begun."""
    line.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(100):
        line.sendall(b"a")
        threading.Event().wait(0.05)


@pytest.mark.parametrize("how", [silent, drips, drips_headers])
def test_a_service_that_hangs_costs_a_caller_a_quarter_of_a_second_and_soon_nothing(how: Answering) -> None:
    with listening(how) as (url, came), contextlib.closing(RemoteCache(url)) as client:
        client.lookup(ask("warm up"), SCOPE)  # loads the library
        times = []
        for _ in range(MOST_FAILURES + 3):
            begun = time.perf_counter()
            assert client.lookup(QUERY, SCOPE).reason is Reason.ERROR
            times.append(time.perf_counter() - begun)
        assert max(times) < 1  # 0.25, on a machine that others use as well
        assert min(times[MOST_FAILURES - 1 :]) < 0.02
        assert sum(b"POST" in request for request in came) == MOST_FAILURES


def test_a_service_that_is_gone_costs_nothing_after_a_few_failures_and_is_found_again(tmp_path: Path) -> None:
    now = [0.0]
    port = free_port()
    client = RemoteCache(f"http://127.0.0.1:{port}", now=lambda: now[0])
    for _ in range(MOST_FAILURES):
        assert client.lookup(QUERY, SCOPE).reason is Reason.ERROR
    with contextlib.closing(client), listening_on(port, says(http(answered(HIT)))) as came:
        assert client.lookup(QUERY, SCOPE).reason is Reason.ERROR
        with pytest.raises(UnavailableError, match="left alone"):
            client.insert(OFFER, SCOPE, actor="test")
        with pytest.raises(UnavailableError, match="left alone"):
            client.feedback(Feedback("e", Signal.RIGHT, NOON, "o", "a"))
        assert client.warm(SCOPE) == 0
        assert came == []
        now[0] += REST_S
        assert client.lookup(QUERY, SCOPE) == HIT
        assert client.lookup(QUERY, SCOPE) == HIT
        assert len(came) == 2


@contextmanager
def listening_on(port: int, answer: Answering) -> Iterator[list[bytes]]:
    """The same server on a chosen port."""
    real, came = socket.create_server(("127.0.0.1", port)), []

    def serve() -> None:
        while True:
            try:
                line, _ = real.accept()
            except OSError:
                return
            with line:
                came.append(line.recv(1 << 20))
                answer(line)

    threading.Thread(target=serve, daemon=True).start()
    yield came
    real.shutdown(socket.SHUT_RDWR)
    real.close()


def test_nothing_personal_and_nothing_that_is_never_cached_leaves_this_process() -> None:
    with listening(says(http(answered(HIT)))) as (url, came):
        client = RemoteCache(url)  # opens nothing
        assert client.lookup(replace(QUERY, personal=True), SCOPE).reason is Reason.PERSONAL
        never = replace(QUERY, cacheability=Cacheability.NEVER)
        assert client.lookup(never, SCOPE).outcome is Outcome.BYPASS
        huge = client.lookup(replace(QUERY, text="wire " * 100_000), SCOPE)
        assert (huge.outcome, huge.reason) == (Outcome.BYPASS, Reason.TOO_LONG)
    assert came == []


def test_with_the_wrong_token_a_lookup_is_a_miss_and_an_insert_says_what_to_do(tmp_path: Path) -> None:
    with local(tmp_path, SetClock()) as cache, served(cache) as url, remote(url, "another") as client:
        found = client.lookup(QUERY, SCOPE)
        assert (found.outcome, found.reason) == (Outcome.MISS, Reason.ERROR)
        with pytest.raises(UnavailableError, match="401") as caught:
            client.insert(OFFER, SCOPE, actor="test")
        assert "VOICEBOT_CACHE_TOKEN" in caught.value.advice


def test_a_warm_client_knows_how_much_there_is(tmp_path: Path) -> None:
    with local(tmp_path, SetClock()) as cache, served(cache) as url, remote(url) as client:
        cache.create_scope(SCOPE, actor="test")
        assert client.warm(SCOPE) == 0
        client.insert(OFFER, SCOPE, actor="test")
        assert client.warm(SCOPE) == 1


def test_whether_the_service_is_ready_can_be_asked_at_any_time(tmp_path: Path) -> None:
    with local(tmp_path, SetClock()) as cache:
        with served(cache) as url, remote(url, "another") as client:
            client.check()  # needs no token
        with pytest.raises(UnavailableError):
            client.check()
        with (
            served(cache, closing=lambda: True) as url,
            remote(url) as client,
            pytest.raises(UnavailableError, match="503"),
        ):
            client.check()


@pytest.mark.parametrize("url", ["", "cache:8090", "ftp://cache", "file:///etc/passwd"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInputError):
        RemoteCache(url)


def test_importing_the_client_loads_no_http_library() -> None:
    import subprocess
    import sys

    heavy = {"httpx", "redis", "fastapi", "pydantic"}
    code = f"import sys, serving.cache.remote; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_a_breaker_lets_one_try_at_a_time_when_its_rest_is_over() -> None:
    now = [0.0]
    breaker = Breaker(most=2, rest_s=10, now=lambda: now[0])
    assert not breaker.failed()
    assert not breaker.succeeded()
    assert not breaker.failed()
    assert breaker.may_ask()
    assert breaker.failed()
    assert not breaker.may_ask()
    now[0] = 10
    assert breaker.may_ask()
    assert not breaker.may_ask()
    now[0] = 20
    assert breaker.may_ask()
    assert breaker.succeeded()
    assert breaker.may_ask()
    assert breaker.may_ask()

"""A real Prometheus server scrapes us and finds the numbers of the call records."""

import contextlib
import json
import math
import shutil
import socket
import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import httpx
import pytest
from loguru import logger

from serving.call.record import CallRecord, TurnRecord
from serving.telemetry.metrics import CONTENT_TYPE, TurnMetrics
from tests.serving.call.phone import Bank, HummingTts, ToldStt, spoken, typed
from tests.serving.telemetry.records import a_call, a_turn

DEADLINE_S = 60.0
CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: voicebot
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
QUESTIONS = (
    "hello",
    "what does the law want to know",
    "what does the law want to know",
    "what would be the monthly payment to borrow ten thousand dollars over four years",
    "weather",
)


class Prometheus:
    """A running server; asks it questions."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5.0)
        self.close = self._client.close

    def ask(self, query: str) -> dict[tuple[str, ...], float]:
        """Values of an instant query by the values of its labels, in the order of their names."""
        answer = self._client.post("/api/v1/query", data={"query": query})
        found = json.loads(answer.text)
        assert found["status"] == "success", found
        return {
            tuple(value for _, value in sorted(item["metric"].items())): float(item["value"][1])
            for item in found["data"]["result"]
        }

    def number(self, query: str) -> float:
        """The one value of an instant query; not a number where there is none."""
        return next(iter(self.ask(query).values()), math.nan)

    def wait_until(self, query: str, holds: Callable[[float], bool]) -> None:
        """Ask until a value is as it shall be; fails at the deadline."""
        end, value = monotonic() + DEADLINE_S, math.nan
        pause = threading.Event()
        while monotonic() < end:
            try:
                value = self.number(query)
            except (httpx.HTTPError, json.JSONDecodeError):
                value = math.nan  # it is still starting
            if holds(value):
                return
            pause.wait(0.1)
        pytest.fail(f"{query} is {value} after {DEADLINE_S:g} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def metrics() -> TurnMetrics:
    return TurnMetrics()


@pytest.fixture
def exposed(metrics: TurnMetrics) -> Iterator[int]:
    """The port of an endpoint that shows the metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = metrics.exposition()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def prometheus(exposed: int, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus server of its own on loopback that scrapes the endpoint each second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus on this machine (Debian: apt install prometheus)")
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=exposed))
    port = free_port()
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with subprocess.Popen(command, cwd=tmp_path) as server:
        try:
            with contextlib.closing(Prometheus(port)) as asked:
                yield asked
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def by(turns: list[TurnRecord], key: Callable[[TurnRecord], str]) -> dict[tuple[str, ...], float]:
    counts: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for turn in turns:
        counts[(key(turn),)] += 1
    return dict(counts)


def real_calls(bank: Bank, metrics: TurnMetrics) -> list[CallRecord]:
    """A typed and a spoken call, as the database has them; the spoken one has an ear that fails once."""
    told = ToldStt([*QUESTIONS, RuntimeError("no"), "agent"], bank.counter, finish_s=0.11)
    voice = HummingTts(bank.counter, work_s=0.05)
    return [
        bank.call(typed(*QUESTIONS), observers=[metrics]),
        bank.call([spoken(0.5)] * 7, stt=told, tts=voice, observers=[metrics], max_failures=9),
    ]


def test_prometheus_finds_the_numbers_of_the_call_records(
    bank: Bank, metrics: TurnMetrics, prometheus: Prometheus
) -> None:
    calls = real_calls(bank, metrics)
    turns = [turn for call in calls for turn in call.turns]
    assert len(turns) == 12
    prometheus.wait_until("sum(voicebot_calls_total)", lambda value: value == len(calls))

    assert prometheus.ask("sum by (decision) (voicebot_turns_total)") == by(turns, lambda t: str(t.decision))
    assert prometheus.ask("sum by (stt) (voicebot_turns_total)") == by(turns, lambda t: t.stt_engine)
    looked_up = [turn for turn in turns if turn.cache]
    assert prometheus.ask("sum by (outcome) (voicebot_cache_lookups_total)") == by(
        looked_up, lambda turn: turn.cache.outcome if turn.cache else ""
    )
    tools = [tool for turn in turns for tool in turn.tools]
    assert tools
    assert prometheus.number("sum(voicebot_tool_calls_total)") == len(tools)
    assert prometheus.number('sum(voicebot_turn_failures_total{stage="stt"})') == 1

    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for turn in turns:
        for stage, seconds in turn.stages.items():
            sums[(stage,)] += seconds
    assert prometheus.ask("sum by (stage) (voicebot_stage_seconds_sum)") == pytest.approx(dict(sums))
    heard = [turn.voice_to_voice_s for turn in turns if turn.voice_to_voice_s is not None]
    assert prometheus.number("sum(voicebot_voice_to_voice_seconds_sum)") == pytest.approx(sum(heard))
    assert prometheus.number("sum(voicebot_voice_to_voice_seconds_count)") == len(heard)
    # What adds up in each record adds up on the server.
    difference = "sum(voicebot_voice_to_voice_seconds_sum) - sum(voicebot_stage_seconds_sum)"
    assert abs(prometheus.number(difference)) < 0.005 * len(turns)


def test_prometheus_follows_what_calls_add(metrics: TurnMetrics, prometheus: Prometheus) -> None:
    prometheus.wait_until('voicebot_calls_refused_total{reason="full"}', lambda value: value == 0)
    turns = [a_turn(barge_in_s=0.2 + 0.01 * i, resumed=1, interrupted=True) for i in range(20)]
    for turn in turns:
        metrics.turn_committed(turn)
    metrics.call_ended(a_call(*turns, dropped_frames=7, false_interruptions=22))
    metrics.active_calls.set(3)
    for _ in range(95):
        metrics.loop_lag.observe(0.0015)
    for _ in range(5):
        metrics.loop_lag.observe(0.15)
    metrics.call_refused("full")  # the last: whoever sees it sees all of the above
    prometheus.wait_until('voicebot_calls_refused_total{reason="full"}', lambda value: value == 1)
    assert prometheus.ask("sum by (kind) (voicebot_interruptions_total)") == {("true",): 20, ("false",): 22}
    assert prometheus.number("sum(voicebot_dropped_frames_total)") == 7
    assert prometheus.number("voicebot_active_calls") == 3
    assert prometheus.number("sum(voicebot_barge_in_seconds_sum)") == pytest.approx(
        sum(turn.barge_in_s or 0.0 for turn in turns)
    )
    p95 = "histogram_quantile(0.95, sum by (le) (voicebot_event_loop_lag_seconds_bucket))"
    assert 0.001 < prometheus.number(p95) <= 0.002
    p99 = "histogram_quantile(0.99, sum by (le) (voicebot_event_loop_lag_seconds_bucket))"
    assert 0.1 < prometheus.number(p99) <= 0.2


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The failing ear is logged; nobody needs to read that here."""
    logger.disable("serving")
    yield
    logger.enable("serving")

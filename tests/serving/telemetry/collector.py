"""A span collector on loopback that speaks OTLP over HTTP with the real protobuf messages."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_DEADLINE_S = 20.0


class Collector:
    """Takes spans, refuses them, or hangs.

    Attributes:
        address: base address.
        status: what it answers.
        answering: while cleared, requests hang.
        bodies: all bodies that it was sent.
    """

    def __init__(self) -> None:
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        self.resources: list[dict[str, Any]] = []
        self._spans: list[Span] = []
        self._told = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.take(self.path, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # closing waits for the last answers
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, path: str, body: bytes) -> int:
        with self._told:
            self.bodies.append(body)
            self.paths.add(path)
            self._told.notify_all()
        self.answering.wait(_DEADLINE_S)
        if self.status == 200:
            request = ExportTraceServiceRequest.FromString(body)
            with self._told:
                for group in request.resource_spans:
                    self.resources.append(attributes_of(group.resource))
                    self._spans += [span for scope in group.scope_spans for span in scope.spans]
                self._told.notify_all()
        return self.status

    @property
    def spans(self) -> list[Span]:
        """All spans that were taken, by their start."""
        with self._told:
            return sorted(self._spans, key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what was sent holds."""
        end = monotonic() + _DEADLINE_S
        with self._told:
            while not condition():
                assert self._told.wait(max(0.0, end - monotonic())), "the collector waited in vain"

    @contextmanager
    def serving(self) -> Iterator["Collector"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.answering.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def attributes_of(holder: Any) -> dict[str, Any]:
    """Attributes of a span or a resource as Python values."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in holder.attributes}

"""Spans on their way to a collector: OTLP over HTTP, in batches, by a thread of their own.

This is the only module that imports OpenTelemetry's SDK. A call never waits for it: the queue is bounded and
drops its oldest spans, requests have a time limit, and a collector that is gone is told of once. The standard
variables are read where the SDK reads them: OTEL_EXPORTER_OTLP_HEADERS and _TIMEOUT, OTEL_BSP_*,
OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME.
"""

import logging
import os
import threading
from collections.abc import Sequence

from loguru import logger
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from serving.telemetry.attributes import span_id_of, trace_id_of
from serving.telemetry.traces import SpanFacts

CLOSE_S = 3.0
"""How long the end of a server waits for its last spans to be taken, seconds."""
_NOISY = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal")
"""Loggers that repeat with each batch what `_TellingExporter` says once."""


class OtlpSpans:
    """Sends spans to one collector.

    Args:
        address: whole address for spans, such as `http://collector:4318/v1/traces`.
        close_s: see `CLOSE_S`.
    """

    def __init__(self, address: str, *, close_s: float = CLOSE_S) -> None:
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._close_s = close_s
        self._exporter = _TellingExporter(OTLPSpanExporter(endpoint=address))
        self._processor = BatchSpanProcessor(self._exporter)
        self._ids = _GivenIds()
        provider = TracerProvider(
            resource=Resource.create({} if _names_service() else {SERVICE_NAME: "voicebot"}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("voicebot")
        self._made = 0
        self._counting = threading.Lock()
        self._closed = False

    def emit(self, call_id: str, spans: Sequence[SpanFacts]) -> None:
        """Queue the spans of a call; where the queue is full, its oldest are dropped."""
        trace_id = int(trace_id_of(call_id), 16)
        made = 0
        for facts in spans:
            self._ids.give(trace_id, _span_id(call_id, facts.place))
            span = self._tracer.start_span(
                facts.name,
                context=_inside(trace_id, _span_id(call_id, facts.parent)) if facts.parent else Context(),
                attributes=facts.attributes,
                start_time=facts.start_ns,
            )
            if facts.failed:
                span.set_status(Status(StatusCode.ERROR, facts.failed))
            made += span.is_recording()  # where OTEL_TRACES_SAMPLER leaves a call out, it is not
            span.end(facts.end_ns)
        with self._counting:
            self._made += made

    def close(self) -> None:
        """Send what is queued, for `close_s` at most; what is left is lost, and logged. Harmless twice."""
        if self._closed:
            return
        self._closed = True
        # The processor's own limit is half a minute, longer than a server has to stop.
        sending = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(self._close_s)
        if sending.is_alive():
            self._exporter.shutdown()
        if lost := self._made - self._exporter.taken:
            logger.warning("{} of {} spans never reached the collector", lost, self._made)


class _GivenIds(IdGenerator):
    """Ids that the next span of this thread was given."""

    def __init__(self) -> None:
        self._given = threading.local()

    def give(self, trace_id: int, span_id: int) -> None:
        self._given.trace_id, self._given.span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        trace_id: int = self._given.trace_id
        return trace_id

    def generate_span_id(self) -> int:
        span_id: int = self._given.span_id
        return span_id


class _TellingExporter(SpanExporter):
    """Tells when a collector is gone and when it is back, once each, whatever number of batches is lost.

    Attributes:
        taken: spans that the collector took.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                logger.warning("the span collector takes no spans; they are dropped until it does")
            self._lost += len(spans)
            return result
        self.taken += len(spans)
        if self._lost:
            logger.info("the span collector takes spans again; {} were dropped", self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _inside(trace_id: int, parent_id: int) -> Context:
    """The context of a span that need not exist yet."""
    around = SpanContext(trace_id, parent_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(around), Context())


def _span_id(call_id: str, place: str) -> int:
    return int(span_id_of(call_id, place), 16)


def _names_service() -> bool:
    """Whether the environment says what this service is called."""
    return bool(os.environ.get("OTEL_SERVICE_NAME")) or (
        f"{SERVICE_NAME}=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    )

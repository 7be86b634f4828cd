"""OpenTelemetry's SDK, behind the interface that tracing.py speaks to; loaded only to be used."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from service_kit import VERSION

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# For the last spans, when the service stops; a receiver that does not answer gets no longer.
LAST_SECONDS = 2.0
QUIET_SECONDS = 300.0

logger = logging.getLogger(__name__)


class Exporter(OTLPSpanExporter):
    """Says once in a while that spans are lost, where the SDK would for each of its tries."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._told_at = -QUIET_SECONDS
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        now = time.monotonic()
        if result is not SpanExportResult.SUCCESS and now - self._told_at >= QUIET_SECONDS:
            self._told_at = now
            logger.warning("Spans are lost: nothing takes them at %s.", ENDPOINT)
        return result


@contextmanager
def sending(service: str, endpoint: str) -> Iterator[None]:
    """Send the spans of this process until the end; OTEL_* variables say how."""
    os.environ.setdefault(ENDPOINT, endpoint)  # it may have come from a file
    named = Resource({"service.name": service, "service.version": VERSION})
    provider = TracerProvider(
        resource=Resource.create().merge(named).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # In a thread that nobody waits for: its own time-outs are longer than a stop may take.
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_SECONDS)

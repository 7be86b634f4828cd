"""Traces by OpenTelemetry, which are sent where OTEL_EXPORTER_OTLP_ENDPOINT is set.

OpenTelemetry's interface does nothing until its SDK is behind it, which is loaded only to be used.
No span holds more than names, counts and statuses: no path with its ids, no query, no header, no
words of an error.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit import VERSION
from service_kit.process.outgoing import ssl_context

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# For the last spans, when the service stops; a receiver that does not answer gets no longer.
LAST_SECONDS = 2.0
QUIET_SECONDS = 300.0

logger = logging.getLogger(__name__)

_SERVER_ERRORS = 500

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("crmsys", VERSION)


def traceparent() -> str | None:
    """Name the current span as W3C Trace Context does; None where nothing is traced."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier["traceparent"]


def valid_traceparent(value: object) -> str | None:
    """Read what may name a span; None where it does not."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def _is_on() -> bool:
    """Whether anything is behind OpenTelemetry's interface, which takes its time to do nothing.

    Where nothing is, it still hands on the span of whoever has called.
    """
    is_bare = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return not (is_bare and isinstance(_tracer, trace.ProxyTracer))


@contextmanager
def span(
    name: str, kind: SpanKind, parents: Iterable[str | None] = (), **attributes: Any
) -> Iterator[Span]:
    """Trace what is done inside: in the trace of the only parent, or else with a link to each.

    Without parents it is part of what is being traced already.
    """
    contexts = [_context_of(parent) for parent in dict.fromkeys(filter(None, parents))]
    if not (contexts or _is_on() or trace.get_current_span().get_span_context().is_valid):
        yield trace.INVALID_SPAN
        return
    around = contexts[0] if len(contexts) == 1 else Context() if contexts else None
    linked = contexts if len(contexts) > 1 else []
    with _tracer.start_as_current_span(
        name,
        context=around,
        kind=kind,
        links=[Link(trace.get_current_span(one).get_span_context()) for one in linked],
        attributes=attributes,
        record_exception=False,  # its words may be about a person
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__qualname__)
            raise


@contextmanager
def spans(name: str, kind: SpanKind, parents: Iterable[str | None]) -> Iterator[None]:
    """Trace what is done inside once in the trace of each parent."""
    contexts = map(_context_of, dict.fromkeys(filter(None, parents)))
    begun = [_tracer.start_span(name, context=one, kind=kind) for one in contexts]
    try:
        yield
    finally:
        for one in begun:
            one.end()


class Traced:
    """Traces each request but those for `untraced` paths, in its caller's trace if it names one."""

    def __init__(self, app: ASGIApp, untraced: Container[str]) -> None:
        self.app = app
        self._untraced = untraced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._untraced:
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("traceparent")
        parent = valid_traceparent(given[0]) if len(given) == 1 else None
        method = scope["method"]
        with span(method, SpanKind.SERVER, [parent], **{"http.request.method": method}) as current:

            async def send_noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _note_answer(current, scope, message["status"])
                await send(message)

            await self.app(scope, receive, send_noted)


def _note_answer(current: Span, scope: Scope, status: int) -> None:
    current.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERRORS:
        current.set_status(StatusCode.ERROR)
    if route := getattr(scope.get("route"), "path", None):
        current.set_attribute("http.route", route)
        current.update_name(f"{scope['method']} {route}")


def _context_of(parent: str) -> Context:
    return _propagator.extract({"traceparent": parent}, Context())


@contextmanager
def sending(service: str, endpoint: str, ca_file: Path | None = None) -> Iterator[None]:
    """Send the spans of this process until the end; OTEL_* variables say how."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault(ENDPOINT, endpoint)  # it may have come from a file
    named = Resource({"service.name": service, "service.version": VERSION})
    provider = TracerProvider(
        resource=Resource.create().merge(named).merge(OTELResourceDetector().detect()),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(new_exporter(ca_file)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # In a thread that nobody waits for: its own time-outs are longer than a stop may take.
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_SECONDS)


def new_exporter(ca_file: Path | None = None, **arguments: Any) -> "SpanExporter":
    """Make what says once in a while that spans are lost, where the SDK would at each try."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Exporter(OTLPSpanExporter):
        told_at = -QUIET_SECONDS

        def export(self, *spans: Any) -> SpanExportResult:
            result = super().export(*spans)
            now = time.monotonic()
            if result is not SpanExportResult.SUCCESS and now - self.told_at >= QUIET_SECONDS:
                self.told_at = now
                logger.warning("Spans are lost: nothing takes them at %s.", ENDPOINT)
            return result

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return Exporter(session=_trusting(ca_file) if ca_file else None, **arguments)


def _trusting(ca_file: Path) -> "requests.Session":
    """Trust a file's authorities as well; the exporter's own setting would put the public ones out.

    Whatever OTEL_EXPORTER_OTLP_CERTIFICATE names is added by the exporter.
    """
    import requests
    from requests.adapters import HTTPAdapter

    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, ssl_context=ssl_context(ca_file), **kwargs)

    session = requests.Session()
    session.mount("https://", Trusting())
    return session

"""One trace from a customer's POST to the package request, as a real receiver gets it."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.conftest import bearer
from tests.system.processes import until
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Receiver:
    """Takes spans by OTLP over HTTP, as a collector does."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.bodies: list[bytes] = []
        self.paths: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.paths.add(self.path)
                receiver.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace: str) -> dict[tuple[str, str], Span]:
        """Return the spans of a trace, by their services and names."""
        return {
            (service, span.name): span
            for service, span in self.all()
            if span.trace_id.hex() == trace
        }

    def all(self) -> Iterator[tuple[str, Span]]:
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                [service] = [
                    one.value.string_value
                    for one in resource.resource.attributes
                    if one.key == "service.name"
                ]
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield service, span


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as receiver:
        yield receiver


POST = ("crm_api", "POST /api/customers")
FIND = ("integration_service", "find customer")
SEND = ("integration_service", "send package requests")
CALL = ("integration_service", "POST")
MAKE = ("inventory_api", "POST /package-requests/batch")


def add(stack: Stack, number: int, **headers: str) -> None:
    answer = stack.client.post(
        f"{stack.crm.url}/customers",
        json={"name": "Jane Doe", "email": f"jane{number}@example.com"},
        headers=bearer("agent123") | headers,
    )
    assert answer.status_code == 201


def test_one_trace_leads_from_the_customer_to_its_package(stack: Stack, receiver: Receiver) -> None:
    for server in stack.servers:
        server.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
        server.environment["OTEL_BSP_SCHEDULE_DELAY"] = "50"
    stack.inventory.environment["OTEL_SERVICE_NAME"] = "warehouse"
    make = ("warehouse", MAKE[1])
    stack.crm.start()
    stack.crm.wait_until_ready()
    # Two at once, which one batch will hold, before anybody polls.
    add(stack, 1)
    add(stack, 2)
    for server in (stack.inventory, stack.integration):
        server.start()
    stack.wait_until_ready()
    stack.wait_until_quiet()
    searched = stack.client.get(f"{stack.crm.url}/customers?q=s3cret", headers=bearer("agent123"))
    assert searched.status_code == 200
    add(stack, 3, traceparent=f"00-{TRACE}-{CALLER}-01")
    until(lambda: {POST, FIND, SEND, CALL, make} <= set(receiver.spans(TRACE)), "all is received")

    assert receiver.paths == {"/v1/traces"}
    found = receiver.spans(TRACE)
    assert set(found) == {POST, FIND, SEND, CALL, make}
    parents = {name: found[name].parent_span_id.hex() for name in found}
    assert parents == {
        POST: CALLER,
        FIND: found[POST].span_id.hex(),
        SEND: found[POST].span_id.hex(),
        CALL: found[SEND].span_id.hex(),
        make: found[CALL].span_id.hex(),
    }
    [of_both] = [span for service, span in receiver.all() if len(span.links) > 1]
    assert of_both.name == SEND[1]
    assert len({link.trace_id for link in of_both.links} - {of_both.trace_id}) == 2
    told = b"".join(receiver.bodies)
    for secret in (b"jane", b"Jane", b"example.com", b"agent123", b"integration123", b"s3cret"):
        assert secret not in told
    for [uid] in stack.crm.rows("SELECT uid FROM customers"):
        assert uid.encode() not in told


@pytest.mark.long
def test_a_receiver_that_does_not_answer_disturbs_nobody(stack: Stack) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        for server in stack.servers:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            server.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
            server.environment["OTEL_BSP_SCHEDULE_DELAY"] = "50"
        stack.start()
        stack.add_customers(3)
        stack.wait_until_quiet()
        stack.check()
        ends = [server.end(15) for server in stack.servers]

    assert [code for code, _ in ends] == [0, 0, 0]
    assert max(seconds for _, seconds in ends) < 10

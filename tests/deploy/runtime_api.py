"""AWS Lambda's Runtime API, as far as a function sees it: events go out, answers come in.

There is no service of AWS on a tests' machine to send the same cases to. What this double is held
to is what AWS documents for the Runtime API (version 2018-06-01: the paths, the headers of an
invocation, the 202 to an answer) and for payload format 2.0. It does nothing else.
"""

import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:crm"
PREFIX = "/2018-06-01/runtime/"


@dataclass
class FakeRuntimeApi:
    address: str
    events: Iterator[Mapping[str, Any]]
    allowed_seconds: float
    hangs_up: bool
    has_hung_up: bool = False
    received: dict[str, Any] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)


@contextmanager
def serving(
    *events: Mapping[str, Any], allowed_seconds: float = 30, hangs_up: bool = False
) -> Iterator[FakeRuntimeApi]:
    """Serve these events and then refuse, or hang up instead.

    `received` has what came for each, by its path's end.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            event = next(api.events, None)
            if event is None and api.hangs_up:
                api.has_hung_up = self.close_connection = True
                return
            deadline = int((time.time() + api.allowed_seconds) * 1000)
            self.reply(
                403 if event is None else 200,
                event,
                {
                    "Lambda-Runtime-Aws-Request-Id": f"event-{next(api.numbers)}",
                    "Lambda-Runtime-Deadline-Ms": str(deadline),
                    "Lambda-Runtime-Invoked-Function-Arn": FUNCTION,
                    "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                },
            )

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.received[self.path.removeprefix(PREFIX)] = body
            self.reply(202, {"status": "OK"}, {})

        def reply(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing; the test reads what came."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api = FakeRuntimeApi(f"127.0.0.1:{server.server_port}", iter(events), allowed_seconds, hangs_up)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def http_event(
    method: str, path: str, *, body: str | None = None, base64: bool = False, **headers: str
) -> dict[str, Any]:
    """Build an event as a function URL and an HTTP API send it (payload format 2.0)."""
    path, _, query = path.partition("?")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": "api.example.com", "content-type": "application/json", **headers},
        "requestContext": {
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
            },
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": base64,
    }

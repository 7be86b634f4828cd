"""Stands between two services, and lets a test act on each request before and after it passes."""

import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from tests.system.in_between import Connections, InBetween

PATIENCE = 30.0


class Dropped(Exception):
    """What a test raises so that the request, or its answer, goes no further."""


@dataclass(frozen=True)
class Passing:
    """A request that has come, or that has been answered."""

    when: Literal["before", "after"]
    method: str
    path: str
    request: bytes
    answer: bytes = b""


class Proxy(InBetween):
    """Forwards to one server. `watch` is told of each request, in the thread that forwards it."""

    def __init__(self, port: int) -> None:
        self.watch: Callable[[Passing], Any] = lambda _: None
        super().__init__(_Server(port, self))


class _Server(Connections):
    def __init__(self, port: int, proxy: Proxy) -> None:
        super().__init__(_Handler)
        self.port = port
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that was killed resets
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        # A dead client or server ends the connection, as it would without a proxy.
        with suppress(Dropped, OSError, HTTPException):
            self._forward()
            return
        self.close_connection = True

    do_POST = do_GET  # noqa: N815 (http.server's names)

    def log_message(self, *_: Any) -> None:
        pass

    def _forward(self) -> None:
        request = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.server.proxy
        proxy.watch(Passing("before", self.command, self.path, request))
        with closing(HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)) as upstream:
            upstream.request(self.command, self.path, request, dict(self.headers.items()))
            response = upstream.getresponse()
            answer = response.read()
        proxy.watch(Passing("after", self.command, self.path, request, answer))
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

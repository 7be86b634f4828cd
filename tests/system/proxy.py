"""Stands between two services, and lets a test act on each request before and after it passes."""

import socket
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Literal, Self

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


class Proxy:
    """Forwards to one server. `watch` is told of each request, in the thread that forwards it."""

    def __init__(self, port: int) -> None:
        self.watch: Callable[[Passing], Any] = lambda _: None
        self._server = _Server(port, self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # Its end waits for the threads: each of them ends when one of its two sides has.
    daemon_threads = False

    def __init__(self, port: int, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.proxy = proxy
        self.connections: set[socket.socket] = set()

    def hang_up(self) -> None:
        """End the connections that are kept, whose clients may live on."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

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

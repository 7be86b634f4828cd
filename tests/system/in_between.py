"""A server of a test's own that stands between two others, in threads of the test's process."""

import socket
from collections.abc import Callable
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self


class Connections(ThreadingTCPServer):
    """Its handlers enter their connections, so that those can be ended which are kept."""

    # Its end waits for the threads: each of them ends when one of its two sides has.
    daemon_threads = False

    def __init__(self, handler: Callable[[Any, Any, Any], BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: set[socket.socket] = set()

    def hang_up(self) -> None:
        """End the connections that are kept, whose clients may live on."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class InBetween:
    """Serves while it is entered."""

    def __init__(self, server: Connections) -> None:
        self._server = server
        self._thread = Thread(target=server.serve_forever, args=(0.05,))

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

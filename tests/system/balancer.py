"""Stands before the processes of one service, and passes each connection to one that takes it."""

import itertools
import select
import socket
from collections.abc import Sequence
from contextlib import suppress
from socketserver import BaseRequestHandler

from tests.system.in_between import Connections, InBetween

PIECE = 65_536
PATIENCE = 30.0


class Balancer(InBetween):
    """Takes one process after another; where all are down it hangs up, as before any answer."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(_Server(ports))


class _Server(Connections):
    request_queue_size = 64

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(_Handler)
        self._ports = ports
        self._turns = itertools.count()

    def upstream(self) -> socket.socket | None:
        """Connect to the process whose turn it is, or to the next one that runs."""
        first = next(self._turns)
        for turn in range(first, first + len(self._ports)):
            with suppress(OSError):
                port = self._ports[turn % len(self._ports)]
                return socket.create_connection(("127.0.0.1", port), PATIENCE)
        return None


class _Handler(BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        if (upstream := self.server.upstream()) is None:
            return
        self.server.connections.add(self.request)
        other = {self.request: upstream, upstream: self.request}
        # One that was killed resets.
        with upstream, suppress(OSError):
            while ready := select.select([*other], [], [], PATIENCE)[0]:
                for end in ready:
                    if not (piece := end.recv(PIECE)):
                        return
                    other[end].sendall(piece)

    def finish(self) -> None:
        self.server.connections.discard(self.request)

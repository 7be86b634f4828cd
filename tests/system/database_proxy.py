"""Stands between a service and PostgreSQL.

It lets a test act before and after each commit, and it can go mute: what comes is swallowed, and
neither side hears anything any more, not even a reset.
"""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.system.crash_points import When
from tests.system.proxy import Dropped

CHUNK = 1 << 16
# As asyncpg says it.
BEGIN, COMMIT = b"BEGIN", b"COMMIT;"
# What a statement brings that is a transaction by itself: data for the feed.
DATA = b'"uid":"'
# What a server's new session says of itself: its process's number comes next.
KEY_DATA = b"K\0\0\0\x0c"
STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
ENDED = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


class DatabaseProxy(ThreadingTCPServer):
    """Forwards to a server's socket. `watch` is told of each commit, in the connection's thread.

    When it raises `Dropped`, the connection breaks: before, and nothing is committed; after, and
    it is committed, but nobody hears of it.
    """

    def __init__(self, server_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        [folder] = parse_qs(urlsplit(server_url).query)["host"]
        [self.path] = Path(folder).glob(".s.PGSQL.*[0-9]")
        self.watch: Callable[[When], Any] = lambda _: None
        # How many connections to come are told that the server is still starting.
        self.starting = 0
        self.is_mute = False
        # Whether clients are given other numbers of sessions than the server's, as by a pooler.
        self.pools = False
        # How many connections have fallen silent with something to say.
        self.silenced = 0
        self.clients: set[socket.socket] = set()

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Let nothing pass, in either direction. It must have kept something back by the end.

        A connection that something was kept back on stays mute for ever, as where a firewall has
        forgotten it; new ones pass when the time is over.
        """
        before = self.silenced
        self.is_mute = True
        try:
            yield
        finally:
            self.is_mute = False
        assert self.silenced > before, "nothing was said while the link was mute"

    def say_ended(self, address: tuple[str, int]) -> None:
        """Tell the client with this address that its session has ended, and do not hang up."""
        [client] = [one for one in self.clients if one.getpeername() == address]
        client.sendall(error_message(ENDED))

    def url(self, database_url: str) -> str:
        """Return the way to a database through this proxy."""
        host = f"127.0.0.1:{self.server_address[1]}"
        return f"postgresql://postgres@{host}{urlsplit(database_url).path}?sslmode=disable"


class _Connection(BaseRequestHandler):
    server: DatabaseProxy
    request: socket.socket
    has_begun = False

    def setup(self) -> None:
        self.server.clients.add(self.request)

    def finish(self) -> None:
        self.server.clients.discard(self.request)

    def handle(self) -> None:
        if self.server.starting > 0:
            self.server.starting -= 1
            self.request.recv(CHUNK)
            self.request.sendall(error_message(STARTING))
            return
        with socket.socket(socket.AF_UNIX) as database, suppress(Dropped, ConnectionError):
            database.connect(str(self.server.path))
            while True:
                readable, _, _ = select.select([self.request, database], [], [])
                if self.server.is_mute:
                    self.swallow()
                elif database in readable:
                    forward(database, self.request, renumbered if self.server.pools else None)
                elif self.commits(self.request.recv(CHUNK, socket.MSG_PEEK)):
                    self.server.watch("before")
                    forward(self.request, database)
                    select.select([database], [], [])
                    self.server.watch("after")
                else:
                    forward(self.request, database)

    def swallow(self) -> None:
        """Take what the client says to nobody, until it hangs up. The server waits on, or not."""
        self.server.silenced += 1
        while self.request.recv(CHUNK):
            pass
        raise Dropped

    def commits(self, sent: bytes) -> bool:
        if BEGIN in sent:
            self.has_begun = True
        elif COMMIT in sent or b"ROLLBACK" in sent:
            self.has_begun = False
        return COMMIT in sent or (DATA in sent and not self.has_begun)


def error_message(content: bytes) -> bytes:
    return b"E" + (len(content) + 4).to_bytes(4) + content


def renumbered(data: bytes) -> bytes:
    """Change the number of a session where that is what the server says."""
    before, key, after = data.partition(KEY_DATA)
    return before + key + after[:3] + bytes([after[3] ^ 1]) + after[4:] if key else data


def forward(
    one: socket.socket, other: socket.socket, change: Callable[[bytes], bytes] | None = None
) -> None:
    if not (data := one.recv(CHUNK)):
        raise ConnectionError("hung up")
    other.sendall(change(data) if change else data)


@contextmanager
def proxied(server_url: str) -> Iterator[DatabaseProxy]:
    """Run a proxy. At its end it hangs up."""
    with DatabaseProxy(server_url) as proxy:
        thread = Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
            for client in list(proxy.clients):
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

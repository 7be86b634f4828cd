"""A caller that asks for too much, in a process of its own. Run by `bench.parts.fairness`.

    python -m bench.attacks ATTACK PORT TOKEN

It goes on until it is ended. It comes from another address than all other clients of the bench.
"""

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

import uvloop

from bench.parts.bodies import LARGEST, worst

ADDRESS = "127.0.0.2"
BODY_PATH = "/api/customers/batch"
# What `many connections` holds; a process lets one address have three quarters of its 2,000.
CONNECTIONS = 1000
READERS = 64
SLOW_BODIES_A_SECOND = 45
SMALL_BUFFER = 4096

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Attack:
    """What is attacked, and with which token."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token

    async def worst_bodies(self) -> None:
        bodies = itertools.cycle([self.post(body) for body in worst().values()])
        await self._flood(8, bodies)

    async def slow_bodies(self) -> None:
        head = self.request("POST", BODY_PATH, f"Content-Length: {LARGEST}")
        async with asyncio.TaskGroup() as slow:
            while True:
                slow.create_task(self._send_slowly(head))
                await asyncio.sleep(1 / SLOW_BODIES_A_SECOND)

    async def many_connections(self) -> None:
        await self._flood(CONNECTIONS, itertools.repeat(self.get("/api/customers/1")))

    async def metrics(self) -> None:
        await self._flood(READERS, itertools.repeat(self.get("/metrics")))

    async def description(self) -> None:
        await self._flood(READERS, itertools.repeat(self.get("/openapi.json")))

    async def readers_that_stop(self) -> None:
        """Ask for what all share, and take nothing of it."""
        requests = [
            self.get(path) for path in ("/openapi.json", "/metrics") for _ in range(READERS)
        ]
        await asyncio.gather(*(self._again_and_again(self._ask_only, one) for one in requests))

    async def wrong_tokens(self) -> None:
        def guesses() -> Iterator[bytes]:
            for number in itertools.count():
                yield self.request("GET", "/api/customers/1", token=f"{number:032}")

        await self._flood(READERS, guesses())

    def get(self, path: str) -> bytes:
        return self.request("GET", path)

    def post(self, body: bytes) -> bytes:
        return self.request("POST", BODY_PATH, f"Content-Length: {len(body)}") + body

    def request(self, method: str, path: str, *headers: str, token: str = "") -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: bench",
            f"Authorization: Bearer {token or self.token}",
            "Content-Type: application/json",
            *headers,
        ]
        return "\r\n".join([*lines, "\r\n"]).encode()

    async def _flood(self, connections: int, requests: Iterator[bytes]) -> None:
        """Keep so many connections busy, each with one request after another."""

        async def ask_on(stream: Stream) -> None:
            reader, writer = stream
            while True:
                writer.write(next(requests))
                await _read_answer(reader)

        await asyncio.gather(*(self._again_and_again(ask_on) for _ in range(connections)))

    async def _again_and_again(
        self, use: Callable[..., Awaitable[None]], *arguments: bytes
    ) -> None:
        """Use a connection, and another one when the server has closed it."""
        while True:
            with contextlib.suppress(OSError, EOFError):
                await self._connected(use, *arguments)
            await asyncio.sleep(0.05)

    async def _connected(self, use: Callable[..., Awaitable[None]], *arguments: bytes) -> None:
        client = socket.socket()
        client.setblocking(False)
        client.bind((ADDRESS, 0))
        if arguments:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        stream = await asyncio.open_connection(sock=client, limit=SMALL_BUFFER)
        try:
            await use(stream, *arguments)
        finally:
            stream[1].transport.abort()

    async def _ask_only(self, stream: Stream, request: bytes) -> None:
        stream[1].write(request)
        stream[1].transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async def _send_slowly(self, head: bytes) -> None:
        async def send(stream: Stream) -> None:
            reader, writer = stream
            writer.write(head + b" " * (LARGEST // 2))
            while not reader.at_eof():
                writer.write(b" " * 1024)
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1024), 1)

        with contextlib.suppress(OSError, EOFError):
            await self._connected(send)


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    _, found, rest = head.lower().partition(b"content-length:")
    await reader.readexactly(int(rest.partition(b"\r\n")[0]) if found else 0)


ATTACKS = {
    "the worst bodies": Attack.worst_bodies,
    "slow bodies": Attack.slow_bodies,
    "many connections": Attack.many_connections,
    "/metrics": Attack.metrics,
    "/openapi.json": Attack.description,
    "readers that stop": Attack.readers_that_stop,
    "wrong tokens": Attack.wrong_tokens,
}


def main() -> None:
    name, port, token = sys.argv[1:]
    uvloop.run(ATTACKS[name](Attack(int(port), token)))


if __name__ == "__main__":
    main()

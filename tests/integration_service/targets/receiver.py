"""A webhook's receiver on a real port, which answers as a test says."""

import asyncio
import itertools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

NO_TIME = struct.pack("ii", 1, 0)  # to linger for: a close becomes a reset

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers 204 until it is told otherwise; keeps what it was sent."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.behaviours: list[Behaviour] = []
        self._open: set[asyncio.Task[Any]] = set()

    def next_answers(self, *behaviours: Behaviour) -> None:
        self.behaviours.extend(behaviours)

    @asynccontextmanager
    async def running(
        self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> AsyncIterator[int]:
        """Serve. Gives the port. Fails for an answer that was never given."""
        server = await asyncio.start_server(self._serve, host, ssl=tls)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
        assert not self.behaviours, "an answer was never given"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        # Whatever the other end does is its own affair.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            self.received.append(await _read(reader))
            behaviour = self.behaviours.pop(0) if self.behaviours else answering(204)
            await behaviour(writer)
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self._open.discard(task)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Received(first.split(" ")[1], headers, body)


def answering(status: int, *lines: str, body: bytes | str = b"") -> Behaviour:
    content = body.encode() if isinstance(body, str) else body

    async def answer(writer: asyncio.StreamWriter) -> None:
        length = f"Content-Length: {len(content)}"
        writer.write(head(status, length, *lines) + content)
        await writer.drain()

    return answer


def head(status: int, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "Connection: close", *lines, "", ""]).encode()


async def say_nothing(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_up(_: asyncio.StreamWriter) -> None:
    pass


async def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
    writer.transport.abort()


def endless(status: int, written: list[int]) -> Behaviour:
    """Write without end, as fast as it is read, and note how much."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, "Transfer-Encoding: chunked"))
        for _ in itertools.count():
            writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            await writer.drain()
            written.append(0x1000)

    return write


def dripping(status: int) -> Behaviour:
    """Write a byte now and then, without end."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, "Content-Length: 1000000"))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    return drip

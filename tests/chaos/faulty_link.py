"""A link between two processes that misbehaves: each request meets what chance has chosen for it.

Each link draws from a generator of its own, made from the campaign's seed, so the n-th request on a
link meets the same fault in every run with that seed. What else happens at that moment is up to the
machine.
"""

import asyncio
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Of a hundred requests, how many meet what. The others pass as they are.
FAULTS = {
    "delayed": 4,
    "slow": 2,
    "reset before": 4,
    "reset after": 5,
    "cut": 3,
    "garbage": 2,
    "a page of HTML": 2,
    "500 before": 2,
    "500 after": 3,
    "503": 3,
    "429": 2,
    "doubled": 3,
}
# And of a hundred more: the connection stays open, and nobody says anything any more.
MUTE = {"mute before": 1.5, "mute after": 1.5}
MUTE_SECONDS = 30.0
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of nothing: a close becomes a reset


class Journal:
    """The schedule of a campaign: each fault and each kill, with when it was."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)
        self._began_at = time.monotonic()

    def note(self, what: str, **details: Any) -> None:
        at = round(time.monotonic() - self._began_at, 3)
        self._file.write(json.dumps({"at": at, "what": what, **details}) + "\n")

    def close(self) -> None:
        self._file.close()


class FaultyLink:
    """Listens on a port of its own and forwards to a server's, one request a connection."""

    def __init__(
        self,
        name: str,
        port: int,
        seed: int,
        journal: Journal,
        kinds: frozenset[str] = frozenset(),
        *,
        never: frozenset[str] = frozenset(),
    ) -> None:
        """`kinds` are those of the plan: links, mute. `never` are faults that this link has not."""
        self._shares = {
            **{f: (share, "links" in kinds and f not in never) for f, share in FAULTS.items()},
            **{fault: (share, "mute" in kinds) for fault, share in MUTE.items()},
        }
        self.name = name
        self._over = asyncio.Event()
        self.faults: Counter[str] = Counter()
        # What the server itself answered that no input may bring about.
        self.server_errors: list[str] = []
        self._port = port
        self._chance = random.Random(f"{seed}/{name}")
        self._journal = journal
        self._listening: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._requests = 0

    @property
    def url(self) -> str:
        assert self._listening is not None
        return f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def end_faults(self) -> None:
        self._over.set()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            # Either side may be killed at any moment, and the campaign may end.
            with suppress(OSError, EOFError, asyncio.CancelledError):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(length_of(head))
                await self._pass(head, body, writer)
                await writer.drain()
        finally:
            self._under_way.discard(task)
            writer.close()

    async def _pass(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        fault = self._choose(head)
        if fault in BEFORE:
            await BEFORE[fault](writer)
            return
        if fault == "mute before":
            await self._be_mute(writer)
            return
        if fault == "delayed":
            await asyncio.sleep(self._chance.uniform(0.05, 1.0))
        answer = await self._forward(head, body)
        if fault == "doubled":
            answer = await self._forward(head, body)
        if fault == "mute after":
            await self._be_mute(writer)
        elif fault in AFTER:
            await AFTER[fault](writer, answer)
        elif answer:
            writer.write(answer)
        else:
            await reset(writer)

    def _choose(self, head: bytes) -> str | None:
        self._requests += 1
        # Drawn for every request, so that the plan does not depend on when the faults end.
        drawn = self._chance.uniform(0, 100)
        if self._over.is_set():
            return None
        for fault, (share, is_planned) in self._shares.items():
            if (drawn := drawn - share) < 0:
                if not is_planned:
                    return None
                self.faults[fault] += 1
                request = head.split(b" HTTP/", 1)[0].decode()
                details = {"link": self.name, "n": self._requests, "request": request}
                self._journal.note(fault, **details)
                return fault
        return None

    async def _be_mute(self, writer: asyncio.StreamWriter) -> None:
        """Say nothing for long, or until the faults end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), MUTE_SECONDS)
        await reset(writer)

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        """Return the whole answer, or as much as came before the server died."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(closing(head) + body)
            answer = await reader.read()
        finally:
            writer.close()
        status = answer[9:12]
        if status.startswith(b"5") and status != b"503":
            self.server_errors.append(f"{self.name}: {answer[:2000].decode('utf-8', 'replace')}")
        return answer


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def closing(head: bytes) -> bytes:
    """Ask for one answer on this connection, so that its end is the answer's."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n"


async def reset(writer: asyncio.StreamWriter, _answer: bytes = b"") -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    writer.transport.abort()


async def cut(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Send the first half, then hang up."""
    writer.write(answer[: len(answer) // 2])


async def slow(writer: asyncio.StreamWriter, answer: bytes) -> None:
    step = max(1, len(answer) // 8)
    for start in range(0, len(answer), step):
        writer.write(answer[start : start + step])
        await asyncio.sleep(0.1)


def canned(status: str, kind: str, body: str, *headers: str) -> Any:
    """Make what answers in the server's place, whether or not it was asked."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    told = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    async def answer(writer: asyncio.StreamWriter, _answer: bytes = b"") -> None:
        writer.write(told)

    return answer


BEFORE: dict[str | None, Callable[[asyncio.StreamWriter], Awaitable[None]]] = {
    "reset before": reset,
    "500 before": canned("500 Internal Server Error", "text/plain", "It broke."),
    "503": canned("503 Service Unavailable", "text/plain", "Nobody is there."),
    "429": canned("429 Too Many Requests", "text/plain", "Slower.", "Retry-After: 1"),
    "a page of HTML": canned("200 OK", "text/html", "<html>Welcome to our Wi-Fi</html>"),
}
AFTER: dict[str | None, Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]] = {
    "reset after": reset,
    "cut": cut,
    "slow": slow,
    "garbage": canned("200 OK", "application/json", '[{"status": 201, "package_requ'),
    "500 after": canned("500 Internal Server Error", "text/plain", "It broke, but too late."),
}

"""A load client, in a process of its own: keeps connections busy and notes how long answers take.

It reads a plan as JSON from stdin, warms the server up, prints "warm", waits for a line, and then
runs and prints its result as JSON. Run by `bench.loading`.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import uvloop

WARM_UP_SECONDS = 0.3
GIVE_UP_SECONDS = 20.0


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request when an answer is complete."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._missing = -1
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def send(self) -> None:
        """Send the next request, at the time for it where there is one."""
        due_in = self._load.next_in()
        if due_in > 0:
            asyncio.get_running_loop().call_later(due_in, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self._load.is_over() or self._transport.is_closing():
            self._load.leave(self)
            self._transport.close()
            return
        self._missing = -1
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._received += data
            head, end, data = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self._received = b""
            self._load.note_status(int(head[9:12]))
            self._missing = _content_length(head)
        self._missing -= len(data)
        if self._missing == 0:
            self._load.note_seconds(time.perf_counter() - self._sent_at)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.leave(self, lost=True)


class Load:
    """What all connections do together, for some seconds."""

    def __init__(self, requests: list[Callable[[], bytes]], a_second: float = 0) -> None:
        self._interval = 1 / a_second if a_second else 0.0
        self._next_at = 0.0
        self._requests: Iterator[Callable[[], bytes]] = itertools.cycle(requests)
        self._connections: set[Connection] = set()
        self._left = asyncio.Event()
        self._end_at = 0.0
        self.seconds = array("d")
        self.statuses: dict[int, int] = {}
        self.lost = 0

    async def run(self, host: str, port: int, connections: int, seconds: float) -> None:
        self.seconds, self.statuses, self.lost = array("d"), {}, 0
        self._left.clear()
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(lambda: Connection(self), host, port)
            self._connections.add(connection)
        self._end_at = time.perf_counter() + seconds
        for connection in list(self._connections):
            connection.send()
        await asyncio.wait_for(self._left.wait(), seconds + GIVE_UP_SECONDS)

    def next_request(self) -> bytes:
        return next(self._requests)()

    def next_in(self) -> float:
        """Return the seconds until the next request may go; 0 where nothing paces them."""
        if not self._interval:
            return 0.0
        now = time.perf_counter()
        self._next_at = max(self._next_at + self._interval, now)
        return self._next_at - now

    def is_over(self) -> bool:
        return time.perf_counter() > self._end_at

    def note_status(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def note_seconds(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def leave(self, connection: Connection, *, lost: bool = False) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self.lost += lost
        if not self._connections:
            self._left.set()

    def result(self) -> dict[str, Any]:
        found = sorted(self.seconds)
        return {
            "requests": len(found),
            "p50": found[len(found) // 2] if found else 0.0,
            "p99": found[len(found) * 99 // 100] if found else 0.0,
            "longest": found[-1] if found else 0.0,
            "statuses": self.statuses,
            "lost": self.lost,
        }


def builder(plan: dict[str, Any]) -> Callable[[], bytes]:
    """Make what builds one request after another; `{n}` in path or body is another number each."""
    method, path, body = plan["method"], plan["path"], plan.get("body", "")
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {plan['token']}\r\n"
    if not body:
        lowest, highest = plan.get("between", (1, 1))
        first, _, rest = head.partition("{n}")
        if not rest:
            request = f"{head}\r\n".encode()
            return lambda: request

        def any_number() -> bytes:
            number = random.randint(lowest, highest)  # noqa: S311
            return f"{first}{number}{rest}\r\n".encode()

        return any_number
    head += "Content-Type: application/json\r\n"
    numbers = itertools.count(plan["count_from"], plan.get("step", 1))

    def numbered() -> bytes:
        text = "".join(_numbered(body, next(numbers), plan.get("items", 0)))
        return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()

    return numbered


def _numbered(body: str, number: int, items: int) -> Iterator[str]:
    if not items:
        yield body.replace("{n}", str(number))
        return
    yield "["
    yield ",".join(body.replace("{n}", f"{number}-{item}") for item in range(items))
    yield "]"


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    if not found:
        raise ValueError("The answer has no Content-Length.")
    return int(rest.partition(b"\r\n")[0])


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    load = Load([builder(request) for request in plan["requests"]], plan["a_second"])
    where = (plan["host"], plan["port"], plan["connections"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load.run(*where, WARM_UP_SECONDS))
        print("warm", flush=True)
        sys.stdin.readline()
        runner.run(load.run(*where, plan["seconds"]))
    print(json.dumps(load.result()), flush=True)


if __name__ == "__main__":
    main()

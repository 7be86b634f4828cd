"""A webhook's receiver, as cheap as one can be in Python, so that it is not what is measured.

    python -m bench.bases.receiver PORT MILLISECONDS

It answers each POST with 204 after so many milliseconds, or never where they are `mute`. `GET /`
tells what it has seen: how many requests, of how many different ids, and the seconds between the
first and the last.
"""

import asyncio
import json
import re
import sys
import time

import uvloop

_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Seen:
    """What has arrived so far."""

    def __init__(self) -> None:
        self.requests = 0
        self.ids: set[bytes] = set()
        self.first = self.last = 0.0

    def note(self, webhook_id: bytes) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.requests += 1
        self.ids.add(webhook_id)

    def as_answer(self) -> bytes:
        seconds = self.last - self.first
        told = {"requests": self.requests, "events": len(self.ids), "seconds": seconds}
        body = json.dumps(told).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Connection(asyncio.Protocol):
    """One kept connection, with one request at a time on it."""

    def __init__(self, seen: Seen, seconds: float | None) -> None:
        self._seen = seen
        self._seconds = seconds
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if not end or len(body) < (int(found[1]) if found else 0):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self._transport.write(self._seen.as_answer())
            return
        named = _ID.search(head)
        self._seen.note(named[1] if named else b"")
        if self._seconds is not None:
            asyncio.get_running_loop().call_later(self._seconds, self._transport.write, _TAKEN)


async def main(port: int, wait: str) -> None:
    seen = Seen()
    seconds = None if wait == "mute" else float(wait) / 1000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen, seconds), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))

"""Puts a load on a server, and tells what that cost the server."""

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.processes import Server, bare_environment

# Numbers for what must be new each time, whichever load sends it.
_THOUSANDS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; `{n}` in its path or body becomes a number, and `items` repeats the body."""

    method: str
    path: str
    token: str
    body: str = ""
    between: tuple[int, int] = (1, 1)
    items: int = 0

    def plan(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "token": self.token,
            "body": self.body,
            "between": self.between,
            "items": self.items,
            "count_from": next(_THOUSANDS) * 1_000_000,
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of one load: how many answers, how fast, and the server's processor time."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float
    longest: float
    failed: int

    @property
    def a_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's processor time for one request, in microseconds."""
        return self.cpu_seconds / max(self.requests, 1) * 1e6


def put_load(
    server: Server,
    requests: Sequence[Request],
    connections: int,
    seconds: float,
    a_second: float = 0,
) -> Loaded:
    """Keep so many connections busy for so long, with so many requests a second where it is set."""
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        env=bare_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    plan = {
        "host": "127.0.0.1",
        "port": server.port,
        "connections": connections,
        "seconds": seconds,
        "a_second": a_second,
        "requests": [request.plan() for request in requests],
    }
    with client:
        client.stdin.write(json.dumps(plan) + "\n")
        client.stdin.flush()
        if client.stdout.readline() != "warm\n":
            raise RuntimeError("The load client ended before it was warm.")
        before = server.cpu_seconds()
        client.stdin.write("go\n")
        client.stdin.flush()
        found = json.loads(client.stdout.readline())
        cpu_seconds = server.cpu_seconds() - before
    answered = {int(status): number for status, number in found["statuses"].items()}
    failed = found["lost"] + sum(n for status, n in answered.items() if status >= 400)  # noqa: PLR2004
    times = {name: found[name] for name in ("p50", "p99", "longest")}
    return Loaded(found["requests"], seconds, cpu_seconds, failed=failed, **times)

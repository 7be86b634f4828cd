"""What a process holds: after all of its work hardly more than when it has just begun."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.system.processes import status_of
from tests.system.stack import Server, Stack

# What one may hold beyond another that has done nothing yet: a pool of twenty connections that is
# full and a few that callers keep, threads that wait for the next work, pages of a heap.
MORE_DESCRIPTORS = 32
MORE_THREADS = 6
MORE_MEBIBYTES = 32


@dataclass(frozen=True)
class Holdings:
    descriptors: int
    threads: int
    mebibytes: int


def held_by(server: Server) -> Holdings:
    status = status_of(server.pid)
    return Holdings(
        descriptors=len(list(Path(f"/proc/{server.pid}/fd").iterdir())),
        threads=int(status["Threads"]),
        mebibytes=int(status["VmRSS"].removesuffix(" kB")) // 1024,
    )


def held_by_each(stack: Stack) -> dict[Server, Holdings]:
    return {server: held_by(server) for server in stack.servers}


def not_given_back(stack: Stack, worked: Mapping[Server, Holdings]) -> list[str]:
    """Compare what each service held after its work with what it holds once it is started anew."""
    for server in stack.servers:
        server.end()
        server.start()
    stack.wait_until_ready()
    begun = held_by_each(stack)
    found = [(server, after, begun[server]) for server, after in worked.items()]
    return [
        f"{server.name}: {after}, and when it has just begun {before}"
        for server, after, before in found
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS
        or after.threads > before.threads + MORE_THREADS
        or after.mebibytes > before.mebibytes + MORE_MEBIBYTES
    ]

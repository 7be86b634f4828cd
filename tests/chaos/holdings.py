"""What a process holds: after all of its work hardly more than when it has just begun."""

from dataclasses import dataclass
from pathlib import Path

from tests.system.stack import Server, Stack

# What one may hold beyond another that has done nothing yet: a pool of connections that is full,
# threads that wait for the next work, pages of a heap.
MORE_DESCRIPTORS = 16
MORE_THREADS = 6
MORE_MEBIBYTES = 32


@dataclass(frozen=True)
class Holdings:
    descriptors: int
    threads: int
    mebibytes: int


def held_by(server: Server) -> Holdings:
    process = Path(f"/proc/{server.pid}")
    lines = (line.partition(":") for line in (process / "status").read_text().splitlines())
    values = {name: value.strip() for name, _, value in lines}
    return Holdings(
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(values["Threads"]),
        mebibytes=int(values["VmRSS"].removesuffix(" kB")) // 1024,
    )


def not_given_back(stack: Stack) -> list[str]:
    """Compare what each service holds with what it holds once it is started anew."""
    worked = {server: held_by(server) for server in stack.servers}
    for server in stack.servers:
        server.end()
        server.start()
    stack.wait_until_ready()
    found = [(server, after, held_by(server)) for server, after in worked.items()]
    return [
        f"{server.name}: {after}, and when it has just begun {before}"
        for server, after, before in found
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS
        or after.threads > before.threads + MORE_THREADS
        or after.mebibytes > before.mebibytes + MORE_MEBIBYTES
    ]

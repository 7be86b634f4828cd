"""Servers as processes of their own: started on a free port, measured from /proc, stopped."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have taken so far."""
        return cpu_seconds(self.process.pid)

    def memory_mib(self) -> float:
        """Return its share of the machine's memory; a page that several share counts in parts."""
        return sum(_memory_kib(pid) for pid in _family(self.process.pid)) / 1024


@contextmanager
def service(
    name: str, folder: Path, database_url: str, ready: str = "/health/ready", **environment: str
) -> Iterator[Server]:
    """Run one of the three services, as it is run in production but for its tokens."""
    own = {"DATABASE_URL": database_url, "LOG_LEVEL": "WARNING", "SEED_DEMO_DATA": "false"}
    command = [sys.executable, "-m", name, "serve"]
    with server(command, folder, ready, **own | environment) as running:
        yield running


@contextmanager
def base(name: str, folder: Path, ready: str, **environment: str) -> Iterator[Server]:
    """Run one of the apps in `bench.bases` under uvicorn, with the settings that suit it best."""
    command = [sys.executable, "-m", "uvicorn", f"bench.bases.{name}:app", "--port", "{port}"]
    command += ["--no-access-log", "--log-level", "warning"]
    with server(command, folder, ready, **environment) as running:
        yield running


@contextmanager
def server(command: list[str], folder: Path, ready: str, **environment: str) -> Iterator[Server]:
    """Run a server; `{port}` in its command stands for the free port that it gets."""
    port = free_port()
    with (folder / "servers.log").open("ab") as log:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            env=bare_environment() | environment | {"PORT": str(port)},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Server(port, process)
        wait_until(lambda: answers(running, ready), f"{' '.join(command)} answers", process)
        yield running
    finally:
        process.terminate()
        process.wait(timeout=15)


def bare_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def wait_until(
    is_so: Callable[[], bool],
    what: str,
    process: subprocess.Popen[bytes] | None = None,
    pause: float = 0.002,
) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"It ended with {process.returncode} before this was so: {what}.")
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"This did not come to be: {what}.")
        time.sleep(pause)


def answers(running: Server, path: str, token: str = "") -> bool:
    connection = HTTPConnection("127.0.0.1", running.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == 200  # noqa: PLR2004
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and all that descend from it have taken so far."""
    while True:
        try:
            return sum(_ticks(one) for one in list(_family(pid))) / _TICK
        except (FileNotFoundError, ProcessLookupError):
            # A child has ended meanwhile, and its time is its parent's now.
            if not Path(f"/proc/{pid}").exists():
                raise


def _family(pid: int) -> Iterator[int]:
    """List a process and all that descend from it."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _family(int(child))


def _ticks(pid: int) -> int:
    # The name, which may hold anything, ends at the last bracket.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Its own, and that of the children that have ended: PostgreSQL has one for each connection.
    return sum(map(int, fields[11:15]))


def _memory_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/smaps_rollup names no Pss.")

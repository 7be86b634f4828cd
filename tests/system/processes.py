"""Starts services as processes of their own, and bounds every wait for them."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 40.0
NAP = 0.02


def until(
    condition: Callable[[], Any],
    what: str,
    *,
    seconds: float = PATIENCE,
    meanwhile: Callable[[], Any] | None = None,
) -> Any:
    """Wait for a condition, and return what made it true."""
    give_up_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"not within {seconds:g} s: {what}"
        if meanwhile is not None:
            meanwhile()
        time.sleep(NAP)
    return found


def status_of(pid: int) -> dict[str, str]:
    """Return what the kernel tells of a process, each by its name there."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def end(process: "Child", number: signal.Signals = signal.SIGKILL) -> int:
    """Send a signal to a process that runs, and return the exit code of one that has ended."""
    if process.poll() is None:
        os.kill(process.pid, number)
    return process.wait()


def bare_environment() -> dict[str, str]:
    """Return the little that a process needs: nothing of the developer's own settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


class Nursery:
    """Starts commands in a tenth of a second, off a process that has imported all: nursery.py.

    What runs is what `python -m SERVICE serve` runs; that would take two seconds each time.
    """

    def __init__(self, code: Path, library: Path | None = None) -> None:
        """Take the services' packages from a folder; the library is preloaded into each."""
        self._asking = threading.Lock()
        preload = {"LD_PRELOAD": str(library)} if library else {}
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py"), code],
            env=bare_environment() | preload,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is pytest's alone
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: Path,
        errors: Path,
        constants: Mapping[str, float] = {},
    ) -> "Child":
        """Fork off what `python -m` would run, for the files it writes to.

        `constants` take the place of the code's own ("module:NAME").
        """
        order: dict[str, Any] = {"command": [*command], "environment": dict(environment)}
        order |= {"folder": str(folder), "output": str(output), "errors": str(errors)}
        return Child(self, self.ask(order | {"constants": dict(constants)})["pid"])

    def run(self, command: str, environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
        """Run a printed `python -m …` in a folder. Returns its exit code and what it said."""
        output = folder / "output.txt"
        output.unlink(missing_ok=True)
        _, _, *arguments = shlex.split(command)
        code = self.start(arguments, environment, folder, output, output).wait(seconds=60)
        return code, output.read_text()

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answers, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            assert answers, "the nursery does not answer"
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Child:
    """A process of the nursery."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self._code: int | None = None
        self.pid = pid

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid})["status"]
        return self._code

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended. Returns the exit code."""
        until(lambda: self.poll() is not None, f"process {self.pid} ends", seconds=seconds)
        assert self._code is not None
        return self._code

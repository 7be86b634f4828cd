"""Runs a service's command, and kills this process with SIGKILL at one of the calls it makes.

    python -m tests.copies.killed SERVICE COMMAND …

KILL_AT is the number of the call, of a function in Python or in C, after which nothing more of it
happens; 0 kills nothing. What was called in all is written to the file CALLS. The numbers differ a
little from run to run, but not by how fast the machine is.
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


class Counter:
    def __init__(self, kill_at: int) -> None:
        self.calls = 0
        self._kill_at = kill_at

    def count(self, _frame: Any, event: str, _called: Any) -> None:
        if event in {"call", "c_call"}:
            self.calls += 1
            if self.calls == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def follow(self, event: str, _greenlets: Any) -> None:
        """Count in a greenlet too: each has a profile function of its own."""
        if event in {"switch", "throw"}:
            sys.setprofile(self.count)


# What a command would load while it runs: to die of an import shows nothing.
LOADED = (
    "alembic.command",
    "alembic.runtime.migration",
    "service_kit.database.copies.moving",
    "service_kit.database.postgres.database",
    "service_kit.process.copies",
    "service_kit.process.logs",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite",
)


def main() -> int:
    service, *command = sys.argv[1:]
    for module in (f"{service}.settings", f"{service}.copies", *LOADED):
        import_module(module)
    run = import_module(f"{service}.commands").main
    counter = Counter(int(os.environ["KILL_AT"]))
    import_module("greenlet").settrace(counter.follow)
    sys.setprofile(counter.count)
    code: int = run(command)
    sys.setprofile(None)
    Path(os.environ["CALLS"]).write_text(str(counter.calls))
    return code


if __name__ == "__main__":
    sys.exit(main())

"""What befalls a stack besides kills: silence, wrong clocks, older databases, a pause."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx

from tests.chaos.callers import Book
from tests.chaos.copies import Copies
from tests.chaos.database_link import DatabaseLink
from tests.chaos.faulty_link import Journal
from tests.chaos.operator import Operator
from tests.chaos.plan import RECOVERY_SECONDS, Plan
from tests.conftest import bearer
from tests.system.stack import GONE, Server, Stack

SILENCE = (0.5, 8.0)
PAUSE = (1.0, 4.0)
# In seconds, ahead or back; an Idempotency-Key is kept for longer than any two are apart.
JUMPS = (7, 90, 3600, 3 * 86_400)
CLOCK_OF_POSTGRESQL = "postgresql.clock"


class Trouble:
    """Makes one kind of trouble after another, in an order of chance, until each has been."""

    def __init__(
        self, stack: Stack, plan: Plan, book: Book, journal: Journal, clocks: Path
    ) -> None:
        """`clocks` is the folder of the files by which the clocks of the processes go."""
        self.happened: Counter[str] = Counter()
        self.copies = Copies(stack, clocks)
        self.operator = Operator(stack)
        self.database_links: dict[Server, DatabaseLink] = {}
        self._stack = stack
        self._book = book
        self._plan = plan
        self._journal = journal
        self._clocks = clocks
        self._chance = random.Random(f"{plan.seed}/trouble")
        self._left: list[Callable[[], str | None]] = []
        self._resume_at: float | None = None
        # Before then a CRM that is put back may have to wait for the recovery before.
        self._crm_again_at = 0.0

    def strike(self) -> None:
        kinds = {
            "mute": self._mute if self.database_links else None,
            "clocks": self._set_a_clock,
            "restores": self._restore,
            "pauses": self._pause,
        }
        if not self._left:
            self._left = [
                act for kind, act in kinds.items() if act is not None and kind in self._plan.kinds
            ]
            self._chance.shuffle(self._left)
        if self._left and (what := self._left.pop()()) is not None:
            self.happened[what] += 1
            self._journal.note(what)

    def tend(self, now: float) -> None:
        """Let them send again when it is time, and the operator do what a restore calls for."""
        self.operator.tend()
        if self._resume_at is not None and now >= self._resume_at and self._tell("resume"):
            self._resume_at, self._book.is_paused = None, False

    def end(self) -> bool:
        """Let them send, also where a copy was put back that was taken in a pause."""
        self._resume_at = None
        self._book.is_paused = False
        return self._tell("resume")

    def _tell(self, word: str) -> bool:
        for server in self._stack.servers:
            if server.service == self._stack.integration.service:
                with suppress(httpx.TransportError):
                    url = f"{server.url}/{word}"
                    if self._stack.client.post(url, headers=bearer("admin123")).is_success:
                        return True
        return False

    def _pause(self) -> str | None:
        if self._resume_at is not None or not self._tell("pause"):
            return None
        self._book.is_paused = True
        self._resume_at = time.monotonic() + self._chance.uniform(*PAUSE)
        return "pause"

    def _mute(self) -> str:
        server = self._chance.choice(list(self.database_links))
        self.database_links[server].fall_silent(self._chance.uniform(*SILENCE))
        return f"mute PostgreSQL: {server.name}"

    def _set_a_clock(self) -> str:
        names = [f"{server.name}.clock" for server in self._stack.servers]
        if not self._stack.crm.uses_sqlite:
            names.append(CLOCK_OF_POSTGRESQL)
        name = self._chance.choice(names)
        offset = self._chance.choice(JUMPS) * self._chance.choice((1, -1))
        (self._clocks / name).write_text(str(offset))
        return f"clock: {name.removesuffix('.clock')}"

    def _restore(self) -> str | None:
        """Take a copy, or put one back that was taken earlier."""
        server = self._chance.choice(self._stack.servers[:3])
        is_too_soon = server is self._stack.crm and time.monotonic() < self._crm_again_at
        try:
            if not self.copies.is_there(server) or is_too_soon:
                self.copies.take(server)
                return f"copy: {server.name}"
            self.copies.put_back(server)
        except (*GONE, asyncpg.PostgresError):
            return None  # the server of databases is just starting
        if server is self._stack.crm:
            self._crm_again_at = time.monotonic() + RECOVERY_SECONDS
        return f"restore: {server.name}"

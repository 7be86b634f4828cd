"""Kills the processes of a stack at random, and starts them again soon."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.chaos.faulty_link import Journal
from tests.chaos.plan import Plan
from tests.chaos.trouble import Trouble
from tests.system.processes import NAP, PATIENCE, bare_environment
from tests.system.stack import Server, Stack

BEFORE_RESTART = (0.0, 0.7)
BACKEND, TERMINATED = "PostgreSQL backend", "PostgreSQL backend, terminated"


class Naive:
    """The naive poller's process."""

    name = "naive poller"

    def __init__(self, crm_url: str, inventory_url: str) -> None:
        script = Path(__file__).with_name("naive_poller.py")
        self._command = [sys.executable, str(script), crm_url, inventory_url]
        self._process: subprocess.Popen[bytes] | None = None

    def restart(self) -> None:
        self.close()
        # Its complaints about a world that breaks are nobody's business.
        self._process = subprocess.Popen(
            self._command, env=bare_environment(), stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)


class Killer:
    """Strikes every second or so; who was struck is up again within another."""

    def __init__(
        self, stack: Stack, plan: Plan, journal: Journal, naive: Naive | None, trouble: Trouble
    ) -> None:
        self.kills: Counter[str] = Counter()
        # Who ended without having been killed: a bug.
        self.deserters: list[str] = []
        self._stack = stack
        self._chance = random.Random(f"{plan.seed}/killer")
        self._plan = plan
        self._journal = journal
        self._naive = naive
        self._trouble = trouble
        self._due: dict[Server, float] = {}

    def run(self, seconds: float) -> None:
        end_at = time.monotonic() + seconds
        next_at = time.monotonic() + self._chance.uniform(*self._plan.between_kills)
        while (now := time.monotonic()) < end_at:
            self.tend(now)
            if now >= next_at:
                if "kills" in self._plan.kinds:
                    self._strike(now)
                self._trouble.strike()
                next_at = now + self._chance.uniform(*self._plan.between_kills)
            time.sleep(NAP)

    def tend(self, now: float) -> None:
        """Start again whose time has come, and notice who ended by itself."""
        self._trouble.tend(now)
        for server in self._stack.servers:
            assert server.process is not None
            code = server.process.poll()
            if code is None:
                continue
            if code != -signal.SIGKILL:
                self.deserters.append(f"{server.name} ended with {code}:\n{server.tail()}")
            if now >= self._due.get(server, now):
                server.start()

    def _strike(self, now: float) -> None:
        victims: list[Server | str | Naive] = [*self._stack.servers]
        weights = [3.0, 3.0] + [3.0 / (len(victims) - 2)] * (len(victims) - 2)
        for n, server in enumerate(self._stack.servers):
            weights[n] *= 4 if server.service == self._plan.target else 1
        if not self._stack.crm.uses_sqlite:
            victims += [BACKEND, TERMINATED]
            weights += [1.5, 1.5]
        if self._naive is not None:
            victims.append(self._naive)
            weights.append(1.0)
        [victim] = self._chance.choices(victims, weights)
        pause = self._chance.uniform(*BEFORE_RESTART)
        if isinstance(victim, Naive):
            victim.restart()
        elif isinstance(victim, str):
            if not asyncio.run(self._strike_backend(victim)):
                return
        elif victim.is_dead:
            return
        else:
            os.kill(victim.pid, signal.SIGKILL)
            self._due[victim] = now + pause
        name = victim if isinstance(victim, str) else victim.name
        self.kills[name] += 1
        self._journal.note("kill", victim=name)

    async def _strike_backend(self, how: str) -> bool:
        """End one session of a service: by a word to the server, or with SIGKILL.

        The latter takes all others with it, since the server starts anew: it has to assume that the
        dead one has left its shared memory in disorder.
        """
        servers: Sequence[Server] = self._stack.servers
        try:
            connection = await asyncpg.connect(servers[0].database_url, timeout=PATIENCE)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False  # it is still starting
        try:
            names = [urlsplit(server.database_url).path.removeprefix("/") for server in servers]
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                " AND datname = ANY($1) AND pid <> pg_backend_pid() ORDER BY pid",
                names,
            )
            if not rows:
                return False
            pid = self._chance.choice(rows)["pid"]
            if how == BACKEND:
                os.kill(pid, signal.SIGKILL)
            else:
                await connection.execute("SELECT pg_terminate_backend($1)", pid)
        finally:
            connection.terminate()
        return True

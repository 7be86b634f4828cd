"""Tells the other processes on a PostgreSQL database of commits, and hears of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from service_kit.database.interface import Pulse

logger = logging.getLogger(__name__)

CHANNEL = "committed"
# Many commits, one notification: PostgreSQL lets only one transaction that notifies commit at a
# time, so it must not be part of each.
QUIET_SECONDS = 0.01
RECONNECT_SECONDS = 1.0


class Herald:
    """Beats a pulse when another process has committed.

    What it says is a hint to look again. While its connection is gone nothing is said, and whoever
    waits looks again by itself after a while.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], pulse: Pulse) -> None:
        self._connect = connect
        self._pulse = pulse
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="postgres-herald")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def announce(self) -> None:
        """Have the others told, soon."""
        self._news.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await self._connect()
                try:
                    await self._serve(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self, connection: asyncpg.Connection) -> None:
        own_pid = connection.get_server_pid()
        # A lost connection is noticed at the next announcement.
        connection.add_termination_listener(lambda _: self._news.set())

        def hear(_: object, pid: int, _channel: str, _payload: str) -> None:
            if pid != own_pid:
                self._pulse.beat()

        await connection.add_listener(CHANNEL, hear)
        while not connection.is_closed():
            await self._news.wait()
            self._news.clear()
            await connection.execute(f"NOTIFY {CHANNEL}")
            await asyncio.sleep(QUIET_SECONDS)

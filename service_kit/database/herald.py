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
# A server that is not heard for so long is asked, and has to answer.
SILENT_SECONDS = 10.0
ANSWER_SECONDS = 5.0
# What the driver raises when a connection breaks; the last one for a moment only.
BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Herald:
    """Beats a pulse when another process has committed. `run` goes on until it is cancelled.

    What it says is a hint to look again. While its connection is gone nothing is said, and whoever
    waits looks again by itself after a while.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], pulse: Pulse) -> None:
        self._connect = connect
        self._pulse = pulse
        self._news = asyncio.Event()

    def announce(self) -> None:
        """Have the others told, soon."""
        self._news.set()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(*BROKEN):
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

        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.add_listener(CHANNEL, hear)
        while not connection.is_closed():
            await connection.execute(await self._next_word(), timeout=ANSWER_SECONDS)
            await asyncio.sleep(QUIET_SECONDS)

    async def _next_word(self) -> str:
        """Wait for news to tell; where there is none, ask now and then whether anybody answers."""
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return "SELECT 1"
        self._news.clear()
        return f"NOTIFY {CHANNEL}"

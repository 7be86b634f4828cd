"""Tells the other processes on a PostgreSQL database about commits, and learns of theirs."""

import asyncio
import contextlib
import logging

import asyncpg

from service_kit.database.interface import Signal
from service_kit.database.postgres.connect import Connections

CHANNEL = "committed"
# One notification for many commits: PostgreSQL commits only one notifying transaction at a time, so
# NOTIFY must not be a part of each.
PAUSE_SECONDS = 0.01
RECONNECT_SECONDS = 1.0
# How long until a connection is tried again that a pooler shares with others.
POOLED_SECONDS = 60.0
# After so long without a commit the server is pinged, and must answer.
PING_SECONDS = 10.0
ANSWER_SECONDS = 5.0
# What the driver raises when a connection breaks.
BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

logger = logging.getLogger("service_kit")


class CommitNotifier:
    """Sets a signal when another process has committed. `run` goes on until it is cancelled.

    A notification is a hint to look again. While the connection is down, or where only a pooler
    can be reached, there are none, and waiting readers look again by themselves after a while.
    """

    def __init__(self, connections: Connections, signal: Signal) -> None:
        self._connections = connections
        self._signal = signal
        self._pending = asyncio.Event()
        self._has_said_so = False

    def notify(self) -> None:
        """Notify the other processes, soon."""
        self._pending.set()

    async def run(self) -> None:
        while True:
            pause = RECONNECT_SECONDS
            with contextlib.suppress(*BROKEN):
                connection = await self._connections.open()
                try:
                    if self._connections.is_pooled(connection):
                        self._say_so()
                        pause = POOLED_SECONDS
                    else:
                        await self._listen_and_notify(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(pause)

    def _say_so(self) -> None:
        if not self._has_said_so:
            logger.info(
                "PostgreSQL is behind a pooler, through which no process hears of the commits of "
                "others: it looks for them now and then. DATABASE_DIRECT_URL would let it hear."
            )
        self._has_said_so = True

    async def _listen_and_notify(self, connection: asyncpg.Connection) -> None:
        own_pid = connection.get_server_pid()
        # A lost connection is noticed by the statement that follows.
        connection.add_termination_listener(lambda _: self._pending.set())

        def on_notify(_: object, pid: int, _channel: str, _payload: str) -> None:
            if pid != own_pid:
                self._signal.set()

        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.add_listener(CHANNEL, on_notify)
        while not connection.is_closed():
            await connection.execute(await self._next_statement(), timeout=ANSWER_SECONDS)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _next_statement(self) -> str:
        """Wait for a commit to announce; without one, ping the server now and then."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._pending.wait()
        except TimeoutError:
            return "SELECT 1"
        self._pending.clear()
        return f"NOTIFY {CHANNEL}"

"""Runs SQL on the tests' PostgreSQL databases, from whatever a test is doing."""

import asyncio
import threading

import asyncpg

# What the driver raises of a connection whose session has ended.
GONE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


class Administrator:
    """Keeps a connection to each database: to open one takes twenty times as long as to empty it.

    They live in a thread, since a test's own loop may be running.
    """

    def __init__(self) -> None:
        self._connections: dict[str, asyncpg.Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, url: str, statements: str) -> None:
        """Run statements that may be run twice."""
        asyncio.run_coroutine_threadsafe(self._run(url, statements), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _run(self, url: str, statements: str) -> None:
        if (kept := self._connections.pop(url, None)) is not None:
            try:
                await kept.execute(statements)
            except GONE:  # some tests end all sessions of their database
                kept.terminate()
            else:
                self._connections[url] = kept
                return
        opened = self._connections[url] = await asyncpg.connect(url)
        await opened.execute(statements)

    async def _close(self) -> None:
        for connection in self._connections.values():
            connection.terminate()
        await asyncio.sleep(0)  # in which their sockets are closed

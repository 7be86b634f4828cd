"""A pool of connections in driver-level autocommit.

Checking a connection out of SQLAlchemy's pool, setting it to autocommit and putting it back takes
three times as long as a round trip to the server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import asyncpg
from pydantic_core import from_json
from sqlalchemy import Connection, ExceptionContext, NullPool, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service_kit.database.errors import DatabaseBusy
from service_kit.database.postgres import connect
from service_kit.database.prepared import FETCH

# How long a caller waits for a connection.
POOL_SECONDS = 5.0
# How long `close` waits for the server to confirm.
CLOSE_SECONDS = 1.0

T = TypeVar("T")


class PooledConnection(NamedTuple):
    """SQLAlchemy's connection, in autocommit, and the driver's connection under it.

    Behind a pooler `set_local` begins each transaction, and nothing runs outside of one.
    """

    core: AsyncConnection
    driver: asyncpg.Connection
    set_local: str | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run a work; each of its statements is a transaction of its own, but behind a pooler."""
        if self.set_local is not None:
            return await self.run_in_transaction(work)
        return await self.core.run_sync(work)

    async def run_in_transaction(self, work: Callable[[Connection], T], **options: Any) -> T:
        """Run a work between BEGIN and COMMIT, or ROLLBACK where it raises.

        `options` are asyncpg's own for a transaction: its isolation, and whether it only reads.
        """
        transaction = self.driver.transaction(**options)
        await transaction.start()
        try:
            if self.set_local is not None:
                await self.driver.execute(self.set_local)
            result = await self.core.run_sync(work)
        except BaseException:
            if not self.driver.is_closed():
                await transaction.rollback()
            raise
        await transaction.commit()
        return result


class AutocommitPool:
    """Lends up to `size` connections, the last used first, to callers in the order they came."""

    def __init__(self, connections: connect.Connections, size: int) -> None:
        self._connections = connections
        self._free = asyncio.Semaphore(size)
        self._idle: list[PooledConnection] = []
        self._is_closed = False
        self._opened: list[asyncpg.Connection] = []
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            creator=self._adapt_opened,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            json_deserializer=from_json,
            hide_parameters=True,
        )
        event.listen(self._engine.sync_engine, "handle_error", _keep_others)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PooledConnection]:
        """Lend a connection. Raises DatabaseBusy after five seconds in the queue."""
        await self._wait_for_turn()
        try:
            connection = await self._take()
            try:
                yield connection
            except asyncio.CancelledError:
                # The answer to its last statement is still to come, and may never.
                connection.driver.terminate()
                raise
            finally:
                await self._put_back(connection)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close all connections; a server that doesn't confirm is not waited for."""
        self._is_closed = True
        closing = [one.driver.close(timeout=CLOSE_SECONDS) for one in self._idle]
        await asyncio.gather(*closing, return_exceptions=True)
        while self._idle:
            await self._idle.pop().core.close()

    async def _wait_for_turn(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(POOL_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise DatabaseBusy("Every database connection is in use.") from None

    async def _take(self) -> PooledConnection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.driver.is_closed():
                return connection
            await connection.core.close()
        return await self._open()

    async def _open(self) -> PooledConnection:
        driver = await self._connections.open()
        is_pooled = self._connections.is_pooled(driver)
        self._opened.append(driver)
        seconds = connect.CONNECT_SECONDS
        # Until the new connection has answered SQLAlchemy's questions about its server.
        deadline = asyncio.get_running_loop().call_later(
            seconds, connect.terminate_unresponsive, driver, seconds
        )
        try:
            core = await self._engine.connect()
        except BaseException:
            driver.terminate()
            raise
        finally:
            deadline.cancel()
        adapted: Any = (await core.get_raw_connection()).dbapi_connection

        def fetch(sql: str, given: Sequence[Any]) -> Sequence[Sequence[Any]]:
            found: Sequence[Sequence[Any]]
            found = adapted.run_async(lambda driver: driver.fetch(sql, *given))
            return found

        await core.execution_options(**{FETCH: fetch})
        return PooledConnection(core, driver, self._connections.set_local if is_pooled else None)

    def _adapt_opened(self) -> Any:
        """Do what SQLAlchemy does with an `async_creator`, to which it passes no arguments.

        Behind a pooler it keeps no statements: no session has them prepared, so none would report
        that their tables have changed.
        """
        is_pooled = self._connections.is_pooled(self._opened[-1])
        dbapi: Any = self._engine.dialect.dbapi
        return dbapi.connect(
            async_creator_fn=self._take_opened,
            prepared_statement_cache_size=0 if is_pooled else connect.KEPT_STATEMENTS,
        )

    async def _take_opened(self) -> asyncpg.Connection:
        return self._opened.pop()  # SQLAlchemy asks for it before anything else runs

    async def _put_back(self, connection: PooledConnection) -> None:
        if not connection.driver.is_closed() and not self._is_closed:
            self._idle.append(connection)
            return
        await connection.core.close()
        # What ended this one, such as a restart of the server, may have ended the idle ones too.
        while self._idle:
            other = self._idle.pop()
            other.driver.terminate()
            await other.core.close()


def _keep_others(context: ExceptionContext) -> None:
    """Let SQLAlchemy's pool, which keeps none, not compare the age of new connections.

    After one broke it would do so by the time of day, and refuse all new ones for as long as a
    clock was set back.
    """
    context.invalidate_pool_on_disconnect = False

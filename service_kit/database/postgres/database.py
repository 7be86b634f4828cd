"""PostgreSQL: asyncpg under SQLAlchemy Core; each write is a transaction of its own."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from sqlalchemy import Connection

from service_kit.database.errors import (
    DatabaseBusy,
    DurabilityMissing,
    is_conflict,
    is_standby,
    is_unavailable,
    origin,
    raise_unavailable,
)
from service_kit.database.interface import Database, P, T, Work
from service_kit.database.postgres.connect import Connections, terminate_unresponsive
from service_kit.database.postgres.notify import CommitNotifier
from service_kit.database.postgres.pool import AutocommitPool, PooledConnection
from service_kit.database.postgres.sessions import is_lock_timeout, terminate_stalled

CONFLICT_TRIES = 8
# How long a unit of work may take once it has a connection; longer than a statement may.
WORK_SECONDS = 15.0
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")

logger = logging.getLogger("service_kit")

Run = Callable[[PooledConnection], Awaitable[T]]


class PostgresDatabase(Database):
    """A pool of connections; any number of processes may share the server.

    `direct_url` leads to it past a pooler, for what needs a session of its own.
    """

    def __init__(
        self, url: str, name: str, *, pool_size: int, direct_url: str | None = None
    ) -> None:
        super().__init__()
        self._connections = Connections(url, name)
        self._direct = Connections(direct_url, name) if direct_url else self._connections
        self._pool = AutocommitPool(self._connections, pool_size)
        self._notifier = CommitNotifier(self._direct, self.committed)
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        if off := await self.read(_switched_off):
            raise DurabilityMissing(f"PostgreSQL runs with {off}=off.")
        self.watch_task(self._notifier.run(), "The listener for commits of other processes")

    async def close(self) -> None:
        self._closing = True
        await self.cancel_tasks()
        if self._writes:
            await asyncio.wait(self._writes)
        await self._pool.close()

    def abort(self) -> None:
        super().abort()
        self._connections.terminate_all()
        self._direct.terminate_all()

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.check_open()
        try:
            return await self._run(lambda connection: connection.run(_bind(work, args, kwargs)))
        except Exception as error:
            raise_unavailable(error)
            raise

    scan = read

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        bound = _bind(work, args, kwargs)
        return await self._write_shielded(lambda connection: connection.run_in_transaction(bound))

    async def write_autocommit(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        bound = _bind(work, args, kwargs)
        return await self._write_shielded(lambda connection: connection.run(bound))

    @staticmethod
    def _trial_write(db: Connection) -> None:
        # Anything smaller allocates no block, as the write that failed did.
        db.exec_driver_sql("CREATE TEMPORARY TABLE trial ON COMMIT DROP AS SELECT 1 AS one")

    async def _write_shielded(self, run: Run[T]) -> T:
        """Write in a task of its own: a caller that goes away must not cut a commit in half."""
        self.check_open()
        task = asyncio.create_task(self._write(run))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _write(self, run: Run[T]) -> T:
        """Run a work, again after a serialization failure or a deadlock."""
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                result = await self._run(run)
            except Exception as error:
                if not is_conflict(error):
                    self._refuses_writes = is_unavailable(error)
                    if is_lock_timeout(error):
                        await self.read(terminate_stalled)
                    raise_unavailable(error)
                    raise
                if attempt == CONFLICT_TRIES:
                    raise DatabaseBusy("Too many others change the same thing.") from error
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311
            else:
                self._refuses_writes = False
                self.committed.set()
                self._notifier.notify()
                return result
        raise AssertionError("the last try returns or raises")

    async def _run(self, run: Run[T]) -> T:
        """Run a work on one of the pool's connections.

        A connection whose prepared statements are outdated by a change of a table is dropped, and
        the work is run again on another. That may be as old, but a new one is not. One to a server
        that is no longer the primary is dropped too; the next one may lead to the new primary.
        """
        loop = asyncio.get_running_loop()
        while True:
            async with self._pool.connection() as connection:
                driver = connection.driver
                deadline = loop.call_later(
                    WORK_SECONDS, terminate_unresponsive, driver, WORK_SECONDS
                )
                try:
                    return await run(connection)
                except Exception as error:
                    if is_outdated(error) or is_standby(error):
                        driver.terminate()
                    if not is_outdated(error):
                        raise
                    logger.info("A table's columns have changed; the statement is run again.")
                finally:
                    deadline.cancel()


def _bind(work: Callable[..., T], args: Any, kwargs: Any) -> Callable[[Connection], T]:
    return lambda db: work(db, *args, **kwargs)


def is_outdated(error: BaseException) -> bool:
    """Return whether a prepared statement is older than a change of its table's columns.

    PostgreSQL raises it before it executes any of the statement.
    """
    return isinstance(origin(error), asyncpg.InvalidCachedStatementError)


def _switched_off(db: Connection) -> str | None:
    """Return the name of a setting with which the server may forget a commit, if there is one."""
    values = ((name, db.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in _DURABLE)
    return next((name for name, value in values if value == "off"), None)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a write whose caller has gone; asyncio would log it as never seen."""
    if not task.cancelled():
        task.exception()

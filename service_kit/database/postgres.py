"""PostgreSQL: asyncpg under SQLAlchemy Core; a transaction of its own for each write."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, Literal

import asyncpg
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import greenlet_spawn

from service_kit.database.connections import CONNECT_SECONDS, Connections, end_mute
from service_kit.database.errors import (
    DatabaseBusy,
    DurabilityMissing,
    explain,
    is_conflict,
    is_outdated,
    is_unavailable,
)
from service_kit.database.herald import Herald
from service_kit.database.interface import Database, P, T
from service_kit.database.kept import KeptConnections
from service_kit.database.stalled import end_stalled, keeps_others

Opening = Callable[[], AbstractContextManager[Connection]]

POOL_SECONDS = 5.0
CONFLICT_TRIES = 8
# How long a unit of work may take once it has a connection; longer than a statement may.
WORK_SECONDS = 15.0
# How long `close` waits for the server to say goodbye.
CLOSE_SECONDS = 1.0
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def postgres_engine(connections: Connections, *, pool_size: int) -> Engine:
    """Make an engine, to be used in greenlets of SQLAlchemy's (`greenlet_spawn`) alone.

    A caller waits at most five seconds for one of its connections. SQLAlchemy's AsyncEngine is the
    same with a cover that comes with the whole ORM: 7 MiB, and a tenth of a start.
    """
    unasked: dict[asyncpg.Connection, asyncio.TimerHandle] = {}

    async def open_one(*_args: Any, **_kwargs: Any) -> asyncpg.Connection:
        connection = await connections.open()
        unasked[connection] = asyncio.get_running_loop().call_later(
            CONNECT_SECONDS, end_mute, connection, CONNECT_SECONDS
        )
        return connection

    engine: Engine = create_engine(
        "postgresql+asyncpg://",
        creator=lambda: engine.dialect.loaded_dbapi.connect(async_creator_fn=open_one),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        pool_use_lifo=True,
        json_deserializer=from_json,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def has_answered(connection: Any, _record: object) -> None:
        # After what SQLAlchemy asks its first connection.
        unasked.pop(connection.driver_connection).cancel()

    return engine


async def dispose(engine: Engine, connections: Connections) -> None:
    """Close all connections; a server that doesn't say goodbye is not waited for."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await greenlet_spawn(engine.dispose)
    except TimeoutError:
        connections.end_all()


def driver_of(connection: Connection) -> asyncpg.Connection:
    return connection.connection.driver_connection


class _Turns(asyncio.Semaphore):
    """Has callers wait behind whoever came before: SQLAlchemy's pool lets others push in."""

    async def acquire(self) -> Literal[True]:
        if not self.locked():
            return await super().acquire()
        try:
            async with asyncio.timeout(POOL_SECONDS):
                return await super().acquire()
        except TimeoutError:
            raise DatabaseBusy("Every database connection is in use.") from None


class PostgresDatabase(Database):
    """A pool of connections; any number of processes may share the server."""

    def __init__(self, url: str, name: str, *, pool_size: int) -> None:
        super().__init__()
        self.url = url
        self._connections = Connections(url, name)
        self._engine = postgres_engine(self._connections, pool_size=pool_size)
        self._turns = _Turns(pool_size)
        # Statement by statement, each its own transaction: one round trip, not three.
        self._alone = KeptConnections(self._engine)
        self._herald = Herald(self._connections.open, self.committed)
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        if off := await self.read(_switched_off):
            raise DurabilityMissing(f"PostgreSQL runs with {off}=off.")
        self.keep_running(self._herald.run(), "The listener for commits of other processes")

    async def close(self) -> None:
        self._closing = True
        await self.end_tasks()
        if self._writes:
            await asyncio.wait(self._writes)
        await greenlet_spawn(self._alone.close)
        await dispose(self._engine, self._connections)

    def give_up(self) -> None:
        super().give_up()
        self._connections.end_all()

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self.refuse_if_closing()
        try:
            async with self._turns:
                return await _run(self._alone.one, lambda db: work(db, *args, **kwargs))
        except Exception as error:
            _explain(error)
            raise

    scan = read

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._write(self._begin, lambda db: work(db, *args, **kwargs))

    async def write_at_once(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._write(self._alone.one, lambda db: work(db, *args, **kwargs))

    async def _write(self, opening: Opening, work: Callable[[Connection], T]) -> T:
        self.refuse_if_closing()
        # In a task of its own: a caller that goes away must not cut a commit in half.
        task = asyncio.create_task(self._transact(opening, work))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    def _begin(self) -> AbstractContextManager[Connection]:
        self._alone.make_room()
        return self._engine.begin()

    @staticmethod
    def _try_to_write(db: Connection) -> None:
        # Nothing smaller needs a block of its own, as what was refused did.
        db.exec_driver_sql("CREATE TEMPORARY TABLE trial ON COMMIT DROP AS SELECT 1 AS one")

    async def _transact(self, opening: Opening, work: Callable[[Connection], T]) -> T:
        for attempt in range(1, CONFLICT_TRIES + 1):
            try:
                async with self._turns:
                    result = await _run(opening, work)
            except Exception as error:
                if not is_conflict(error):
                    self._refuses_writes = is_unavailable(error)
                    if keeps_others(error):
                        await self.read(end_stalled)
                    _explain(error)
                    raise
                if attempt == CONFLICT_TRIES:
                    raise DatabaseBusy("Too many others change the same thing.") from error
                await asyncio.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311
            else:
                self._refuses_writes = False
                self.committed.beat()
                self._herald.announce()
                return result
        raise AssertionError("the last try answers or raises")


async def _run(opening: Opening, work: Callable[[Connection], T]) -> T:
    """Open a connection, run a work on it and close it in one greenlet; each costs a switch.

    A connection that knows a table as it was before a change is dropped, and the work is run again
    on another. Each may be as old, but a new one is not.
    """
    loop = asyncio.get_running_loop()

    def run() -> T:
        deadline: asyncio.TimerHandle | None = None
        try:
            with opening() as connection:
                driver = driver_of(connection)
                deadline = loop.call_later(WORK_SECONDS, end_mute, driver, WORK_SECONDS)
                try:
                    return work(connection)
                except Exception as error:
                    if is_outdated(error):
                        connection.invalidate()
                    raise
        finally:
            if deadline is not None:
                deadline.cancel()

    while True:
        try:
            return await greenlet_spawn(run)
        except Exception as error:
            if not is_outdated(error):
                raise


def _switched_off(db: Connection) -> str | None:
    """Name what would let the server forget a commit, if anything."""
    values = ((name, db.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in _DURABLE)
    return next((name for name, value in values if value == "off"), None)


def _explain(error: Exception) -> None:
    """Raise what the error means to a caller, where it means "later"."""
    if isinstance(error, PoolTimeout):
        raise DatabaseBusy("Every database connection is in use.") from error
    explain(error)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Look at the error, if any, of a write whose caller has gone, so that asyncio is content."""
    if not task.cancelled():
        task.exception()

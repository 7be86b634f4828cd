"""PostgreSQL: asyncpg under SQLAlchemy Core; a transaction of its own for each write."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Concatenate, Literal

import asyncpg
from pydantic_core import from_json
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import greenlet_spawn

from service_kit.database.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    DurabilityMissing,
    explain,
    is_conflict,
    is_unavailable,
)
from service_kit.database.herald import Herald
from service_kit.database.interface import Database, P, T
from service_kit.database.kept import KeptConnections
from service_kit.database.stalled import end_stalled, keeps_others

Opening = Callable[[], AbstractContextManager[Connection]]

CONNECT_SECONDS = 5.0
POOL_SECONDS = 5.0
CONFLICT_TRIES = 8
# No statement, lock or forgotten transaction may hold others for long (milliseconds).
SESSION = {
    "statement_timeout": "10000",
    "lock_timeout": "5000",
    # A work never waits for anything, so this is a process that was stopped; its locks are not to
    # keep whoever takes over from it.
    "idle_in_transaction_session_timeout": "10000",
    "timezone": "UTC",
}
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


def libpq_url(url: str) -> str:
    """Drop SQLAlchemy's driver name: `postgresql+psycopg://` and the like mean the same here."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


async def connect(url: str, **session: str) -> asyncpg.Connection:
    """Open one connection of its own; every libpq parameter of the URL (sslmode, …) counts."""
    try:
        return await asyncpg.connect(
            libpq_url(url), timeout=CONNECT_SECONDS, server_settings={**SESSION, **session}
        )
    except ValueError:
        # The driver's own words may hold a part of the password.
        raise ValueError(
            "DATABASE_URL is not a valid URL. Is a special character in it written as %XX?"
        ) from None


def postgres_engine(url: str, *, pool_size: int, **session: str) -> Engine:
    """Make an engine, to be used in greenlets of SQLAlchemy's (`greenlet_spawn`) alone.

    A caller waits at most five seconds for one of its connections. SQLAlchemy's AsyncEngine is the
    same with a cover that comes with the whole ORM: 7 MiB, and a tenth of a start.
    """

    async def open_one(*_args: Any, **_kwargs: Any) -> asyncpg.Connection:
        return await connect(url, **session)

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
    return engine


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

    def __init__(self, url: str, *, pool_size: int) -> None:
        super().__init__()
        self.url = url
        self._engine = postgres_engine(url, pool_size=pool_size)
        self._turns = _Turns(pool_size)
        # Statement by statement, each its own transaction: one round trip, not three.
        self._alone = KeptConnections(self._engine)
        self._herald = Herald(lambda: connect(url), self.committed)
        self._writes: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def open(self) -> None:
        if off := await self.read(_switched_off):
            raise DurabilityMissing(f"PostgreSQL runs with {off}=off.")
        self._herald.start()

    async def close(self) -> None:
        self._closing = True
        if self._writes:
            await asyncio.wait(self._writes)
        await self._herald.stop()
        await greenlet_spawn(self._alone.close)
        await greenlet_spawn(self._engine.dispose)

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._refuse_if_closing()
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
        self._refuse_if_closing()
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

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise DatabaseUnavailable("The service is stopping.")

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
    """Open a connection, run a work on it and close it in one greenlet; each costs a switch."""

    def run() -> T:
        with opening() as connection:
            return work(connection)

    return await greenlet_spawn(run)


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

"""The verbs, and the choice of an engine by its URL."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, text

from service_kit.database.errors import DatabaseUnavailable

# Within the time that probes wait for /health/ready.
PING_SECONDS = 3.0

logger = logging.getLogger("service_kit")

P = ParamSpec("P")
T = TypeVar("T")


class Pulse:
    """Wakes everyone who waits, each time it beats. A hint to look again, never the news itself."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def beat(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    def next(self) -> asyncio.Future[None]:
        """Return what is done at the next beat. Take it before looking, wait for it after."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next


class Database(ABC):
    """One engine, and all of its policy on concurrency."""

    def __init__(self) -> None:
        # Beats after each commit of this process, and on PostgreSQL soon after those of others.
        self.committed = Pulse()
        # Told when a task of the database's own has ended by itself, and so nothing works any more.
        self.on_failure: Callable[[asyncio.Task[None]], None] = log_failure
        # Whether the last change failed because of the database; a full disk still lets one read.
        self._refuses_writes = False
        self._closing = False
        self._has_failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises DurabilityMissing where the engine may forget what it has committed."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then let go of every connection."""

    def give_up(self) -> None:
        """Accept nothing more, and let nobody wait any longer for a server that doesn't answer."""
        self._closing = True

    @abstractmethod
    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a short reading work, each of its statements on what is committed by then."""

    @abstractmethod
    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a changing work, all of it or nothing, and return after its commit.

        Raises what the work raised, or DatabaseUnavailable when nothing was changed or, after a
        lost connection, when nobody can say; an answer of any other kind is durable.
        """

    async def write_at_once(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a work that changes with one statement, after which it only reads, as `write` does.

        The statement may be the transaction, with no BEGIN before and no COMMIT after it.
        """
        return await self.write(work, *args, **kwargs)

    async def forget(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a work that erases something, as `write` does, and leave no older copy of it.

        On PostgreSQL older copies go at the server's next vacuum, and out of its own journal as it
        is set to keep that.
        """
        return await self.write(work, *args, **kwargs)

    @abstractmethod
    async def scan(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a reading work that may be long, out of everyone's way, for ten seconds at most."""

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless a statement can be answered.

        After a change that failed one has to succeed as well, if only a trial: without traffic
        nobody else would find out that there is room again.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self.read(_select_one)
                if self._refuses_writes:
                    await self.write(self._try_to_write)
        except TimeoutError:
            raise DatabaseUnavailable(f"It does not answer within {PING_SECONDS:g} s.") from None

    @staticmethod
    @abstractmethod
    def _try_to_write(db: Connection) -> None:
        """Change something that nobody sees, and that needs room."""

    def refuse_if_closing(self) -> None:
        if self._has_failed:
            raise DatabaseUnavailable("A part of the service has failed.")
        if self._closing:
            raise DatabaseUnavailable("The service is stopping.")

    def keep_running(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run what the database can't do without, until `close`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    async def end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not self._closing:
            self._has_failed = True
            self.on_failure(task)


def open_database(url: str, name: str = "crmsys", *, pool_size: int = 20) -> Database:
    """Choose the engine for a `sqlite:///…` or `postgresql://…` URL. Nothing is connected yet.

    The service's name is what PostgreSQL shows as the application of its connections.
    """
    if url.startswith("sqlite:"):
        from service_kit.database.sqlite import SqliteDatabase

        return SqliteDatabase(url)
    from service_kit.database.postgres import PostgresDatabase

    return PostgresDatabase(url, name, pool_size=pool_size)


def log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    logger.error("%s has ended by itself.", task.get_name(), exc_info=error)


def _select_one(db: Connection) -> None:
    db.execute(text("SELECT 1"))

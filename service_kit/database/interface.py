"""What a database can do, whichever engine is below."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, text

from service_kit.database.errors import DatabaseUnavailable

# Less than probes of /health/ready wait.
PING_SECONDS = 3.0

logger = logging.getLogger("service_kit")

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Connection, P], T]


class Signal:
    """Wakes all who wait, each time it is set. A hint to look again, never the news itself."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def set(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    def next(self) -> asyncio.Future[None]:
        """Return a future of the next time. Take it before looking, await it after."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next


class Database(ABC):
    """One engine, with its whole concurrency policy."""

    def __init__(self) -> None:
        # Set after each commit of this process and, on PostgreSQL, soon after those of others.
        self.committed = Signal()
        # Called when a task of the database's own has ended by itself; nothing works any more then.
        self.on_failure: Callable[[asyncio.Task[None]], None] = log_failure
        # Whether the database failed the last write; a full disk, for one, still allows reads.
        self._refuses_writes = False
        self._closing = False
        self._has_failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises DurabilityMissing where the engine may forget what it has committed."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted, then close every connection."""

    def abort(self) -> None:
        """Refuse new work, and fail at once what waits for a server that doesn't answer."""
        self._closing = True

    @abstractmethod
    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a short reading work. Each of its statements sees what is committed by then."""

    @abstractmethod
    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a changing work in a transaction, and return after its commit.

        Raises what the work raised, or DatabaseUnavailable when nothing was changed or, after a
        lost connection, when the outcome is unknown. What it returns is durable.
        """

    async def write_autocommit(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same for a work whose first statement is its only change; then it may read.

        On PostgreSQL each statement is its own transaction, which saves BEGIN and COMMIT: a second
        change would stay undone, or stand alone, after a failure between the two.
        """
        return await self.write(work, *args, **kwargs)

    async def erase(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a work that deletes something, as `write` does, and leave no older copy of it.

        On PostgreSQL older copies go with the server's next vacuum, and from its own journal as
        that is configured.
        """
        return await self.write(work, *args, **kwargs)

    @abstractmethod
    async def scan(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a reading work that may be long, without holding up others, for at most 10 s."""

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless a statement is answered.

        After a failed write a trial write must succeed too: without traffic nobody else would find
        out that there is room again.
        """
        ping = asyncio.create_task(self._ping())
        try:
            # Not `asyncio.timeout`: SQLAlchemy takes two seconds to end a cancelled statement.
            if not (await asyncio.wait([ping], timeout=PING_SECONDS))[0]:
                raise DatabaseUnavailable(f"It does not answer within {PING_SECONDS:g} s.")
            ping.result()
        finally:
            ping.cancel()

    async def _ping(self) -> None:
        await self.read(_select_one)
        if self._refuses_writes:
            await self.write(self._trial_write)

    @staticmethod
    @abstractmethod
    def _trial_write(db: Connection) -> None:
        """Change something that nobody sees, and that needs room on the disk."""

    def check_open(self) -> None:
        """Raise DatabaseUnavailable where no work is accepted any more."""
        if self._has_failed:
            raise DatabaseUnavailable("A part of the service has failed.")
        if self._closing:
            raise DatabaseUnavailable("The service is stopping.")

    def watch_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task that the database can't do without, until `close`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    async def cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not self._closing:
            self._has_failed = True
            self.on_failure(task)


def log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    logger.error("%s has ended by itself.", task.get_name(), exc_info=error)


def _select_one(db: Connection) -> None:
    db.execute(text("SELECT 1"))

"""Machines that can be killed at any statement, and disks that survive and can be put back."""

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import Connection, ExceptionContext, create_engine, event
from sqlalchemy.pool import NullPool

from service_kit.database import Database, DatabaseUnavailable

if TYPE_CHECKING:
    from tests.simulation.world import World

# The process that the code which runs just now belongs to.
PROCESS: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")


class Killed(BaseException):
    """The process ends here; nothing of ours gets to handle it."""


class Process:
    """A running copy of a service: its tasks, and when it dies."""

    def __init__(self, world: "World", service: str, name: str) -> None:
        self.world = world
        self.service = service
        self.name = name
        self.clock = world.clocks[service]
        self.database = SimulatedDatabase(world.disks[service], self)
        self.is_alive = True
        # After how many statements and commits it is to die; None for never.
        self.dies_after: int | None = None
        self.down_seconds = 1.0
        self.at_death: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process; what it starts in turn belongs to the process as well."""
        task = self.world.loop.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def carry_out(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run what somebody asks of this process, and wait until it has ended or failed."""
        await asyncio.gather(self.start(work), return_exceptions=True)

    def check(self) -> None:
        """Let nothing of a dead process have an effect. Raises Killed."""
        if not self.is_alive:
            raise Killed

    def tick(self) -> None:
        """Come one step nearer to a death that is in store. Raises Killed when it has come."""
        self.check()
        if self.dies_after is None:
            return
        self.dies_after -= 1
        if self.dies_after < 0:
            self.kill()
            raise Killed

    def kill(self) -> None:
        """Die as by SIGKILL. What this leaves is on the disk."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.world.note(f"{self.name} is killed")
        for task in sorted(self._tasks, key=hash):
            if task is not asyncio.current_task():
                task.cancel()
        for act in self.at_death:
            act()
        self.world.has_died(self)


class Disk:
    """The database of one service: what is committed, whoever dies."""

    def __init__(self) -> None:
        # Kept from run to run: it compiles each statement once.
        self._engine = create_engine(
            "sqlite://",
            creator=lambda: self._driver,
            poolclass=NullPool,
            json_deserializer=from_json,
        )
        event.listen(self._engine, "handle_error", _keep_connected)
        self._connection: Connection | None = None

    def image(self) -> bytes:
        """Return all that is committed."""
        return self._driver.serialize()

    def put_back(self, image: bytes) -> None:
        """Make it as it was when this was its image.

        In a new connection, since SQLite's full-text search keeps pointers into the old image.
        """
        if self._connection is not None:
            self._connection.close()
        self._driver = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=512, factory=_Driver
        )
        self._driver.deserialize(image)
        self._driver.execute("PRAGMA foreign_keys = ON")
        self._driver.execute("PRAGMA secure_delete = ON")
        self._connection = self._engine.connect()
        self._connection.begin()

    @property
    def changes(self) -> int:
        return self._driver.total_changes

    def rows(self, statement: str) -> list[Any]:
        """Look at it from outside, without any process."""
        return self._driver.execute(statement).fetchall()

    def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return work(self._connection, *args, **kwargs)

    def write(self, process: Process, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a transaction, which is all there or not at all, wherever the process dies."""
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection, *args, **kwargs)
            process.tick()
            self._driver.execute("COMMIT")
        except BaseException:
            self._driver.execute("ROLLBACK")
            # Whatever savepoints were open are gone with it.
            if (transaction := self._connection.get_transaction()) is not None:
                transaction.rollback()
            self._connection.begin()
            raise
        process.tick()
        return result


class _Cursor(sqlite3.Cursor):
    """Where a process dies that is to die before a statement; what looks from outside has none."""

    def execute(self, *given: Any) -> sqlite3.Cursor:
        _before_statement()
        return super().execute(*given)

    def executemany(self, *given: Any) -> sqlite3.Cursor:
        _before_statement()
        return super().executemany(*given)


class _Driver(sqlite3.Connection):
    def cursor(self, *_: Any) -> sqlite3.Cursor:
        return super().cursor(_Cursor)


def _before_statement() -> None:
    if (process := PROCESS.get(None)) is not None:
        process.tick()


def _keep_connected(failed: ExceptionContext) -> None:
    """A process that dies in a statement takes its connection with it; the disk's is ours."""
    failed.is_disconnect = False


class SimulatedDatabase(Database):
    """A process's way to its disk: others get their turn before a commit, and before its answer."""

    def __init__(self, disk: Disk, process: Process) -> None:
        super().__init__()
        self._disk = disk
        self._process = process
        self.is_away = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._check()
        return self._disk.read(work, *args, **kwargs)

    async def scan(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._turn_of_others()
        return await self.read(work, *args, **kwargs)

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._check()
        await self._turn_of_others()
        self._check()
        result = self._disk.write(self._process, work, *args, **kwargs)
        self.committed.set()
        await self._turn_of_others()
        return result

    def _check(self) -> None:
        self._process.check()
        if self.is_away:
            raise DatabaseUnavailable("It is away.")

    async def _turn_of_others(self) -> None:
        await asyncio.sleep(self._process.world.chance.choice((0, 0, 0, 0.001, 0.05)))

    @staticmethod
    def _trial_write(db: Any) -> None:
        raise NotImplementedError

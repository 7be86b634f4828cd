"""Writes that share one transaction on SQLite, and so one flush to the disk."""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from service_kit.database.errors import translate
from service_kit.database.sqlite.connect import driver

# A group ends when it is full or has run this long, so that reads are never kept waiting.
GROUP_WRITES = 256
GROUP_SECONDS = 0.02


class QueuedWrite:
    """A work in the queue, its result, and the future that its caller awaits."""

    __slots__ = ("_context", "_error", "_result", "_work", "answer")

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, db: Connection) -> Exception | None:
        """Run the work. Returns its error, if it raised one."""
        self._result = self._error = None
        try:
            self._result = self._context.run(self._work, db)
        except Exception as error:  # noqa: BLE001 (its caller gets it)
            self._error = error
        return self._error

    def acknowledge(self) -> None:
        if self._error is not None:
            self.fail(self._error)
        elif not self.answer.done():
            self.answer.set_result(self._result)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it is answered or its caller has gone."""
        if not self.answer.done():
            self.answer.set_exception(translate(error))


class TransactionLost(Exception):
    """SQLite rolled the whole transaction back by itself, as it does on a full disk."""

    def __init__(self, reason: Exception | None) -> None:
        super().__init__()
        self.reason = reason or RuntimeError("A work ended the transaction of its group.")


class Group:
    """Writes from the queue that are committed together."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._driver = driver(db)
        self.writes: list[QueuedWrite] = []

    def run(self, queue: deque[QueuedWrite]) -> bool:
        """Take writes from the queue and run them. Returns False where they must be run apart.

        A work that fails does so before it has changed anything, but for a bug. So it has no
        savepoint, for which SQLite copies pages and flushes its search index. After a work that
        failed halfway the group is rolled back and run again, with savepoints.
        """
        end_at = time.monotonic() + GROUP_SECONDS
        while queue and len(self.writes) < GROUP_WRITES and time.monotonic() < end_at:
            write = queue.popleft()
            if write.answer.done():
                continue  # its caller went away
            self.writes.append(write)
            changes = self._driver.total_changes
            if not self._run(write) and self._driver.total_changes != changes:
                return False
        return True

    def run_in_savepoints(self) -> None:
        for write in self.writes:
            self._driver.execute("SAVEPOINT work")
            if not self._run(write):
                self._driver.execute("ROLLBACK TO work")
            self._driver.execute("RELEASE work")

    def acknowledge(self) -> None:
        for write in self.writes:
            write.acknowledge()

    def fail(self, error: Exception) -> None:
        """Answer everyone with an error, also those whose work succeeded or was refused."""
        for write in self.writes:
            write.fail(error)

    def _run(self, write: QueuedWrite) -> bool:
        error = write.run(self._db)
        if not self._driver.in_transaction:
            raise TransactionLost(error)
        return error is None

"""Works that share one transaction on SQLite, and so one flush to the disk."""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from service_kit.database.errors import meaning
from service_kit.database.sqlite_engine import driver

# A group ends when it is full or has run this long, so that reads are never kept waiting.
GROUP_WORKS = 256
GROUP_SECONDS = 0.02


class Waiting:
    """A work in the queue, what came of it, and whom to tell."""

    __slots__ = ("_context", "_refusal", "_result", "_work", "answer")

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, db: Connection) -> Exception | None:
        """Do the work. Returns why it failed, if it did."""
        self._result = self._refusal = None
        try:
            self._result = self._context.run(self._work, db)
        except Exception as error:  # noqa: BLE001 (its caller gets it)
            self._refusal = error
        return self._refusal

    def tell(self) -> None:
        if self._refusal is not None:
            self.fail(self._refusal)
        elif not self.answer.done():
            self.answer.set_result(self._result)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(meaning(error))


class GroupLost(Exception):
    """SQLite rolled the whole transaction back by itself, as it does on a full disk."""

    def __init__(self, lost_by: Exception | None) -> None:
        super().__init__()
        self.lost_by = lost_by or RuntimeError("A work ended the transaction of its group.")


class Group:
    """Some works of the queue."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._driver = driver(db)
        self._works: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._works)

    def take(self, waiting: Waiting) -> None:
        self._works.append(waiting)

    def run(self, queue: deque[Waiting]) -> bool:
        """Take works from the queue and do them. Returns False where something has to be undone.

        A work that fails does so before it has changed anything, but for a bug. So none has a
        savepoint of its own, for which SQLite copies pages and writes out its search index: after
        one that failed half-way all of them are undone, to be run apart.
        """
        end_at = time.monotonic() + GROUP_SECONDS
        while queue and len(self) < GROUP_WORKS and time.monotonic() < end_at:
            waiting = queue.popleft()
            if waiting.answer.done():
                continue  # the caller went away before its turn
            self.take(waiting)
            changes = self._driver.total_changes
            if not self._run(waiting) and self._driver.total_changes != changes:
                return False
        return True

    def run_apart(self) -> None:
        """Do the same works again, each in its own savepoint."""
        for waiting in self._works:
            self._driver.execute("SAVEPOINT work")
            if not self._run(waiting):
                self._driver.execute("ROLLBACK TO work")
            self._driver.execute("RELEASE work")

    def tell(self) -> None:
        for waiting in self._works:
            waiting.tell()

    def fail(self, error: Exception) -> None:
        """Tell everyone that it failed: what one would be told rests on the others."""
        for waiting in self._works:
            waiting.fail(error)

    def _run(self, waiting: Waiting) -> bool:
        refusal = waiting.run(self._db)
        if not self._driver.in_transaction:
            raise GroupLost(refusal)
        return refusal is None

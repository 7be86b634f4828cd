"""SQLite: reads in the event loop, writes in groups that share one flush to the disk."""

import asyncio
import contextvars
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate

from sqlalchemy import Connection

from service_kit.database.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    explain,
    is_unavailable,
    meaning,
)
from service_kit.database.interface import Database, P, T
from service_kit.database.sqlite_engine import (
    BUSY_SECONDS,
    direct,
    driver,
    file_of,
    note_file,
    sqlite_engine,
)
from service_kit.database.sqlite_files import DatabaseFiles, FilesChanged
from service_kit.database.sqlite_group import Group, GroupLost, Waiting
from service_kit.database.sqlite_journal import Journal

# WAL readers wait for nobody, but for a moment when another process recovers after a crash.
READ_BUSY_SECONDS = 1.0
SCAN_SECONDS = 10.0
SCAN_THREADS = 2
QUEUED_WORKS = 4096
# How often the files are looked at while nobody writes.
LOOK_SECONDS = 1.0

FAILED = DatabaseUnavailable("A part of the service has failed.")

logger = logging.getLogger("service_kit")


class SqliteDatabase(Database):
    """One reading connection, one writing one, and a few for scans."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._path = file_of(url)
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        # Why nothing can be written any more, once that is so.
        self._lost: FilesChanged | None = None
        self._is_saved = False
        self._is_open = False

    async def open(self) -> None:
        try:
            self._reading = sqlite_engine(
                self._path, query_only=True, busy_seconds=READ_BUSY_SECONDS
            ).connect()
            try:
                self._writing = sqlite_engine(self._path).connect()
            except Exception:
                self._reading.close()
                raise
            for connection in (self._reading, self._writing):
                _hand_over_transactions(connection)
            direct(self._reading)
            self._files = DatabaseFiles(self._path)
        except Exception as error:
            explain(error)
            raise
        self._scans = sqlite_engine(self._path, query_only=True, busy_seconds=BUSY_SECONDS)
        self._journal = Journal(self._path, self._files)
        self._commits = ThreadPoolExecutor(1, "sqlite-commit")
        self._scanners = ThreadPoolExecutor(SCAN_THREADS, "sqlite-scan")
        self._look()
        self.keep_running(self._write_groups(), "The writer of the SQLite database")
        self._is_open = True
        # A process that was killed may have erased something last.
        await self._journal.empty()

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        if not self._is_open:
            return
        self._is_open = False
        self._looking.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._journal.close()
        self._commits.shutdown()
        self._scanners.shutdown()
        self._reading.close()
        self._writing.close()

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self.refuse_if_closing()
        # In the loop itself: a look-up by key takes microseconds, a thread's hand-over costs more.
        try:
            return work(self._reading, *args, **kwargs)
        except Exception as error:
            explain(error)
            raise

    async def scan(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def run() -> T:
            give_up_at = time.monotonic() + SCAN_SECONDS
            try:
                # A new connection opens what is at the path, or makes it.
                self._files.check()
                with self._scans.connect() as connection:
                    scanner = driver(connection)
                    scanner.set_progress_handler(
                        lambda: self._closing or time.monotonic() > give_up_at, 10_000
                    )
                    return _in_snapshot(scanner, lambda: work(connection, *args, **kwargs))
            except Exception as error:
                note_file(error, self._path)
                explain(error)
                raise

        self.refuse_if_closing()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scanners, context.run, run)

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self.refuse_if_closing()
        if self._lost is not None:
            raise meaning(self._lost)
        if len(self._queue) >= QUEUED_WORKS:
            raise DatabaseBusy("Too many changes are waiting. Nothing was changed.")
        waiting = Waiting(lambda db: work(db, *args, **kwargs))
        self._queue.append(waiting)
        self._wake.set()
        answer: T = await waiting.answer
        return answer

    async def forget(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        result = await self.write(work, *args, **kwargs)
        await self._journal.empty()
        return result

    @staticmethod
    def _try_to_write(db: Connection) -> None:
        # The same number again still writes a page.
        number = db.exec_driver_sql("PRAGMA user_version").scalar_one()
        db.exec_driver_sql(f"PRAGMA user_version = {number}")

    async def _write_groups(self) -> None:
        try:
            while not self._closing or self._queue:
                await self._wake.wait()
                self._wake.clear()
                while self._queue and self._lost is None:
                    await self._write_group(Group(self._writing))
                if self._lost is not None and not self._is_saved:
                    self._is_saved = True
                    await self._save(self._lost)
        finally:
            self._has_failed = not self._closing
            self._refuse_queue(FAILED)

    async def _write_group(self, group: Group) -> None:
        try:
            await self._write_together(group)
        except BaseException:
            group.fail(FAILED)  # of a fault of our own
            raise

    async def _write_together(self, group: Group) -> None:
        try:
            await self._begin()
            if not group.run(self._queue):
                driver(self._writing).execute("ROLLBACK")
                await self._begin()
                group.run_apart()
            await self._commit(group)
        except Exception as error:  # noqa: BLE001 (each caller gets it)
            self._lose(group, error)

    async def _begin(self) -> None:
        """Take SQLite's one writer lock, without keeping the loop while another process has it."""
        give_up_at = time.monotonic() + BUSY_SECONDS
        pause = 0.001
        while True:
            try:
                driver(self._writing).execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.025)
            else:
                return

    async def _commit(self, group: Group) -> None:
        """Commit in a thread: most of a write is the flush; meanwhile the loop gathers the next."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def commit() -> None:
            try:
                driver(self._writing).execute("COMMIT")
            except Exception as error:  # noqa: BLE001 (it is raised below)
                loop.call_soon_threadsafe(done.set_exception, error)
            else:
                loop.call_soon_threadsafe(self._tell, group, done)

        self._commits.submit(commit)
        await done

    def _tell(self, group: Group, done: asyncio.Future[None]) -> None:
        # From here, not from what waits for it: a turn of a busy loop takes tens of milliseconds.
        try:
            self._files.check()
            self._refuses_writes = False
            self.committed.beat()
            group.tell()
        except Exception as error:  # noqa: BLE001 (the writer gets it)
            done.set_exception(error)
        else:
            done.set_result(None)

    def _lose(self, group: Group, error: Exception) -> None:
        """Roll back, and tell everyone in the group."""
        if isinstance(error, FilesChanged):
            self._lost = error
        _hand_over_transactions(self._writing)
        cause = error.lost_by if isinstance(error, GroupLost) else error
        note_file(cause, self._path)
        self._refuses_writes = is_unavailable(cause)
        group.fail(cause)
        if not len(group):
            # The lock was not to be had: whoever waited for it has waited long enough.
            self._refuse_queue(cause)

    def _refuse_queue(self, cause: Exception) -> None:
        while self._queue:
            self._queue.popleft().fail(cause)

    def _look(self) -> None:
        """Look at the files every second, so that an operator hears of it before a caller does."""
        try:
            self._files.look()
        except FilesChanged as error:
            self._lost = error
            self._refuses_writes = True
            self._wake.set()
        else:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    async def _save(self, lost: FilesChanged) -> None:
        """Say what has happened, and put aside what only this process can still see."""
        self._refuse_queue(lost)
        logger.error("%s Changes are refused until the service is started again.", lost)
        loop = asyncio.get_running_loop()
        try:
            copy = await loop.run_in_executor(
                self._commits, self._files.rescue, driver(self._writing)
            )
        except (OSError, sqlite3.Error) as error:
            logger.error("What was in the database could not be copied to a new file: %s", error)
        else:
            logger.error(
                "All that was acknowledged before is in %s. To go on with it, stop the service and "
                "move it to %s.",
                copy,
                self._path,
            )


def _in_snapshot(connection: sqlite3.Connection, work: Callable[[], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work()
    finally:
        connection.rollback()


def _hand_over_transactions(connection: Connection) -> None:
    """Have SQLAlchemy believe in one transaction without end, while we begin and end the real ones.

    Its own objects for them cost more than SQLite's work on a look-up by key.
    """
    if (transaction := connection.get_transaction()) is not None:
        transaction.rollback()
    connection.begin()

"""SQLite: reads in the event loop, writes in groups that share one flush to the disk."""

import asyncio
import contextvars
import logging
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service_kit.database.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    is_unavailable,
    raise_unavailable,
    sqlite_code,
    translate,
)
from service_kit.database.interface import Database, P, T, Work
from service_kit.database.sqlite.connect import (
    BUSY_SECONDS,
    driver,
    fetch_by_driver,
    file_of,
    note_file,
    sqlite_engine,
)
from service_kit.database.sqlite.files import DatabaseFiles, FilesChanged
from service_kit.database.sqlite.groups import Group, QueuedWrite, TransactionLost
from service_kit.database.sqlite.usage import FileUse

# WAL readers wait for nobody, except briefly while another process recovers after a crash.
READ_BUSY_SECONDS = 1.0
SCAN_SECONDS = 10.0
SCAN_THREADS = 2
QUEUED_WRITES = 4096
# How often the files are looked after while nobody writes.
CHECK_SECONDS = 1.0
# How long writers wait while the log waits for readers of older pages.
TRUNCATE_BUSY_SECONDS = 0.1

FAILED = DatabaseUnavailable("A part of the service has failed.")

logger = logging.getLogger("service_kit")


class SqliteDatabase(Database):
    """One connection for reads, one for writes, and one for each scan."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._path = file_of(url)
        self._queue: deque[QueuedWrite] = deque()
        self._wake = asyncio.Event()
        # Once set, nothing can be written any more.
        self._files_changed: FilesChanged | None = None
        self._is_rescued = False
        self._must_truncate = False
        self._is_open = False

    async def open(self) -> None:
        try:
            self._connect()
        except Exception as error:
            raise_unavailable(error)
            raise
        self._scans = sqlite_engine(self._path, query_only=True, busy_seconds=BUSY_SECONDS)
        self._checkpoints = sqlite_engine(self._path, busy_seconds=TRUNCATE_BUSY_SECONDS)
        self._commits = ThreadPoolExecutor(1, "sqlite-commit")
        self._scanners = ThreadPoolExecutor(SCAN_THREADS, "sqlite-scan")
        self._looking_after = self.watch_task(
            self._look_after_files(), "The watch over the SQLite files"
        )
        self.watch_task(self._write_groups(), "The writer of the SQLite database")
        self._is_open = True
        # A process that was killed may have erased something last.
        await self._truncate_log()

    def _connect(self) -> None:
        with ExitStack() as unless_connected:
            self._use = unless_connected.enter_context(FileUse(self._path))
            reads = sqlite_engine(self._path, query_only=True, busy_seconds=READ_BUSY_SECONDS)
            self._reading = unless_connected.enter_context(reads.connect())
            self._writing = unless_connected.enter_context(sqlite_engine(self._path).connect())
            fetch_by_driver(self._reading)
            self._files = DatabaseFiles(self._path)
            unless_connected.pop_all()

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        if not self._is_open:
            return
        self._is_open = False
        self._looking_after.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._commits.shutdown()
        self._scanners.shutdown()
        self._reading.close()
        self._writing.close()
        self._use.release()

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.check_open()
        # In the event loop: a look-up by key takes microseconds, handing it to a thread more.
        try:
            return work(self._reading, *args, **kwargs)
        except Exception as error:
            raise_unavailable(error)
            raise

    async def scan(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def run() -> T:
            give_up_at = time.monotonic() + SCAN_SECONDS
            try:
                # A new connection opens, or creates, whatever is at the path.
                self._files.check()
                with self._scans.connect() as connection:
                    scanner = driver(connection)
                    scanner.set_progress_handler(
                        lambda: self._closing or time.monotonic() > give_up_at, 10_000
                    )
                    scanner.execute("BEGIN")  # one snapshot; closing ends it
                    return work(connection, *args, **kwargs)
            except Exception as error:
                note_file(error, self._path)
                raise_unavailable(error)
                raise

        self.check_open()
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scanners, context.run, run)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.check_open()
        if self._files_changed is not None:
            raise translate(self._files_changed)
        if len(self._queue) >= QUEUED_WRITES:
            raise DatabaseBusy("Too many changes are waiting. Nothing was changed.")
        write = QueuedWrite(lambda db: work(db, *args, **kwargs))
        self._queue.append(write)
        self._wake.set()
        answer: T = await write.answer
        return answer

    async def erase(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        result = await self.write(work, *args, **kwargs)
        await self._truncate_log()
        return result

    @staticmethod
    def _trial_write(db: Connection) -> None:
        # Setting the same number still writes a page.
        number = db.exec_driver_sql("PRAGMA user_version").scalar_one()
        db.exec_driver_sql(f"PRAGMA user_version = {number}")

    async def _truncate_log(self) -> None:
        """Move the write-ahead log, which keeps pages as they were before a change, into the file.

        While a reader still needs older pages this is tried again every second.
        """
        self._must_truncate = not await asyncio.to_thread(self._try_to_truncate)

    def _try_to_truncate(self) -> bool:
        try:
            self._files.check()
            with self._checkpoints.connect() as connection:
                row = driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (DBAPIError, sqlite3.Error, OSError):
            return False  # a full disk, for one, which every write reports
        return bool(row[0] == 0)

    async def _write_groups(self) -> None:
        try:
            while not self._closing or self._queue:
                await self._wake.wait()
                self._wake.clear()
                while self._queue and self._files_changed is None:
                    await self._write_group(Group(self._writing))
                if self._files_changed is not None and not self._is_rescued:
                    self._is_rescued = True
                    await self._rescue(self._files_changed)
        finally:
            self._has_failed = not self._closing
            self._fail_queue(FAILED)

    async def _write_group(self, group: Group) -> None:
        try:
            await self._begin()
            if not group.run(self._queue):
                self._roll_back()
                await self._begin()
                group.run_in_savepoints()
            await self._commit(group)
        except Exception as error:  # noqa: BLE001 (each caller gets it)
            self._fail_group(group, error)
        finally:
            group.fail(FAILED)  # whoever has no answer by now, because of a bug of ours

    async def _begin(self) -> None:
        """Take SQLite's write lock, without blocking the loop while another process has it."""
        give_up_at = time.monotonic() + BUSY_SECONDS
        pause = 0.001
        while True:
            try:
                driver(self._writing).execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if sqlite_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.025)
            else:
                return

    def _roll_back(self) -> None:
        self._writing.rollback()  # SQLAlchemy's own state
        driver(self._writing).rollback()

    async def _commit(self, group: Group) -> None:
        """Commit in a thread: the flush is most of a write; meanwhile the loop queues the next."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def commit() -> None:
            failed: Exception | None = None
            try:
                driver(self._writing).execute("COMMIT")
            except Exception as error:  # noqa: BLE001 (`done` gets it)
                failed = error
            loop.call_soon_threadsafe(self._acknowledge, group, done, failed)

        self._commits.submit(commit)
        await done

    def _acknowledge(
        self, group: Group, done: asyncio.Future[None], failed: Exception | None
    ) -> None:
        """Answer a group; awaiting `done` first would take another turn of the event loop."""
        if failed is not None:
            done.set_exception(failed)
            return
        try:
            self._files.check()
            self._refuses_writes = False
            self.committed.set()
            group.acknowledge()
        except Exception as error:  # noqa: BLE001 (the writer gets it)
            done.set_exception(error)
        else:
            done.set_result(None)

    def _fail_group(self, group: Group, error: Exception) -> None:
        """Roll back, and answer everyone in the group with the error."""
        if isinstance(error, FilesChanged):
            self._files_changed = error
        self._roll_back()
        cause = error.reason if isinstance(error, TransactionLost) else error
        note_file(cause, self._path)
        self._refuses_writes = is_unavailable(cause)
        group.fail(cause)
        if not group.writes:
            # The lock was not available: the rest of the queue has waited for it as long.
            self._fail_queue(cause)

    def _fail_queue(self, cause: Exception) -> None:
        while self._queue:
            self._queue.popleft().fail(cause)

    async def _look_after_files(self) -> None:
        """Check the files every second, so that a change is noticed before a caller meets it."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self._files_changed is not None:
                continue  # there is nothing left to look after; reads go on
            try:
                self._files.check()
            except FilesChanged as error:
                self._files_changed = error
                self._refuses_writes = True
                self._wake.set()
            if self._must_truncate:
                await self._truncate_log()

    async def _rescue(self, changed: FilesChanged) -> None:
        """Log what has happened, and copy what only this process can still see."""
        self._fail_queue(changed)
        logger.error("%s Changes are refused until the service is started again.", changed)
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

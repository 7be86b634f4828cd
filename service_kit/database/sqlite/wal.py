"""SQLite's write-ahead log (the `-wal` file), which keeps pages as they were before a change."""

import asyncio
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from service_kit.database.sqlite.connect import driver, sqlite_engine
from service_kit.database.sqlite.files import DatabaseFiles

# Writers wait as long while a checkpoint waits for readers of older pages.
BUSY_SECONDS = 0.1
RETRY_SECONDS = 1.0


class WriteAheadLog:
    """Truncates the log when data was erased; otherwise SQLite does so at the last clean stop."""

    def __init__(self, path: Path, files: DatabaseFiles) -> None:
        self._files = files
        self._engine = sqlite_engine(path, busy_seconds=BUSY_SECONDS)
        self._retrying: asyncio.Task[None] | None = None

    async def truncate(self) -> None:
        """Move the whole log into the database file and truncate it.

        While a reader still needs older pages this is tried again in the background.
        """
        if await asyncio.to_thread(self._try_to_truncate):
            return
        if self._retrying is None or self._retrying.done():
            self._retrying = asyncio.create_task(self._retry(), name="sqlite-wal")

    async def close(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)

    async def _retry(self) -> None:
        is_done = False
        while not is_done:
            await asyncio.sleep(RETRY_SECONDS)
            is_done = await asyncio.to_thread(self._try_to_truncate)

    def _try_to_truncate(self) -> bool:
        try:
            # A new connection opens, or creates, whatever is at the path.
            self._files.check()
            with self._engine.connect() as connection:
                row = driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (DBAPIError, sqlite3.Error, OSError):
            return False  # a full disk, for one, which every write reports
        return bool(row[0] == 0)

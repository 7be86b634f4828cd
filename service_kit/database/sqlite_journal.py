"""The journal of a SQLite file (its `-wal`), which keeps pages as they were before they changed."""

import asyncio
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from service_kit.database.sqlite_engine import driver, sqlite_engine
from service_kit.database.sqlite_files import DatabaseFiles

# Whoever writes waits as long while readers of older pages are waited for.
BUSY_SECONDS = 0.1
PAUSE_SECONDS = 1.0


class Journal:
    """Empties it when it holds what is to be forgotten; else SQLite does at the last clean stop."""

    def __init__(self, path: Path, files: DatabaseFiles) -> None:
        self._files = files
        self._engine = sqlite_engine(path, busy_seconds=BUSY_SECONDS)
        self._later: asyncio.Task[None] | None = None

    async def empty(self) -> None:
        """Move all of it into the file and cut it to no length.

        Where somebody reads what is older this is tried again, in nobody's time, until it is done.
        """
        if await asyncio.to_thread(self._try_to_empty):
            return
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._empty_later(), name="sqlite-journal")

    async def close(self) -> None:
        if self._later is not None:
            self._later.cancel()
            await asyncio.gather(self._later, return_exceptions=True)

    async def _empty_later(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if await asyncio.to_thread(self._try_to_empty):
                return

    def _try_to_empty(self) -> bool:
        try:
            # A new connection opens what is at the path, or makes it.
            self._files.check()
            with self._engine.connect() as connection:
                row = driver(connection).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (DBAPIError, sqlite3.Error, OSError):
            return False  # a full disk, say, of which every write tells
        return bool(row[0] == 0)

"""Notices when a SQLite database's files are no longer those that its connections have open.

SQLite goes on with files that were removed or replaced, and what it writes to them is lost with its
last connection. The log beside the database (-wal) and its index (-shm) are part of it.
"""

import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from service_kit.database.sqlite.connect import make_file

PAGES_AT_ONCE = 1000


class FilesChanged(OSError):
    """Says which files were removed or replaced."""


class DatabaseFiles:
    """The three files of a database, as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        # The log stands beside the file that a symbolic link leads to.
        target = path.resolve()
        paths = (str(path), f"{target}-wal", f"{target}-shm")
        self._path = path
        self._mode = path.stat().st_mode
        self._opened = {one: found for one in paths if (found := _identity(one)) is not None}

    def check(self) -> None:
        """Raise FilesChanged unless all of the files are still in place."""
        now = {path: _identity(path) for path in self._opened}
        if now == self._opened:
            return
        changes = [
            f"{path} was {'removed' if now[path] is None else 'replaced'}"
            for path, found in self._opened.items()
            if now[path] != found
        ]
        raise FilesChanged(f"{' and '.join(changes)} while the service had it open.")

    def rescue(self, connection: sqlite3.Connection) -> Path:
        """Copy what a connection that is still open sees into a new file, and return its path.

        Then delete a log that is left beside another database: SQLite would replay it into that.
        Raises OSError or sqlite3.Error where no copy could be made.
        """
        target = Path(f"{self._path}.rescued-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}")
        make_file(target, stat.S_IMODE(self._mode))
        try:
            with closing(sqlite3.connect(target)) as copy:
                connection.backup(copy, pages=PAGES_AT_ONCE)
        except Exception:
            target.unlink()
            raise
        (main, opened), *logs = self._opened.items()
        if _identity(main) != opened:
            for path, log in logs:
                if _identity(path) == log:
                    Path(path).unlink()
        return target


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path costs as much again)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino

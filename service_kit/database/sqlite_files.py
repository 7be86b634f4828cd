"""Notices that a SQLite database's files are no longer those that its connections have open.

SQLite goes on with files that were removed or replaced, and what it writes into them is gone with
its last connection. The log beside the database (-wal) and its index (-shm) are a part of it.
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from service_kit.process import clock

PAGES_AT_ONCE = 1000
# File systems keep instants less exactly than they write them.
TICK_NANOSECONDS = 100_000_000


class FilesChanged(OSError):
    """Says which files are missing, or are others than before."""


class DatabaseFiles:
    """The three files of a database, as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        # The log stands beside the file that a symbolic link leads to.
        beside = path.resolve()
        paths = (str(path), f"{beside}-wal", f"{beside}-shm")
        self._path = path
        self._folders = {str(path.absolute().parent), str(beside.parent)}
        self._seen: list[int] = []
        self._mode = path.stat().st_mode
        self._found = [(one, found) for one in paths if (found := _identity(one)) is not None]

    def check(self) -> None:
        """Look where something has come to their folder or gone since the last time.

        Before each acknowledgement, so it is one system call as a rule. Raises FilesChanged.
        """
        try:
            changed_at = [os.stat(folder).st_mtime_ns for folder in self._folders]  # noqa: PTH116
        except OSError:
            changed_at = []
        if changed_at and changed_at == self._seen:
            return
        self.look()
        # What comes a moment later may bear the same instant.
        if changed_at and time.time_ns() - max(changed_at) > TICK_NANOSECONDS:
            self._seen = changed_at

    def look(self) -> None:
        """Raise FilesChanged unless all of them are still in place."""
        for path, found in self._found:
            if _identity(path) != found:
                raise FilesChanged(self._difference())

    def rescue(self, connection: sqlite3.Connection) -> Path:
        """Copy what a connection that is still open sees into a new file, and return its path.

        Then a log that is left beside another database goes: SQLite would put it into that one.
        Raises OSError or sqlite3.Error where there is no copy.
        """
        target = Path(f"{self._path}.rescued-{clock.now():%Y%m%dT%H%M%SZ}-{os.getpid()}")
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, self._mode & 0o777))
        try:
            with closing(sqlite3.connect(target)) as copy:
                connection.backup(copy, pages=PAGES_AT_ONCE)
        except Exception:
            target.unlink()
            raise
        (main, found), *rest = self._found
        if _identity(main) != found:
            for path, its in rest:
                if _identity(path) == its:
                    Path(path).unlink()
        return target

    def _difference(self) -> str:
        """Say in a sentence what has happened to which file."""
        now = [(path, found, _identity(path)) for path, found in self._found]
        changes = [
            f"{path} was {'replaced' if other else 'removed'}"
            for path, found, other in now
            if other != found
        ]
        return f"{' and '.join(changes)} while the service had it open."


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path costs as much again)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino

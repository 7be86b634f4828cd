"""Who has a SQLite database open, so that nobody replaces its file under them.

Whoever opens it holds a shared lock on a file beside it, and whoever replaces it holds that lock
alone. The system frees both when a process dies. A lock on the database's own file would stay with
the old file when that is replaced.
"""

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from service_kit.database.errors import DatabaseUnavailable
from service_kit.database.sqlite.connect import make_file

SUFFIX = ".in-use"
# A process that stops holds the lock alone for a moment, to remove the file.
WAIT_SECONDS = 2.0


class FileUse:
    """A lock on the use of a SQLite file, held from its construction until `release`.

    Raises DatabaseUnavailable where another process excludes it.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        path = path.resolve()
        self._is_alone = alone
        self._path = Path(f"{path}{SUFFIX}")
        # The accounts that use the database share the lock as well.
        self._mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else None
        self._number: int | None = None
        give_up_at = time.monotonic() + WAIT_SECONDS
        while not self._try():
            if time.monotonic() > give_up_at:
                words = "has it open" if alone else "is restoring or moving it"
                raise DatabaseUnavailable(f"{path}: another process {words}")
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; the last one removes its file."""
        if (number := self._number) is None:
            return
        self._number = None
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink()
        os.close(number)

    def _try(self) -> bool:
        """Try once. Returns whether it is locked, or can't be and need not be.

        Who only uses the database does so as well where there can be no such lock: SQLite says
        itself what is wrong there, and its own locks still tell who has the file open.
        """
        try:
            self._number = self._lock()
        except (BlockingIOError, FileNotFoundError):
            return False  # another process has it, or has just removed the file
        except OSError:
            if self._is_alone:
                raise
            return True
        return self._number is not None

    def _lock(self) -> int | None:
        """Lock the file. Returns its number, or None where another file has taken its place."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            make_file(self._path, self._mode)
        number = os.open(self._path, os.O_RDONLY)
        try:
            how = fcntl.LOCK_EX if self._is_alone else fcntl.LOCK_SH
            fcntl.flock(number, how | fcntl.LOCK_NB)
            if os.fstat(number).st_ino == self._path.stat().st_ino:
                return number
        except OSError:
            os.close(number)
            raise
        os.close(number)
        return None

"""A loss of power: of a process's files there is left what it has flushed, and nothing else.

A kill does not show this, for what a process has written outlives it in the system's memory. So a
small library (power_loss.c) is preloaded into it, which copies each file aside when it is flushed,
as it is then. To cut the power is to kill the process and to put the copies in the files' places.

It is coarser than a disk: of what is written between two flushes all is lost, never a part of it,
and that a file is there at all outlives the cut once the file itself is flushed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.system.stack import Server

SOURCE = Path(__file__).with_suffix(".c")


class Power:
    """What some SQLite servers stand on; their nursery must have the library preloaded."""

    def __init__(self, servers: Sequence[Server], kept: Path) -> None:
        """Before they start: what is in their files now is on the disk."""
        kept.mkdir()
        self._kept = kept
        for server in servers:
            server.environment["POWER_LOSS_KEPT"] = str(kept)
            shutil.copy(self._file(server), kept)

    def cut(self, *servers: Server) -> None:
        """Leave these as they are when the power comes back, and do not start them yet."""
        for server in servers:
            server.end()
            file = self._file(server)
            for suffix in ("", "-wal", "-shm"):
                part = file.with_name(file.name + suffix)
                part.unlink(missing_ok=True)
                kept = self._kept / part.name
                if kept.exists():
                    shutil.copy(kept, part)

    @staticmethod
    def _file(server: Server) -> Path:
        return Path(server.database_url.removeprefix("sqlite:///"))

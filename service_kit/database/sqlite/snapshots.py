"""Copies of a SQLite file from before its migrations."""

import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from service_kit.database.errors import DatabaseUnavailable
from service_kit.database.sqlite.connect import make_file

_MARK = ".snapshot-"
_STAMP = "%Y%m%dT%H%M%SZ"


def take_snapshot(path: Path, revision: str, kept: int) -> Path:
    """Copy a database as it is before a migration, and delete all but the newest such copies.

    Raises DatabaseUnavailable where there is no room for it.
    """
    target = Path(f"{path}{_MARK}{datetime.now(UTC):{_STAMP}}-{revision}")
    part = Path(f"{target}.part")
    part.unlink(missing_ok=True)
    try:
        make_file(part, stat.S_IMODE(path.stat().st_mode))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
        flush(part)
        part.replace(target)
        flush(path.parent)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise DatabaseUnavailable(
            f"there can be no snapshot before the migration ({error}); SNAPSHOTS=0 does without"
        ) from None
    for old in snapshots_of(path)[:-kept]:
        old.unlink(missing_ok=True)
    return target


def prune_snapshots(path: Path, before: datetime) -> int:
    """Delete the snapshots of a database that were taken before an instant. Returns how many."""
    old = [one for one in snapshots_of(path) if (at := _taken_at(one, path)) and at < before]
    for one in old:
        one.unlink(missing_ok=True)
    return len(old)


def _taken_at(snapshot: Path, path: Path) -> datetime | None:
    """Read from its name when a snapshot was taken: a copy of the file may have another time."""
    stamp = snapshot.name.removeprefix(f"{path.name}{_MARK}").partition("-")[0]
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None  # somebody's own


def snapshots_of(path: Path) -> list[Path]:
    """List the snapshots of a database, the oldest first."""
    found = path.parent.glob(f"{path.name}{_MARK}*")
    return sorted(one for one in found if one.suffix != ".part")


def flush(path: Path) -> None:
    """Have the disk keep a file or a folder; only while no connection of SQLite has it open."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

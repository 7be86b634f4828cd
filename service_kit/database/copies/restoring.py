"""Puts a backup in the place of a database that nobody uses."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service_kit.database.copies import backup, checking, counters, manifest, rows
from service_kit.database.copies.connections import (
    is_sqlite,
    lock_alone,
    on_postgres,
    refuse_in_use,
)
from service_kit.database.copies.contents import JUMP, Contents, CopyFailed, Redo, Show
from service_kit.database.copies.files import alone, filling, reading, replacing
from service_kit.database.copies.manifest import Manifest
from service_kit.database.migrations import Migrations
from service_kit.database.sqlite.connect import file_of

REPLACED = ".replaced-"


class Restored(NamedTuple):
    """What was restored, where that is kept which it has replaced, and what was done again.

    `redone` is None where that could not be read from the replaced database.
    """

    manifest: Manifest
    kept: Path | None
    redone: int | None


def restore(
    migrations: Migrations, contents: Contents, path: Path, url: str, show: Show
) -> Restored:
    """Put a backup in a database's place, in one step. Raises CopyFailed or SchemaMismatch."""
    found, faults = checking.verify(migrations, contents, path)
    if found is None or faults:
        raise CopyFailed(f"{path} is not restored: {'; '.join(faults[:3])}")
    if is_sqlite(url):
        return Restored(found, *_into_file(migrations, contents, path, file_of(url).resolve()))
    return Restored(found, *_into_postgres(migrations, contents, path, url, show))


def _into_file(
    migrations: Migrations, contents: Contents, path: Path, target: Path
) -> tuple[Path | None, int | None]:
    if target.exists() and path.samefile(target):
        raise CopyFailed(f"{path} is the database itself: name a backup")
    kept = None
    with alone(target, may_be_damaged=True):
        _refuse_other_owner(migrations, target)
        with replacing(target) as part:
            shutil.copyfile(path, part)
            redo = _recall(contents, target)
            redone = _renew(migrations, contents, part, redo)
            if target.exists():
                kept = _keep(target)
    return kept, redone


def _into_postgres(
    migrations: Migrations, contents: Contents, path: Path, url: str, show: Show
) -> tuple[Path | None, int | None]:
    on_postgres(migrations, url, refuse_in_use)
    kept = None
    if migrations.upgrade(url) is not None:
        kept = path.with_name(f"{path.name}{REPLACED}{_now()}")
        backup.take(migrations, contents, url, kept, show)

    def run(target: Connection) -> None:
        lock_alone(target, contents.tables)
        with reading(working) as source:
            rows.copy(source, target, contents.tables, show)
            contents.rebuild(target)
            rows.refuse_different(source, target, contents.tables, show)

    with tempfile.TemporaryDirectory(prefix="restore-") as folder:
        working = Path(folder) / "working.db"
        shutil.copyfile(path, working)
        redone = _renew(migrations, contents, working, _recall(contents, kept))
        on_postgres(migrations, url, run)
    return kept, redone


def _recall(contents: Contents, path: Path | None) -> Redo | None:
    """Read from what is replaced what has to be done again. None where it can't be read."""
    if path is None or not path.exists():
        return lambda _: 0
    with suppress(DBAPIError, sqlite3.Error), reading(path) as db:
        return contents.recall(db)
    return None


def _renew(migrations: Migrations, contents: Contents, path: Path, redo: Redo | None) -> int | None:
    """Make a database of a copy of a backup: today's schema, and nothing that was given before.

    Returns how much was done again that the backup does not know of.
    """
    with filling(path) as db:
        manifest.drop(db)
        was = migrations.upgrade_on(db)
        if was != migrations.head and (faults := list(contents.check(db))):
            raise CopyFailed(f"the backup is not restored: {'; '.join(faults[:3])}")
        counters.advance(db, contents.tables, JUMP)
        contents.renew(db)
        return None if redo is None else redo(db)


def _keep(target: Path) -> Path:
    """Give the file that is about to be replaced a second name, so that it is there throughout."""
    for other in target.parent.glob(f"{target.name}{REPLACED}*"):
        if other.samefile(target):
            other.unlink()  # of a restore that was broken off
    kept = Path(f"{target}{REPLACED}{_now()}")
    try:
        os.link(target, kept)
    except OSError:  # not every file system has links
        shutil.copy2(target, kept)
    for suffix in ("-wal", "-shm"):  # of a damaged one; SQLite would replay it into the new file
        with suppress(FileNotFoundError):
            Path(f"{target}{suffix}").rename(f"{kept}{suffix}")
    return kept


def _refuse_other_owner(migrations: Migrations, target: Path) -> None:
    with suppress(DBAPIError, sqlite3.Error), reading(target) as db:  # there is none, or damaged
        migrations.refuse_other_owner(db, is_new=True)


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"

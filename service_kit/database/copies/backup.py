"""Writes a backup: a SQLite file of one instant of a database, which others go on using."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from service_kit import VERSION
from service_kit.database.copies import checksum, manifest, rows
from service_kit.database.copies.connections import in_snapshot, is_sqlite
from service_kit.database.copies.contents import Contents, CopyFailed, Show
from service_kit.database.copies.files import filling, reading, replacing
from service_kit.database.copies.manifest import Manifest
from service_kit.database.migrations import Migrations
from service_kit.database.sqlite.connect import PRIVATE, driver, file_of

# Of 4 KiB each, unless somebody has made the file otherwise.
PAGES_AT_ONCE = 2000


class Taken(NamedTuple):
    rows: int
    tables: int


def take(migrations: Migrations, contents: Contents, url: str, path: Path, show: Show) -> Taken:
    """Back a database up into a file, or replace the service's backup that is there.

    Raises CopyFailed or SchemaMismatch.
    """
    _refuse_foreign(migrations, url, path)
    engine = "sqlite" if is_sqlite(url) else "postgresql"
    about = Manifest(migrations.service, migrations.head, VERSION, engine, datetime.now(UTC))

    def run(source: Connection) -> Taken:
        with replacing(path, PRIVATE) as part:
            if is_sqlite(url):
                _copy_pages(source, part, show)
            else:
                fill(migrations, contents, source, part, show)
            with filling(part) as db:
                blank = manifest.write(db, about)
                taken = Taken(rows.count(db, contents.tables), len(contents.tables))
            checksum.seal(part, blank)
            return taken

    return in_snapshot(migrations, url, run)


def _copy_pages(source: Connection, path: Path, show: Show) -> None:
    """Copy a SQLite database as it is, by SQLite's own backup.

    The source is in a read transaction, so that no writer makes it begin again.
    """
    own = driver(source)
    [pages] = own.execute("PRAGMA page_count").fetchone()
    with show("pages", pages) as advance, closing(sqlite3.connect(path)) as target:
        left = pages

        def copied(_status: int, remaining: int, _total: int) -> None:
            nonlocal left
            advance(left - remaining)
            left = remaining

        target.execute("PRAGMA synchronous = OFF")  # it is flushed as a whole later
        own.backup(target, pages=PAGES_AT_ONCE, progress=copied)


def fill(
    migrations: Migrations, contents: Contents, source: Connection, path: Path, show: Show
) -> None:
    """Make a service's SQLite file with the rows that another connection sees."""
    with filling(path) as db:
        migrations.upgrade_on(db)
        rows.copy(source, db, contents.tables, show)
        contents.rebuild(db)


def _refuse_foreign(migrations: Migrations, url: str, path: Path) -> None:
    """Refuse to replace a file that is anything but a backup of this service."""
    if is_sqlite(url) and path.resolve() == file_of(url).resolve():
        raise CopyFailed(f"{path} is the database itself: name another file")
    if not path.exists():
        return
    try:
        with reading(path) as db:
            found = manifest.find(db)
    except Exception as error:
        raise CopyFailed(f"{path} is there, and is no backup: name another file") from error
    if found is None or found.service != migrations.service:
        whose = "no backup" if found is None else f"a backup of {found.service}"
        raise CopyFailed(f"{path} is there, and is {whose}: name another file")

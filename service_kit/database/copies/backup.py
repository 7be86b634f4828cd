"""Writes a backup: a SQLite file of one instant of a database, which others go on using."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from service_kit import VERSION
from service_kit.database.copies import manifest, rows
from service_kit.database.copies.connections import in_snapshot, is_sqlite
from service_kit.database.copies.contents import Contents, CopyFailed, Show
from service_kit.database.copies.files import filling, reading, replacing
from service_kit.database.copies.manifest import Manifest
from service_kit.database.migrations import Migrations
from service_kit.database.sqlite.connect import PRIVATE, file_of

# What else is written into the file, with what was read.
Also = Callable[[Connection, rows.Digests], None]


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
            return fill(
                migrations,
                contents,
                source,
                part,
                show,
                lambda db, digests: manifest.write(db, about, digests),
            )

    return in_snapshot(migrations, url, run)


def fill(
    migrations: Migrations,
    contents: Contents,
    source: Connection,
    path: Path,
    show: Show,
    also: Also,
) -> Taken:
    """Make a service's SQLite file with the rows that another connection sees."""
    with filling(path) as db:
        migrations.upgrade_on(db)
        with show("rows", rows.count(source, contents.tables)) as advance:
            digests = rows.copy(source, db, contents.tables, advance)
        contents.rebuild(db)
        also(db, digests)
    return Taken(sum(one.rows for one in digests.values()), len(digests))


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

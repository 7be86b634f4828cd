"""Verifies a backup: the file, its checksum, its schema, and the service's own rules."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from service_kit.database.copies import checksum, manifest
from service_kit.database.copies.contents import Contents, CopyFailed
from service_kit.database.copies.files import reading
from service_kit.database.copies.manifest import Manifest
from service_kit.database.errors import reason
from service_kit.database.migrations import Migrations, current_revision

# As many as one can read; more only say the same.
MOST_FAULTS = 20


def verify(
    migrations: Migrations, contents: Contents, path: Path
) -> tuple[Manifest | None, list[str]]:
    """Return what a backup says of itself, and a sentence for each fault that it has.

    Raises CopyFailed where there is no such file.
    """
    if not path.is_file():
        raise CopyFailed(f"{path}: there is no such file")
    try:
        with reading(path) as db:
            found = manifest.find(db)
            faults = list(_faults(migrations, contents, path, db, found))
    except (DBAPIError, sqlite3.Error) as error:
        return None, [f"it can't be read: {reason(error)}"]
    return found, faults


def _faults(
    migrations: Migrations,
    contents: Contents,
    path: Path,
    db: Connection,
    found: Manifest | None,
) -> Iterator[str]:
    if damage := [fault for fault in _damage(db) if fault]:
        yield from damage
        return
    if found is None:
        yield "it has no manifest, so it is no backup"
        return
    if found.service != migrations.service:
        yield f"it is a backup of {found.service}, not of {migrations.service}"
        return
    if not checksum.is_sealed(path, found.sha256):
        yield "it has changed since it was written: its SHA-256 is another"
    revision = current_revision(db)
    if revision != found.revision:
        yield f"its schema is at {revision or 'nothing'}, not at {found.revision}"
    elif revision not in migrations.revisions:
        yield f"its schema is at {revision}, this version knows it up to {migrations.head}"
    elif revision == migrations.head:
        # The rules of an older schema are checked once it is brought up to date, by a restore.
        yield from contents.check(db)


def _damage(db: Connection) -> Iterator[str]:
    """Let SQLite check its pages, indexes and references."""
    for (fault,) in db.exec_driver_sql(f"PRAGMA integrity_check({MOST_FAULTS})"):
        if fault != "ok":
            yield f"it is damaged: {' '.join(str(fault).split())}"
    for table, _, parent, _ in db.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(
        MOST_FAULTS
    ):
        yield f"it is damaged: a row of {table} refers to none of {parent}"

"""What a backup says of itself, in two tables of its own."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, inspect, select

from service_kit.database.copies.rows import Digest, Digests
from service_kit.database.rows import find_all, find_one
from service_kit.database.types import UtcDateTime

_metadata = MetaData()
_MANIFEST = Table(
    "backup_manifest",
    _metadata,
    Column("service", String(100), primary_key=True),
    Column("revision", String(32), nullable=False),
    Column("release", String(32), nullable=False),
    Column("engine", String(20), nullable=False),
    Column("taken_at", UtcDateTime, nullable=False),
)
_TABLES = Table(
    "backup_tables",
    _metadata,
    Column("name", String(100), primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
)


class Manifest(NamedTuple):
    """Whose database it is of, at which schema, made by which release, of which engine, when."""

    service: str
    revision: str
    release: str
    engine: str
    taken_at: datetime


class _TableRow(NamedTuple):
    name: str
    rows: int
    sha256: str


def write(db: Connection, manifest: Manifest, digests: Digests) -> None:
    _metadata.create_all(db)
    db.execute(insert(_MANIFEST), manifest._asdict())
    rows = [{"name": name, **one._asdict()} for name, one in digests.items()]
    db.execute(insert(_TABLES), rows)


def find(db: Connection) -> Manifest | None:
    """Return a file's manifest; None where it is no backup."""
    if not all(inspect(db).has_table(table.name) for table in (_MANIFEST, _TABLES)):
        return None
    return find_one(Manifest, db, select(_MANIFEST))


def digests(db: Connection) -> Digests:
    found = find_all(_TableRow, db, select(_TABLES).order_by(_TABLES.c.name))
    return {one.name: Digest(one.rows, one.sha256) for one in found}


def drop(db: Connection) -> None:
    _metadata.drop_all(db)

"""What a backup says of itself, in a table of its own."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from service_kit.database.copies import checksum
from service_kit.database.rows import find_one
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
    Column("sha256", String(64), nullable=False),
)


class Manifest(NamedTuple):
    """Whose database it is of, at which schema, made by which release, of which engine, when.

    `sha256` is the checksum of the file that holds it.
    """

    service: str
    revision: str
    release: str
    engine: str
    taken_at: datetime
    sha256: str = ""


def write(db: Connection, about: Manifest) -> str:
    """Write it into a backup. Returns what is blank in it until the file is sealed."""
    blank = checksum.blank()
    _metadata.create_all(db)
    db.execute(insert(_MANIFEST), about._replace(sha256=blank)._asdict())
    return blank


def find(db: Connection) -> Manifest | None:
    """Return a file's manifest; None where it is no backup."""
    if not inspect(db).has_table(_MANIFEST.name):
        return None
    return find_one(Manifest, db, select(_MANIFEST))


def drop(db: Connection) -> None:
    _metadata.drop_all(db)

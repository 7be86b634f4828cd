"""Which release has made a schema, and which older ones can run on it.

That stands in the database, since an older release does not have the newer one's migrations.
"""

from typing import NamedTuple

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from service_kit import VERSION
from service_kit.database.rows import find_one

_RELEASE = Table(
    "schema_release",
    MetaData(),
    Column("revision", String(32), primary_key=True),
    Column("release", String(40), nullable=False),
    # The newest migration that a release must have, so as to run on this schema.
    Column("compatible_with", String(32), nullable=False),
)


class Release(NamedTuple):
    revision: str
    release: str
    compatible_with: str


def find_release(db: Connection, revision: str) -> Release | None:
    """Return what was recorded with a migration; None where there is nothing, as before 0.4.0."""
    if not inspect(db).has_table(_RELEASE.name):
        return None
    return find_one(Release, db, select(_RELEASE).where(_RELEASE.c.revision == revision))


def record_release(db: Connection, revision: str, compatible_with: str) -> None:
    """Record that this release has made the schema, and which migration others must have."""
    _RELEASE.create(db, checkfirst=True)
    db.execute(_RELEASE.delete())
    db.execute(insert(_RELEASE), Release(revision, VERSION, compatible_with)._asdict())

"""A database remembers that it has served in production, and so does each copy of it.

Development is not started on it by mistake: its tokens are in the README. Nor are demo data put
among real ones.
"""

from datetime import UTC, datetime

from sqlalchemy import Column, Connection, MetaData, Table, inspect, select

from service_kit.database.on_conflict import insert_missing
from service_kit.database.types import UtcDateTime

_SINCE = Table("production", MetaData(), Column("since", UtcDateTime, primary_key=True))


class ServedInProduction(RuntimeError):
    """The database is not development's; the text says what to set instead."""


def add_table(metadata: MetaData) -> None:
    """Add the table to those of a service, so that copies have it."""
    _SINCE.to_metadata(metadata)


def served_since(db: Connection) -> datetime | None:
    """Return when the database has first served in production, whatever its schema is at."""
    if not inspect(db).has_table(_SINCE.name):
        return None
    return db.execute(select(_SINCE).order_by(_SINCE.c.since).limit(1)).scalar_one_or_none()


def remember(db: Connection) -> None:
    """Write down that the database serves in production from now on."""
    if served_since(db) is None:
        db.execute(insert_missing(_SINCE), {"since": datetime.now(UTC)})


def refuse_development(db: Connection) -> None:
    """Raise ServedInProduction where the database has."""
    if (since := served_since(db)) is not None:
        raise ServedInProduction(
            f"it has served in production since {since:%Y-%m-%d}, and development would open it to "
            "the demo tokens: set ENVIRONMENT=production, or name another in DATABASE_URL"
        )

"""Where and when database work runs. The only place that commits.

A unit of work is a plain function whose first argument is a SQLAlchemy Core connection. It runs in
one transaction, never waits for anything but its statements, and may be run again. `Database` has
verbs for it:

read    a few rows by key
write   changes; the caller is answered after the commit. For a work whose first statement is its
        only change, write_autocommit does the same with fewer round trips
erase   changes that delete something of which no older copy may remain
scan    reads whose cost grows with the table
"""

from service_kit.database.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    DurabilityMissing,
    RunAgain,
)
from service_kit.database.interface import Database

__all__ = [
    "Database",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "DurabilityMissing",
    "RunAgain",
    "open_database",
]


def open_database(
    url: str, name: str = "crmsys", *, pool_size: int = 20, direct_url: str | None = None
) -> Database:
    """Choose the engine for a `sqlite:///…` or `postgresql://…` URL, and load no other.

    Nothing is connected yet. `name` is the service's; PostgreSQL shows it as the application_name
    of its connections. Where `url` leads through a pooler, `direct_url` leads past it. PostgreSQL
    has one connection more than `pool_size`, which hears of the commits of other processes.
    """
    if url.startswith("sqlite:"):
        from service_kit.database.sqlite.database import SqliteDatabase

        return SqliteDatabase(url)
    from service_kit.database.postgres.database import PostgresDatabase

    return PostgresDatabase(url, name, pool_size=pool_size, direct_url=direct_url)

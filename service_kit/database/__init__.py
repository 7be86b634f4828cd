"""Where and when database work runs. The only place that commits.

A unit of work is a plain function whose first argument is a SQLAlchemy Core connection. It runs in
one transaction, never waits for anything but its statements, and may be run again. `Database` has
verbs for it:

read    a few rows by key
write   changes; the caller is answered after the commit
erase   changes that delete something of which no older copy may remain
scan    reads whose cost grows with the table
"""

from service_kit.database.engines import open_database
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

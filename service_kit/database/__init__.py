"""Where and when database work runs; the only place that knows and the only one that commits.

A unit of work is a plain function whose first argument is a SQLAlchemy Core connection. It runs in
one transaction, never waits for anything, and may be run again. `Database` has verbs for it:

read    a few rows by key
write   changes; the caller is answered after the commit
forget  changes that erase something, of which no older copy is to stay
scan    statements whose cost grows with the table
"""

from service_kit.database.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    DurabilityMissing,
    RunAgain,
)
from service_kit.database.interface import Database, open_database

__all__ = [
    "Database",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "DurabilityMissing",
    "RunAgain",
    "open_database",
]

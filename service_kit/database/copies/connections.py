"""Transactions on a service's database for as long as a copy takes, on either engine."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, text

from service_kit.database.copies.contents import CopyFailed
from service_kit.database.migrations import Migrations, SchemaMismatch, usable_revision
from service_kit.database.sqlite.connect import BUSY_SECONDS, driver, file_of, sqlite_engine
from service_kit.database.sqlite.usage import FileUse

# A statement may take as long as it needs; a transaction that writes a file waits between two.
_LIMITS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "600000"}
# How long the sessions of a service that was just stopped may take to end.
_LAST_SESSIONS_SECONDS = 5.0
# What `on_postgres` calls its connections: one copies, the other watches it. A URL may name all
# processes alike, and then goes by that name.
_OURS = " copy [0-9a-f]{8}$"
_OTHERS = text("""
SELECT DISTINCT coalesce(nullif(application_name, ''), 'one without a name')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
-- Of another role's session all is hidden but that it is there; the server's own work has no role.
AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
AND NOT (
    coalesce(application_name, '') = current_setting('application_name')
    AND application_name ~ :ours
)
""")

T = TypeVar("T")
Work = Callable[[Connection], T]


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def in_snapshot(migrations: Migrations, url: str, work: Work[T]) -> T:
    """Run a reading work that sees one instant of a database, while others go on writing.

    Raises SchemaMismatch unless the schema is this version's.
    """

    def run(db: Connection) -> T:
        refuse_other_schema(migrations, db)
        return work(db)

    if not is_sqlite(url):
        return on_postgres(migrations, url, run, isolation="repeatable_read", readonly=True)
    if not (path := file_of(url).absolute()).exists():
        raise SchemaMismatch(f"there is none at {path}")
    engine = sqlite_engine(path, query_only=True, busy_seconds=BUSY_SECONDS)
    with FileUse(path), engine.connect() as db:
        driver(db).execute("BEGIN")
        return run(db)


def on_postgres(migrations: Migrations, url: str, work: Work[T], **options: Any) -> T:
    """Run a work in one transaction of PostgreSQL, which is watched instead of having a deadline.

    `options` are those of `PooledConnection.run_in_transaction`.
    """
    from service_kit.database.postgres.connect import Connections
    from service_kit.database.postgres.pool import AutocommitPool
    from service_kit.database.postgres.sessions import watch

    async def run() -> T:
        name = f"{migrations.service} copy {uuid.uuid4().hex[:8]}"
        connections = Connections(url, name, **_LIMITS)
        pool = AutocommitPool(connections, size=1)
        try:
            async with pool.connection() as connection:
                watching = asyncio.create_task(watch(connections, connection.driver))
                try:
                    return await connection.run_in_transaction(work, **options)
                finally:
                    watching.cancel()
        finally:
            await pool.close()

    return asyncio.run(run())


def refuse_other_schema(migrations: Migrations, db: Connection) -> None:
    """Refuse a newer schema too, whether or not this release can run on it.

    A copy by this release would lack the columns that it doesn't know.
    """
    found = usable_revision(db)
    migrations.refuse_other_owner(db)
    migrations.refuse_older(found)
    if found != migrations.head:
        raise SchemaMismatch(
            f"its schema is at {found}, newer than this release's: run the command of the release "
            "that has made it."
        )


def refuse_in_use(db: Connection) -> None:
    """Raise CopyFailed while anybody else is connected to this database of PostgreSQL."""
    give_up_at = time.monotonic() + _LAST_SESSIONS_SECONDS
    while others := list(db.execute(_OTHERS, {"ours": _OURS}).scalars()):
        if time.monotonic() > give_up_at:
            raise CopyFailed(
                "the database is in use: stop every process that is connected to it "
                f"({', '.join(sorted(others))})"
            )
        # Else a transaction sees the sessions as they were when it first asked.
        db.execute(text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.05)"))


def lock_alone(db: Connection, tables: Sequence[Table]) -> None:
    """Let nobody else read or write until this transaction ends. Raises CopyFailed where one does.

    Whoever connects later waits for the lock, and sees what this transaction leaves.
    """
    refuse_in_use(db)
    names = ", ".join(table.name for table in tables)
    db.execute(text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
    refuse_in_use(db)

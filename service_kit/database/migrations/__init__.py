"""Brings a database's schema up to date, and tells whether it is.

A migration is a file `NNNN_what_it_does.py` whose revision is NNNN. So the newest is known from the
file names, and a service whose schema is up to date starts without loading Alembic.
"""

import asyncio
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError

from service_kit.database.errors import is_unavailable, raise_unavailable
from service_kit.database.sqlite.connect import (
    driver,
    file_of,
    note_file,
    refuse_damaged,
    sqlite_engine,
)

if TYPE_CHECKING:
    from alembic.config import Config

# Any number that all replicas share; only one of them migrates at a time.
_LOCK = 0x63726D
_LOCK_SECONDS = 60.0

# Which service a database belongs to, so that no other adds its tables to it.
_OWNER = Table("schema_owner", MetaData(), Column("service", String(100), primary_key=True))
_CREATED = re.compile(r"op\.create_table\(\s*[\"'](\w+)")


class SchemaMismatch(RuntimeError):
    """The database's schema is not the one that this version works with."""


class Migrations:
    """The migrations of one service."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self.folder = folder
        self.revisions = sorted(path.name[:4] for path in folder.glob("[0-9]*_*.py"))

    @property
    def head(self) -> str:
        return self.revisions[-1]

    def upgrade(self, url: str) -> str | None:
        """Run the missing migrations, under a lock. Returns the revision before them.

        Raises SchemaMismatch where the database is ahead of this version, DatabaseUnavailable,
        DurabilityMissing, or ValueError for a malformed URL.
        """
        try:
            if url.startswith("sqlite:"):
                return self._upgrade_sqlite(file_of(url))
            return asyncio.run(self._upgrade_postgres(url))
        except Exception as error:
            raise_unavailable(error)
            raise

    def _upgrade_sqlite(self, path: Path) -> str | None:
        try:
            with sqlite_engine(path, busy_seconds=_LOCK_SECONDS).connect() as connection:
                refuse_damaged(driver(connection), path)
                driver(connection).execute("BEGIN IMMEDIATE")
                with connection.begin():
                    return self._upgrade(connection)
        except Exception as error:
            note_file(error, path)
            raise

    async def _upgrade_postgres(self, url: str) -> str | None:
        # Loading it takes a tenth of a start, which a service on SQLite need not wait for.
        from service_kit.database.postgres.connect import Connections
        from service_kit.database.postgres.pool import AutocommitPool
        from service_kit.database.postgres.sessions import watch

        def upgrade(connection: Connection) -> str | None:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            return self._upgrade(connection)

        limits = {"lock_timeout": f"{_LOCK_SECONDS * 1000:.0f}", "statement_timeout": "0"}
        connections = Connections(url, f"{self.service} migration {uuid.uuid4().hex[:8]}", **limits)
        pool = AutocommitPool(connections, size=1)
        try:
            async with pool.connection() as connection:
                # It may take hours, so it is watched instead of having a deadline.
                watching = asyncio.create_task(watch(connections, connection.driver))
                try:
                    return await connection.run_in_transaction(upgrade)
                finally:
                    watching.cancel()
        finally:
            await pool.close()

    def _upgrade(self, connection: Connection) -> str | None:
        revision = current_revision(connection)
        self._own(connection, is_new=revision is None)
        if revision == self.head:
            return revision
        if revision is not None and revision not in self.revisions:
            raise SchemaMismatch(
                f"The schema is at {revision}, this version knows it up to {self.head}: "
                "start the newer version, or restore a backup from before it."
            )
        from alembic import command

        command.upgrade(self._config(connection), "head")
        return revision

    def _own(self, connection: Connection, *, is_new: bool) -> None:
        """Record whose database this is. Raises SchemaMismatch where it is another service's."""
        owner = None
        if inspect(connection).has_table(_OWNER.name):
            owner = connection.execute(select(_OWNER)).scalar_one_or_none()
        elif not is_new and not inspect(connection).has_table(self._first_table()):
            owner = "another service"  # from before owners were recorded
        if owner is None:
            _OWNER.create(connection, checkfirst=True)
            connection.execute(insert(_OWNER), {"service": self.service})
        elif owner != self.service:
            raise SchemaMismatch(
                f"It holds the tables of {owner}. Give each service a database of its own: "
                f"DATABASE_URL of {self.service} must name another."
            )

    def _first_table(self) -> str:
        """Return the name of a table that every database of this service has."""
        first = next(self.folder.glob(f"{self.revisions[0]}_*.py"))
        found = _CREATED.search(first.read_text())
        return found[1] if found else "alembic_version"

    def _config(self, connection: Connection) -> "Config":
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.set_main_option("version_locations", str(self.folder))
        config.set_main_option("path_separator", "newline")
        config.attributes["connection"] = connection
        return config


def current_revision(connection: Connection) -> str | None:
    """Return the revision a database is at; None before the first."""
    try:
        with connection.begin_nested():
            revision: str | None = connection.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar_one_or_none()
    except DBAPIError as error:
        if is_unavailable(error):
            raise
        return None
    return revision

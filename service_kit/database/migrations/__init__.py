"""Brings a database's schema up to date, and tells whether it is.

A migration is a file `NNNN_what_it_does.py` whose revision is NNNN, so the newest is known from the
file names, and a service that is up to date starts without loading Alembic.
"""

import asyncio
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from service_kit.database.errors import explain, is_unavailable
from service_kit.database.sqlite_engine import (
    driver,
    file_of,
    note_file,
    refuse_damaged,
    sqlite_engine,
)

if TYPE_CHECKING:
    from alembic.config import Config

# Any number that every replica shares; only one of them migrates at a time.
_LOCK = 0x63726D
_LOCK_SECONDS = 60.0


# Which service a database belongs to, so that no other puts its tables between.
_OWNER = Table("schema_owner", MetaData(), Column("service", String(100), primary_key=True))
_CREATED = re.compile(r"op\.create_table\(\s*[\"'](\w+)")


class SchemaMismatch(RuntimeError):
    """The database's schema is not the one this version works with."""


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
        """Run what is missing, under a lock. Returns the revision it was at before.

        Raises SchemaMismatch where the database is ahead of this version, DatabaseUnavailable,
        DurabilityMissing, or ValueError for a URL that is none.
        """
        try:
            if url.startswith("sqlite:"):
                return self._upgrade_sqlite(url)
            return asyncio.run(self._upgrade_postgres(url))
        except Exception as error:
            explain(error)
            raise

    def _upgrade_sqlite(self, url: str) -> str | None:
        path = file_of(url)
        engine = sqlite_engine(path, busy_seconds=_LOCK_SECONDS)
        try:
            with engine.connect() as connection:
                refuse_damaged(driver(connection))
                driver(connection).execute("BEGIN IMMEDIATE")
                with connection.begin():
                    return self._upgrade(connection)
        except Exception as error:
            note_file(error, path)
            raise
        finally:
            engine.dispose()

    async def _upgrade_postgres(self, url: str) -> str | None:
        # Loading it takes a tenth of a start, which a service on SQLite need not wait for.
        from service_kit.database.connections import Connections
        from service_kit.database.postgres import dispose, driver_of, postgres_engine

        waiting = {"lock_timeout": f"{_LOCK_SECONDS * 1000:.0f}", "statement_timeout": "0"}
        name = f"{self.service} migration {uuid.uuid4().hex[:8]}"
        connections = Connections(url, name, **waiting)
        engine = postgres_engine(connections, pool_size=1)

        def upgrade() -> str | None:
            # It may take hours, so it has no deadline.
            watch: asyncio.Task[None] | None = None
            try:
                with engine.begin() as connection:
                    watch = asyncio.ensure_future(connections.watch(driver_of(connection)))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
                    return self._upgrade(connection)
            finally:
                if watch is not None:
                    watch.cancel()

        try:
            return await greenlet_spawn(upgrade)
        finally:
            await dispose(engine, connections)

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
        """Write down whose database this is. Raises SchemaMismatch where it is another's."""
        owner = None
        if connection.dialect.has_table(connection, _OWNER.name):
            owner = connection.execute(select(_OWNER)).scalar_one_or_none()
        elif not is_new and not connection.dialect.has_table(connection, self._first_table()):
            owner = "another service"  # from before owners were written down
        if owner is None:
            _OWNER.create(connection, checkfirst=True)
            connection.execute(insert(_OWNER), {"service": self.service})
        elif owner != self.service:
            raise SchemaMismatch(
                f"It holds the tables of {owner}. Give each service a database of its own: "
                f"DATABASE_URL of {self.service} must name another."
            )

    def _first_table(self) -> str:
        """Name a table that every database of this service has."""
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
    """Read which migration a database is at; None before the first."""
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

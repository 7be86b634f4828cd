"""Moves a database that nobody uses to the other engine.

1. The target is filled, in one transaction or as a file of its own, and marked as arriving.
2. The source is marked as moved.
3. The target's mark is taken away.

Whatever is marked refuses to be used, so there is never a moment at which both could be, and a move
that was broken off anywhere is run again as it was.
"""

import re
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, inspect

from service_kit.database.copies import backup, rows
from service_kit.database.copies.connections import (
    is_sqlite,
    lock_alone,
    on_postgres,
    refuse_in_use,
    refuse_other_schema,
)
from service_kit.database.copies.contents import Contents, CopyFailed, Show
from service_kit.database.copies.files import alone, filling, reading, replacing
from service_kit.database.migrations import Migrations
from service_kit.database.moved import drop_mark, find_mark, place_of, set_mark
from service_kit.database.sqlite.connect import driver, file_of, sqlite_engine


def move(migrations: Migrations, contents: Contents, source: str, target: str, show: Show) -> str:
    """Move a database from one URL to another. Returns where it is now, without a password.

    Raises CopyFailed or SchemaMismatch.
    """
    if not re.match(r"(sqlite:///|postgres(ql)?(\+\w+)?://)", target):
        raise CopyFailed("the new place must start with sqlite:/// or postgresql://")
    if is_sqlite(source) == is_sqlite(target):
        raise CopyFailed(
            "a move goes from SQLite to PostgreSQL or back; within one of them, back up and restore"
        )
    one = _Move(migrations, contents, _absolute(source), _absolute(target), show)
    if is_sqlite(source):
        one.to_postgres()
    else:
        one.to_sqlite()
    return place_of(one.target)


class _Move:
    def __init__(
        self, migrations: Migrations, contents: Contents, source: str, target: str, show: Show
    ) -> None:
        self.source = source
        self.target = target
        self._migrations = migrations
        self._contents = contents
        self._show = show

    def to_postgres(self) -> None:
        path = file_of(self.source)
        if not path.exists():
            raise CopyFailed(f"{path}: there is no such file")
        with alone(path), sqlite_engine(path).connect() as source:
            driver(source).execute("BEGIN IMMEDIATE")
            with source.begin():
                if not self._has_left(source):
                    on_postgres(self._migrations, self.target, lambda db: self._fill(source, db))
                    set_mark(source, "moved", place_of(self.target))
            on_postgres(self._migrations, self.target, self._arrive)

    def to_sqlite(self) -> None:
        path = file_of(self.target)
        with alone(path):
            on_postgres(self._migrations, self.source, lambda db: self._leave(db, path))
            if not path.exists():
                raise CopyFailed(f"it was moved to {path}, and there is no such file any more")
            with sqlite_engine(path).connect() as target:
                driver(target).execute("BEGIN IMMEDIATE")
                with target.begin():
                    self._arrive(target)

    def _has_left(self, source: Connection) -> bool:
        """Return whether the source is marked as moved to this target."""
        mark = find_mark(source)
        if mark is None:
            refuse_other_schema(self._migrations, source)
            return False
        if (mark.state, mark.place) != ("moved", place_of(self.target)):
            raise CopyFailed(mark.refusal)
        return True

    def _fill(self, source: Connection, target: Connection) -> None:
        """Fill a database of PostgreSQL that is empty, or that a broken move has left."""
        refuse_in_use(target)
        mark = find_mark(target)
        if (mark is None and inspect(target).get_table_names()) or (mark and mark.state == "moved"):
            raise CopyFailed(
                f"{place_of(self.target)} is not empty: a move needs an empty database"
            )
        self._migrations.upgrade_on(target)
        rows.copy(source, target, self._contents.tables, self._show)
        self._contents.rebuild(target)
        self._seal(source, target)

    def _leave(self, source: Connection, path: Path) -> None:
        """Fill a new SQLite file, and mark the database of PostgreSQL as moved."""
        if self._has_left(source):
            return
        if path.exists() and not _is_arriving(path):
            raise CopyFailed(f"{path} is there: a move makes a new file")
        lock_alone(source, self._contents.tables)
        with replacing(path) as part:
            backup.fill(self._migrations, self._contents, source, part, self._show)
            with filling(part) as target:
                self._seal(source, target)
        set_mark(source, "moved", place_of(self.target))

    def _seal(self, source: Connection, target: Connection) -> None:
        """Find in the target what is in the source, and mark it as not yet to be used."""
        rows.refuse_different(source, target, self._contents.tables, self._show)
        set_mark(target, "arriving", place_of(self.source))

    def _arrive(self, target: Connection) -> None:
        mark = find_mark(target)
        if mark is None or mark.state != "arriving":
            raise CopyFailed(f"it is at {place_of(self.target)} already")
        drop_mark(target)


def _is_arriving(path: Path) -> bool:
    with suppress(Exception), reading(path) as db:
        mark = find_mark(db)
        return mark is not None and mark.state == "arriving"
    return False


def _absolute(url: str) -> str:
    """Let a file be found from wherever the service is started next."""
    return f"sqlite:///{file_of(url).resolve()}" if is_sqlite(url) else url

"""The statements about imports."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from crm_api.imports.models import INTERRUPTED, RUNNING, Import, imports
from service_kit.database.on_conflict import insert_missing
from service_kit.database.rows import find_all, find_one, page_after
from service_kit.database.types import UtcDateTime

_ADD = insert_missing(imports).returning(imports)
_BY_ID = select(imports).where(imports.c.id == bindparam("id"))
_LOCK = _BY_ID.with_for_update()
_IS_RUNNING = imports.c.state == RUNNING
_RUNNING_OF = select(imports.c.id).where(_IS_RUNNING, imports.c.credential == bindparam("whose"))
_COUNT_RUNNING = select(func.count()).select_from(imports).where(_IS_RUNNING)
_BEATS = select(imports.c.id, imports.c.beats).where(_IS_RUNNING)
_BEAT = (
    update(imports)
    .where(imports.c.id == bindparam("import_id"), _IS_RUNNING)
    .values(beats=imports.c.beats + 1)
)
_INTERRUPT = (
    update(imports)
    .where(
        imports.c.id == bindparam("import_id"), _IS_RUNNING, imports.c.beats == bindparam("seen")
    )
    .values(state=INTERRUPTED, finished_at=bindparam("at", type_=UtcDateTime))
)


def add(db: Connection, values: Mapping[str, Any]) -> Import | None:
    """Insert an import that runs; None where its caller has one that does."""
    return find_one(Import, db, _ADD, values)


def find(db: Connection, import_id: int) -> Import | None:
    return find_one(Import, db, _BY_ID, {"id": import_id})


def lock(db: Connection, import_id: int) -> Import | None:
    """Look up, and lock the row until this transaction ends."""
    return find_one(Import, db, _LOCK, {"id": import_id})


def running_of(db: Connection, credential: str) -> int | None:
    """Find the import of a caller that is running."""
    found: int | None = db.execute(_RUNNING_OF, {"whose": credential}).scalar_one_or_none()
    return found


def count_running(db: Connection) -> int:
    found: int = db.execute(_COUNT_RUNNING).scalar_one()
    return found


def change(db: Connection, import_id: int, values: Mapping[str, Any]) -> bool:
    """Change an import that runs. Returns whether it did."""
    of_it = update(imports).where(imports.c.id == import_id, _IS_RUNNING)
    return db.execute(of_it.values(dict(values))).rowcount == 1


def beat(db: Connection, import_id: int) -> bool:
    """Say that somebody is at work on an import. Returns whether it still runs."""
    return db.execute(_BEAT, {"import_id": import_id}).rowcount == 1


def beats(db: Connection) -> dict[int, int]:
    """Read how far the count is of each import that runs."""
    return {row.id: row.beats for row in db.execute(_BEATS)}


def interrupt(db: Connection, import_id: int, seen: int, at: Any) -> bool:
    """End an import unless its count has moved on. Returns whether it was ended."""
    values = {"import_id": import_id, "seen": seen, "at": at}
    return db.execute(_INTERRUPT, values).rowcount == 1


def page(db: Connection, after: int | None, limit: int, *, ascending: bool) -> list[Import]:
    """List imports by id, from the one behind `after`."""
    statement = page_after(select(imports), imports.c.id, after, limit, ascending=ascending)
    return find_all(Import, db, statement)

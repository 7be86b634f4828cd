"""Deletes the oldest rows of a table, a few at a time, so that nobody waits for long."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, delete, select

from service_kit.database.interface import Database
from service_kit.database.types import UtcDateTime

# So many rows a transaction, which takes about ten milliseconds; then it is others' turn.
PRUNED_AT_ONCE = 500
PAUSE_SECONDS = 0.02
# Clocks of processes may differ by this much.
_SKEW = timedelta(minutes=1)


class OldRows:
    """The rows of a table that only grows, to be deleted when they are old.

    They are looked for from the lowest id on, up to the first rows that are young. So this needs no
    index on the instant, which each insert would pay for.
    """

    def __init__(self, table: Table, instant: ColumnElement[datetime]) -> None:
        columns = table.c
        behind = columns.id > bindparam("after")
        self._next: Select[int, datetime] = (
            select(columns.id, instant).where(behind).order_by(columns.id).limit(PRUNED_AT_ONCE)
        )
        # By a range of ids, in which two processes find the same rows in the same order.
        self._delete = delete(table).where(
            behind,
            columns.id <= bindparam("through"),
            instant < bindparam("before", type_=UtcDateTime),
        )

    async def prune(self, database: Database, before: datetime, now: datetime) -> int:
        """Delete what is older than an instant. Returns how many rows."""
        deleted = after = 0
        while rows := await database.read(self._rows, after):
            old = [row_id for row_id, at in rows if at < before]
            if old:
                span = {"after": after, "through": old[-1], "before": before}
                deleted += await database.write(self._delete_some, span)
                await asyncio.sleep(PAUSE_SECONDS)
            # What a clock that was ahead has dated says nothing about the rows behind it.
            elif all(at <= now + _SKEW for _, at in rows):
                break
            after = rows[-1][0]
        return deleted

    def _rows(self, db: Connection, after: int) -> list[tuple[int, datetime]]:
        return [(row_id, at) for row_id, at in db.execute(self._next, {"after": after})]

    def _delete_some(self, db: Connection, span: dict[str, object]) -> int:
        return db.execute(self._delete, span).rowcount

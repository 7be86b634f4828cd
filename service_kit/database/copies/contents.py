"""What a service says of its own data, so that it can be copied."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sqlalchemy import Connection, MetaData, Table

# Ids and positions go on so much further after a restore, so that none that was given after the
# backup is given again.
JUMP = 1_000_000

# Called with the number of rows done, each time some are.
Advance = Callable[[int], None]
# Shows the progress of a long job: what it does, and how many rows there are in all.
Show = Callable[[str, int], AbstractContextManager[Advance]]


class CopyFailed(Exception):
    """It can't be done; the text is one sentence for operators. Nothing has changed."""


# Does again what must not be undone by a restore. Returns how many things it did.
Redo = Callable[[Connection], int]


def _nothing(_db: Connection) -> None:
    """Change nothing."""


def _nothing_to_redo(_db: Connection) -> Redo:
    return lambda _: 0


@dataclass(frozen=True)
class Contents:
    """The tables of a service, and what else a whole copy of its database needs.

    `metadata` has all of its tables. `check` yields a sentence for each rule that the rows break.
    `rebuild` makes anew what follows from the tables and is in none of them. `renew` changes what
    must not be as it was before, once a backup takes the place of a database. `recall` reads from
    the database that is replaced, perhaps of an older schema, what the restored one must do again,
    such as erasing who was erased since the backup.
    """

    metadata: MetaData
    check: Callable[[Connection], Iterable[str]]
    rebuild: Callable[[Connection], None] = _nothing
    renew: Callable[[Connection], None] = _nothing
    recall: Callable[[Connection], Redo] = _nothing_to_redo

    @property
    def tables(self) -> list[Table]:
        """All tables, each behind those that it refers to."""
        return self.metadata.sorted_tables

"""The mark of a database that was moved away, or that a move has not finished filling.

At most one of the two that a move concerns can be used at any moment, wherever the move breaks off.
"""

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from sqlalchemy import (
    URL,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    insert,
    inspect,
    make_url,
    select,
)

from service_kit.database.hosts import split
from service_kit.database.rows import find_one
from service_kit.database.types import UtcDateTime

State = Literal["moved", "arriving"]

_MARK = Table(
    "database_move",
    MetaData(),
    Column("state", String(10), primary_key=True),
    # Where it was moved to, or comes from; without a password.
    Column("place", String(1000), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)


class Mark(NamedTuple):
    state: State
    place: str
    at: datetime

    @property
    def refusal(self) -> str:
        """Say why the database can't be used."""
        if self.state == "moved":
            return (
                f"It was moved to {self.place} on {self.at:%Y-%m-%d at %H:%M} UTC: "
                "DATABASE_URL must name that."
            )
        return f"A move from {self.place} to it was broken off: run that move again."


def find_mark(db: Connection) -> Mark | None:
    if not inspect(db).has_table(_MARK.name):
        return None
    return find_one(Mark, db, select(_MARK))


def set_mark(db: Connection, state: State, place: str) -> None:
    _MARK.create(db, checkfirst=True)
    db.execute(_MARK.delete())
    db.execute(insert(_MARK), {"state": state, "place": place, "at": datetime.now(UTC)})


def drop_mark(db: Connection) -> None:
    _MARK.drop(db)


def place_of(url: str) -> str:
    """Return a database's URL without its password, and without parameters that may hold one."""
    found = split(re.sub(r"^postgres:", "postgresql:", url))
    # SQLAlchemy reads one host with a port.
    one = make_url(found.with_hosts(*found.hosts[:1]))
    shown = {name: one.query[name] for name in ("host", "port") if name in one.query}
    place = URL.create(one.drivername, one.username, None, one.host, one.port, one.database, shown)
    rendered = place.render_as_string()
    return split(rendered).with_hosts(*found.hosts) if found.hosts[1:] else rendered

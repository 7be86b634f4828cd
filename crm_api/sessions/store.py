"""The statements about sessions and links."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from crm_api.sessions.models import Link, Session, links, sessions
from service_kit.database.rows import find_all, find_one
from service_kit.database.types import UtcDateTime

_NOW = bindparam("now", type_=UtcDateTime)
_FIND = select(sessions).where(sessions.c.key == bindparam("given"), sessions.c.expires_at > _NOW)
_IS_LINK = (links.c.digest == bindparam("given"), links.c.expires_at > _NOW)


def add(db: Connection, values: Mapping[str, Any]) -> int:
    """Insert a session. Returns its id."""
    added: int = db.execute(insert(sessions).returning(sessions.c.id), dict(values)).scalar_one()
    return added


def find(db: Connection, key: bytes, now: datetime) -> Session | None:
    """Look up a session that has not expired."""
    return find_one(Session, db, _FIND, {"given": key, "now": now})


def remove(db: Connection, key: bytes) -> list[Session]:
    statement = delete(sessions).where(sessions.c.key == key).returning(sessions)
    return find_all(Session, db, statement)


def remove_all_of(db: Connection, owner: str) -> list[Session]:
    statement = delete(sessions).where(sessions.c.owner == owner).returning(sessions)
    return find_all(Session, db, statement)


def remove_expired(db: Connection, now: datetime) -> int:
    """Delete the sessions and links whose time is over. Returns how many."""
    return sum(
        db.execute(delete(table).where(table.c.expires_at <= _NOW), {"now": now}).rowcount
        for table in (sessions, links)
    )


def add_link(db: Connection, values: Mapping[str, Any]) -> None:
    db.execute(insert(links), dict(values))


def find_link(db: Connection, digest: bytes, now: datetime) -> Link | None:
    return find_one(Link, db, select(links).where(*_IS_LINK), {"given": digest, "now": now})


def take_link(db: Connection, digest: bytes, now: datetime) -> Link | None:
    """Delete a link that has not expired: of two who do so one gets it."""
    statement = delete(links).where(*_IS_LINK).returning(links)
    return find_one(Link, db, statement, {"given": digest, "now": now})

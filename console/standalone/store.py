"""Sessions in the console's own database; links, of which it has none."""

import logging
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from console.standalone.tables import Session, sessions
from service_kit.database import Database
from service_kit.database.rows import find_one
from service_kit.database.types import UtcDateTime
from service_kit.process import clock

_NOW = bindparam("now", type_=UtcDateTime)
_FIND = select(sessions).where(sessions.c.key == bindparam("given"), sessions.c.expires_at > _NOW)
_FORGET = delete(sessions).where(sessions.c.expires_at <= _NOW)

logger = logging.getLogger(__name__)


class StoredSessions:
    """Keeps the console's sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, *, key: bytes, owner: str, role: str, sealed: bytes, expires_at: datetime
    ) -> None:
        values = {"key": key, "owner": owner, "sealed": sealed, "expires_at": expires_at}
        await self._database.write(_add, values)
        logger.info("%s (%s) has signed in.", owner, role)

    async def find(self, key: bytes) -> Session | None:
        return await self._database.read(_find, key)

    async def remove(self, key: bytes) -> None:
        await self._database.write(_remove, key)

    async def remove_all_of(self, owner: str) -> None:
        await self._database.write(_remove_all_of, owner)


class NoLinks:
    """One-time links need the CRM's database: a console by itself knows none."""

    async def role_of(self, secret: str) -> str | None:
        return None

    async def spend(self, secret: str) -> str | None:
        return None


def _add(db: Connection, values: dict[str, Any]) -> None:
    """Insert a session, and forget those whose time is over."""
    db.execute(_FORGET, {"now": clock.now()})
    db.execute(insert(sessions), values)


def _find(db: Connection, key: bytes) -> Session | None:
    return find_one(Session, db, _FIND, {"given": key, "now": clock.now()})


def _remove(db: Connection, key: bytes) -> None:
    db.execute(delete(sessions).where(sessions.c.key == key))


def _remove_all_of(db: Connection, owner: str) -> None:
    db.execute(delete(sessions).where(sessions.c.owner == owner))

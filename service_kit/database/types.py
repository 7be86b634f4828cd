"""Column types that mean the same on both engines."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer
from sqlalchemy.types import TypeDecorator

# SQLite's AUTOINCREMENT takes INTEGER alone, which is 64 bits wide there anyway.
BigInt = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant, in UTC. SQLite keeps it as text of one width, so it sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    # Of our own for SQLite's text: a sixth of what SQLAlchemy's take, and a page of customers has a
    # hundred and fifty instants.

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return _write_text if dialect.name == "sqlite" else _in_utc

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        return _read_text if dialect.name == "sqlite" else None  # asyncpg's are in UTC


def _in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return value.astimezone(UTC)


# The rows of a batch share their instants.
@lru_cache(256)
def _write_text(value: datetime | None) -> str | None:
    instant = _in_utc(value)
    if instant is None:
        return None
    return instant.replace(tzinfo=None).isoformat(" ", "microseconds")


def _read_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value + "+00:00")

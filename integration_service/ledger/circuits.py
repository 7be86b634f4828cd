"""What is remembered of the far sides: which can't be called, and since when."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select, update

from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import links
from service_kit.database.types import AnyRow


def link_rows(db: Connection) -> dict[str, AnyRow]:
    """Return what is stored about each far side, by its name."""
    return {row.target: row for row in db.execute(select(links))}


def save_link(db: Connection, lease: Lease, target: str, columns: Mapping[str, Any]) -> None:
    fence(db, lease)
    db.execute(update(links).where(links.c.target == target).values(**columns))

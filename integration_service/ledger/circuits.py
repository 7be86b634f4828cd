"""What is remembered of the far sides: which can't be called, and since when."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import deliveries, links
from service_kit.database.types import AnyRow

_LAST_DELIVERED = (
    select(deliveries.c.delivered_at)
    .where(deliveries.c.state == "delivered")
    .order_by(deliveries.c.id.desc())
    .limit(1)
)


def link_rows(db: Connection) -> dict[str, AnyRow]:
    """Return what is stored about each far side, by its name."""
    return {row.target: row for row in db.execute(select(links))}


def save_link(db: Connection, lease: Lease, target: str, columns: Mapping[str, Any]) -> None:
    fence(db, lease)
    db.execute(update(links).where(links.c.target == target).values(**columns))


def last_delivery_at(db: Connection) -> datetime | None:
    """Return when the newest customer who has a package got it; it may be null."""
    found: datetime | None = db.execute(_LAST_DELIVERED).scalar_one_or_none()
    return found

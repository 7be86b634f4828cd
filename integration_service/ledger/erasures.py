"""Whom Inventory is to forget: statements about erasures."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, exists, select, update

from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import deliveries, erasures, poller
from service_kit.database.on_conflict import insert_missing

_OWE = insert_missing(erasures)
_BLANK = (
    update(deliveries)
    .where(deliveries.c.customer_uid.in_(bindparam("uids", expanding=True)))
    .values(customer_name=None)
)
# Not before its package is made: one that is on its way may still carry the name.
_DUE = (
    select(erasures.c.customer_uid)
    .where(
        erasures.c.done_at.is_(None),
        exists().where(poller.c.paused_at.is_(None)),
        ~exists().where(
            deliveries.c.customer_uid == erasures.c.customer_uid,
            deliveries.c.state.in_(("pending", "retrying")),
        ),
    )
    .order_by(erasures.c.id)
    .limit(bindparam("limit"))
)
_DONE = (
    update(erasures)
    .where(erasures.c.customer_uid.in_(bindparam("uids", expanding=True)))
    .values(done_at=bindparam("at"))
)


def note(db: Connection, uids: Sequence[str], now: datetime) -> None:
    """Forget these customers here, and write down that Inventory is to."""
    if uids:
        db.execute(_OWE, [{"customer_uid": uid, "created_at": now} for uid in uids])
        db.execute(_BLANK, {"uids": list(uids)})


def due(db: Connection, limit: int) -> list[str]:
    return list(db.execute(_DUE, {"limit": limit}).scalars())


def done(db: Connection, lease: Lease, uids: Sequence[str], now: datetime) -> None:
    """Write down that Inventory has forgotten these."""
    fence(db, lease)
    db.execute(_DONE, {"uids": list(uids), "at": now})

"""Customers who were erased: statements about what is not sent to them, and what is undone."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    null,
    select,
    update,
)

from integration_service.deliveries.models import (
    HOLDING,
    ErasedCustomer,
    deliveries,
    destinations,
    erasures,
)
from integration_service.ledger.control import IS_SENDING
from integration_service.ledger.lease import Lease, fence, hold
from integration_service.ledger.models import routes
from integration_service.routes.definitions import WELCOME
from service_kit.database.listed import is_listed
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.prepared import PreparedValues
from service_kit.database.rows import find_all

IS_ERASED = exists().where(erasures.c.customer_uid == deliveries.c.subject)

_NOTE = insert_or_update(
    erasures,
    "customer_uid",
    "customer_number = COALESCE(erasures.customer_number, excluded.customer_number)",
)
_OF_THESE = and_(
    deliveries.c.subject.in_(bindparam("uids", expanding=True)), deliveries.c.route == WELCOME.name
)
_SKIP = (
    update(deliveries)
    .where(_OF_THESE, deliveries.c.next_attempt_at.is_not(None), deliveries.c.never_claimed)
    .values(state="skipped", skip_reason="erased", updated_at=bindparam("at"))
)
# What was claimed may be at Inventory: nothing more is sent, and it is undone there.
_FORGET = update(deliveries).where(_OF_THESE).values(customer_name=null(), next_attempt_at=null())
_FORGET_ADDRESS = delete(destinations).where(
    destinations.c.customer_uid.in_(bindparam("uids", expanding=True))
)
# Whatever a receiver answered to events about them, as far as that may be shown again.
_FORGET_ANSWERS = (
    update(deliveries)
    .where(
        # Route by route, and written out, for the engines to take the index of these.
        deliveries.c.route == bindparam("name"),
        deliveries.c.event_subject.in_(bindparam("uids", expanding=True)),
        deliveries.c.event_subject.is_not(None),
        deliveries.c.state.in_([literal_column(f"'{state}'") for state in HOLDING]),
        deliveries.c.problem.is_not(None),
    )
    .values(problem=null())
)
_WEBHOOKS = select(routes.c.name).where(routes.c.target == "webhook")
_AMONG = PreparedValues[str](
    select(erasures.c.customer_uid).where(is_listed(erasures.c.customer_uid, "uids"))
)
# What is under way is settled first.
_DUE = (
    select(erasures.c.customer_uid, erasures.c.customer_number)
    .where(
        erasures.c.done_at.is_(None),
        IS_SENDING,
        ~exists().where(
            deliveries.c.subject == erasures.c.customer_uid,
            deliveries.c.claimed_epoch == bindparam("epoch"),
        ),
    )
    .order_by(erasures.c.id)
    .limit(bindparam("limit"))
)
_OF_ERASED = erasures.c.customer_uid.in_(bindparam("uids", expanding=True))
_DONE = update(erasures).where(_OF_ERASED).values(done_at=bindparam("at"))
_UNDONE = (
    update(deliveries)
    .where(_OF_THESE, deliveries.c.state.in_(("pending", "retrying", "delivered", "dead")))
    .values(
        state="undone",
        first_failed_at=null(),
        error_class=null(),
        error=null(),
        problem=null(),
        updated_at=bindparam("at"),
    )
)
_WAITING = select(func.count()).select_from(erasures).where(erasures.c.done_at.is_(None))


def note(db: Connection, erased: Sequence[ErasedCustomer], now: datetime) -> None:
    """Send nothing more to these customers, forget them, and write down that Inventory is to.

    What was never claimed is skipped; the rest is undone once Inventory has applied the erasure.
    """
    if not erased:
        return
    hold(db)
    db.execute(_NOTE, [{**one._asdict(), "created_at": now} for one in erased])
    uids = [one.customer_uid for one in erased]
    db.execute(_SKIP, {"uids": uids, "at": now})
    db.execute(_FORGET, {"uids": uids})
    db.execute(_FORGET_ADDRESS, {"uids": uids})
    forget_answers(db, uids)


def forget_answers(db: Connection, uids: Sequence[str]) -> None:
    """Forget what receivers answered to events of these customers that are unfinished, or dead.

    An answer is kept for whoever looks for the reason, and may tell of the customer.
    """
    if not uids:
        return
    for name in db.execute(_WEBHOOKS).scalars().all():
        db.execute(_FORGET_ANSWERS, {"name": name, "uids": list(uids)})


def among(db: Connection, uids: Collection[str]) -> set[str]:
    """Find which of these customers were erased."""
    return set(_AMONG.all(db, uids=list(uids)))


def due(db: Connection, lease: Lease, limit: int) -> list[ErasedCustomer]:
    """List customers whose erasure Inventory has not applied yet; none while it is paused."""
    values = {"epoch": lease.epoch, "route": WELCOME.name, "limit": limit}
    return find_all(ErasedCustomer, db, _DUE, values)


def done(db: Connection, lease: Lease, uids: Sequence[str], now: datetime) -> None:
    """Write down that Inventory has applied these erasures, and so undone what it had."""
    fence(db, lease)
    db.execute(_DONE, {"uids": list(uids), "at": now})
    db.execute(_UNDONE, {"uids": list(uids), "at": now})


def again(db: Connection, erased: Sequence[ErasedCustomer], now: datetime) -> None:
    """Have Inventory apply these erasures once more, also those that were not known here."""
    note(db, erased, now)
    db.execute(_DONE, {"uids": [one.customer_uid for one in erased], "at": None})


def waiting(db: Connection) -> int:
    """Count the erasures that Inventory has not applied yet."""
    return db.execute(_WAITING).scalar_one()

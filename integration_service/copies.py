"""What must hold of the ledger in a whole copy of its database."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from integration_service.deliveries.models import UNFINISHED, deliveries
from integration_service.ledger.models import poller
from integration_service.tables import metadata
from service_kit.database.copies import Contents

_POSITIONS = select(poller.c.position, poller.c.head_position)
_FINISHED = ("delivered", "skipped", "dead", "undone")
_DUE_THOUGH_FINISHED = (
    select(func.count())
    .select_from(deliveries)
    .where(UNFINISHED, deliveries.c.state.in_(_FINISHED))
)


def _faults(db: Connection) -> Iterator[str]:
    rows = db.execute(_POSITIONS).all()
    if len(rows) != 1:
        yield f"the ledger has {len(rows)} positions in the feed"
        return
    [(position, head)] = rows
    if position is not None and head is not None and position > head:
        yield f"the ledger has read up to position {position} of a feed that ends at {head}"
    if number := db.execute(_DUE_THOUGH_FINISHED).scalar_one():
        yield f"{number} deliveries are due though they are finished"


CONTENTS = Contents(metadata, check=_faults)

"""Retries many deliveries, a page at a time, so that no transaction is long."""

from dataclasses import dataclass, field

from integration_service.clocks import Clock
from integration_service.ledger import control
from integration_service.ledger.control import Which
from service_kit.database import Database

SHOWN = 100


@dataclass
class Retried:
    """How many match, how many were retried, and the first of them."""

    matched: int
    retried: int = 0
    customer_uids: list[str] = field(default_factory=list)


async def retry_many(
    database: Database, clock: Clock, which: Which, limit: int, *, dry_run: bool
) -> Retried:
    """Retry up to `limit`. Safe to repeat: what was retried is no longer among them.

    A dry run names whom it would be.
    """
    done = Retried(await database.scan(control.matching, which))
    after = 0
    while done.retried < limit:
        most = min(control.PAGE, limit - done.retried)
        if dry_run:
            rows = await database.read(control.some_of, which, after, most)
        else:
            rows = await database.write(control.retry_some, which, after, most, clock())
        if not rows:
            break
        after = rows[-1].id
        done.retried += len(rows)
        done.customer_uids += [row.customer_uid for row in rows][: SHOWN - len(done.customer_uids)]
    return done

"""What is remembered when the CRM does not answer, by whichever loop has asked it."""

import logging
from datetime import datetime

from integration_service.feed import store
from integration_service.ledger.lease import Lease
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed
from service_kit.database import Database

logger = logging.getLogger("integration_service")


async def note_success(database: Database, lease: Lease, circuit: Circuit) -> None:
    if circuit.succeeded():
        logger.info("The CRM answers again.")
        await database.write(targets.save, lease, circuit)


async def note_failure(
    database: Database,
    lease: Lease,
    circuit: Circuit,
    failure: CallFailed,
    now: datetime,
    interval: float,
) -> float:
    """Count a failure. Returns how many seconds to wait: more each time, up to `interval`."""
    await database.write(store.note_error, lease, f"CRM: {failure.error}", now)
    await targets.note_failure(database, lease, circuit, failure, now)
    next_poll_at = circuit.next_probe_at or now
    return min((next_poll_at - now).total_seconds(), max(interval, failure.retry_after))

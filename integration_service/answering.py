"""What Inventory's answers mean for its circuit, whatever was asked of it."""

import logging
from datetime import datetime

from integration_service import journal
from integration_service.ledger import circuits, claims
from integration_service.ledger.lease import Lease
from integration_service.links.circuit import Circuit
from integration_service.links.failures import CallFailed
from service_kit.database import Database

logger = logging.getLogger("integration_service")


async def note_success(database: Database, circuit: Circuit, lease: Lease, now: datetime) -> None:
    """Note that Inventory has answered; where it did not before, all that waits for it is due."""
    if circuit.succeeded():
        held = await database.write(claims.release_held, lease, now)
        logger.info("Inventory answers again; %d deliveries are due at once.", held)
        await database.write(circuits.save_link, lease, circuit.target, circuit.columns())


async def note_failure(
    database: Database, circuit: Circuit, lease: Lease, failure: CallFailed, now: datetime
) -> None:
    """Note that Inventory could not be used."""
    if circuit.failed(now, failure):
        journal.failed("Inventory", failure)
    await database.write(circuits.save_link, lease, circuit.target, circuit.columns())

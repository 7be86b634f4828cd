"""Tells Inventory the new addresses of customers, until their packages are packed."""

import asyncio
import logging

from integration_service.deliveries import destinations
from integration_service.ledger.lease import Clock, Lease
from integration_service.targets.failures import CallFailed
from integration_service.targets.target import Target
from service_kit.database import Database
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

AT_ONCE = 100
# After how long to try again what had to wait for its customer's package, or for Inventory.
RETRY_SECONDS = 5.0


class Readdressing:
    """A loop of its own, since addresses wait for what is under way and packages never for them."""

    def __init__(
        self, database: Database, target: Target, clock: Clock, *, noted: asyncio.Event
    ) -> None:
        self._database = database
        self._target = target
        self._circuit = target.circuit
        self._clock = clock
        self._noted = noted

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            self._noted.clear()
            if not await self.tell_some(lease):
                await stopping.sleep(RETRY_SECONDS, self._noted.wait())

    async def tell_some(self, lease: Lease) -> bool:
        """Tell Inventory some addresses. Returns whether there were any.

        Safe to repeat: dying between the call and writing it down makes the call once more, and
        Inventory keeps an address that is newer. While it can't be reached, deliveries probe.
        """
        due = await self._database.read(destinations.due, lease, AT_ONCE)
        if not due or self._circuit.is_open:
            return False
        use_request_id(new_request_id())
        try:
            refused = await self._target.readdress(due)
        except CallFailed as failure:
            waiting = "%d addresses wait to be told to Inventory: %s"
            logger.warning(waiting, len(due), failure)
            return False
        await self._database.write(destinations.done, lease, due)
        for uid in refused:
            logger.error("Inventory refuses the address of the customer with ID: %s", uid)
        return True

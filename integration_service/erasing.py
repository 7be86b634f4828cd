"""Has Inventory forget the customers whom the CRM has erased."""

import asyncio
import logging

from integration_service import journal
from integration_service.clocks import Clock
from integration_service.ledger import erasures
from integration_service.ledger.lease import Lease
from integration_service.links.circuit import Circuit
from integration_service.links.failures import CallFailed
from integration_service.links.inventory import InventoryClient
from service_kit.database import Database
from service_kit.logs import new_request_id, use_request_id
from service_kit.stopping import Stopping

logger = logging.getLogger("integration_service")

AT_ONCE = 50
# How soon one is looked for that had to wait for its customer's package, or for Inventory.
LOOK_SECONDS = 5.0


class Erasing:
    """A loop of its own, since forgetting waits for packages and packages never for it."""

    def __init__(
        self,
        database: Database,
        inventory: InventoryClient,
        circuit: Circuit,
        clock: Clock,
        noted: asyncio.Event,
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._circuit = circuit
        self._clock = clock
        self._noted = noted

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            self._noted.clear()
            if not await self.turn(lease):
                await stopping.sleep(LOOK_SECONDS, self._noted.wait())

    async def turn(self, lease: Lease) -> bool:
        """Have some forgotten. Returns whether any were.

        Safe to repeat: dying between the call and writing it down makes the call once more, and
        what is forgotten stays so. While Inventory can't be reached, the deliveries find out when
        it can.
        """
        uids = await self._database.read(erasures.due, AT_ONCE)
        if not uids or self._circuit.is_open:
            return False
        use_request_id(new_request_id())
        try:
            await self._inventory.erase(uids)
        except CallFailed as failure:
            journal.erasure_failed(len(uids), failure)
            return False
        await self._database.write(erasures.done, lease, uids, self._clock())
        for uid in uids:
            logger.info("Inventory has forgotten the erased customer with ID: %s", uid)
        return True

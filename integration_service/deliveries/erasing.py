"""Erases at targets the customers whom the CRM has erased."""

import asyncio
import logging

from integration_service.deliveries import erasures
from integration_service.deliveries.dispatch import note_success
from integration_service.ledger.lease import Clock, Lease
from integration_service.targets.failures import CallFailed
from integration_service.targets.store import note_failure
from integration_service.targets.target import Target
from service_kit.database import Database
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

AT_ONCE = 50
# After how long to try again what had to wait for its customer's package, or for Inventory.
RETRY_SECONDS = 5.0


class Erasing:
    """A loop of its own, since erasures wait for what is under way and packages never for them."""

    def __init__(
        self, database: Database, target: Target, clock: Clock, *, erased: asyncio.Event
    ) -> None:
        self._database = database
        self._target = target
        self._circuit = target.circuit
        self._clock = clock
        self._erased = erased

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            self._erased.clear()
            if not await self.erase_some(lease):
                await stopping.sleep(RETRY_SECONDS, self._erased.wait())

    async def erase_some(self, lease: Lease) -> bool:
        """Erase some customers at their target. Returns whether any were.

        Safe to repeat: dying between the call and writing it down makes the call once more, and
        what is erased stays so. While Inventory can't be reached it probes, as deliveries do: there
        may be none that could.
        """
        due = await self._database.read(erasures.due, lease, AT_ONCE)
        if not due or not self._circuit.may_call(self._clock()):
            return False
        use_request_id(new_request_id())
        try:
            await self._target.erase([id_ for one in due for id_ in one.ids])
        except CallFailed as failure:
            waiting = "%d erased customers wait to be forgotten by Inventory: %s"
            logger.warning(waiting, len(due), failure)
            if self._circuit.is_open:
                await note_failure(self._database, lease, self._circuit, failure, self._clock())
            return False
        uids = [one.customer_uid for one in due]
        await self._database.write(erasures.done, lease, uids, self._clock())
        if self._circuit.is_open:
            await note_success(self._database, lease, self._circuit, self._clock())
        for uid in uids:
            logger.info("Inventory has forgotten the erased customer with ID: %s", uid)
        return True

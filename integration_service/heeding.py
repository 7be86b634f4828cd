"""Does what operators want, whichever process they have told; within a second or two."""

import asyncio
from collections.abc import Sequence

from integration_service import journal
from integration_service.concurrency import in_any_case
from integration_service.ledger import circuits, control
from integration_service.ledger.lease import Lease
from integration_service.links.circuit import Circuit
from service_kit.database import Database
from service_kit.database.types import AnyRow
from service_kit.process.stopping import Stopping

# How soon it is looked again where no news came, and how often at most.
HEED_SECONDS = 1.0
AT_MOST_EVERY_SECONDS = 0.1


class Heeding:
    """Tells the loops of this process to wake up, and Inventory's circuit that it is paused."""

    def __init__(
        self,
        database: Database,
        circuit: Circuit,
        sending: Sequence[asyncio.Event],
    ) -> None:
        self._database = database
        self._circuit = circuit
        self._sending = sending
        self._known: AnyRow | None = None
        # Set when the feed is to be looked at now.
        self.woken = asyncio.Event()

    async def restore(self) -> None:
        """Begin with what is wanted by now; the circuit has been restored before."""
        self._known = await self._database.read(control.wanted)
        self._circuit.pause(is_paused=self._known.paused_at is not None)
        if self._known.paused_at is not None:
            journal.paused(self._known.paused_at)

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            beat = self._database.committed.next()  # taken before looking
            await self.heed(lease)
            await stopping.sleep(HEED_SECONDS, asyncio.shield(beat))
            await stopping.sleep(AT_MOST_EVERY_SECONDS)

    async def heed(self, lease: Lease) -> None:
        """Look once what is wanted."""
        # To its end: this is what a lost lease most likely interrupts, and a pooled connection that
        # is cut in the middle of an answer is lost.
        known, wanted = self._known, await in_any_case(self._database.read(control.wanted))
        if known is None or wanted.paused_at != known.paused_at:
            self._circuit.pause(is_paused=wanted.paused_at is not None)
            columns = self._circuit.columns()
            await self._database.write(circuits.save_link, lease, self._circuit.target, columns)
            journal.paused(wanted.paused_at)
        if wanted != known:
            for event in (self.woken, *self._sending):
                event.set()
        self._known = wanted

"""Applies what operators want, whichever process they asked; within a second or two."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from integration_service.concurrency import in_any_case
from integration_service.ledger import control
from integration_service.ledger.control import Wanted
from integration_service.ledger.lease import Lease
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# How soon it is looked again where no news came, and how often at most.
LOOK_SECONDS = 1.0
AT_MOST_EVERY_SECONDS = 0.1


class ControlWatcher:
    """Wakes the loops of this process, and pauses the circuit of the target."""

    def __init__(
        self, database: Database, circuit: Circuit, to_wake: Sequence[asyncio.Event]
    ) -> None:
        self._database = database
        self._circuit = circuit
        self._to_wake = to_wake
        self._known: Wanted | None = None
        # Set when the feed is to be looked at now.
        self.woken = asyncio.Event()

    async def restore(self) -> None:
        """Begin with what is wanted by now; the circuit has been restored before."""
        self._known = await self._database.read(control.wanted)
        self._circuit.pause(is_paused=self._known.paused_at is not None)
        if self._known.paused_at is not None:
            _log(self._known.paused_at)

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            next_commit = self._database.committed.next()  # taken before looking
            await self.look(lease)
            await stopping.sleep(LOOK_SECONDS, asyncio.shield(next_commit))
            await stopping.sleep(AT_MOST_EVERY_SECONDS)

    async def look(self, lease: Lease) -> None:
        """Look once what is wanted."""
        # To its end: this is what a lost lease most likely interrupts, and a pooled connection that
        # is cut in the middle of an answer is lost.
        known, wanted = self._known, await in_any_case(self._database.read(control.wanted))
        if known is None or wanted.paused_at != known.paused_at:
            self._circuit.pause(is_paused=wanted.paused_at is not None)
            await self._database.write(targets.save, lease, self._circuit)
            _log(wanted.paused_at)
        if wanted != known:
            for event in (self.woken, *self._to_wake):
                event.set()
        self._known = wanted


def _log(paused_since: datetime | None) -> None:
    if paused_since is None:
        logger.info("Resumed: deliveries are sent again.")
    else:
        logger.warning(
            "Paused since %s: the feed is read, but nothing is sent until someone resumes it.",
            clock.rfc3339(paused_since),
        )

"""Applies pauses and wake-ups, whichever process an operator asked; within a second or two."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from integration_service.concurrency import run_to_completion
from integration_service.ledger import control
from integration_service.ledger.control import ControlState
from integration_service.ledger.lease import Lease
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# How soon it checks again where no commit was notified, and how often at most.
CHECK_SECONDS = 1.0
AT_MOST_EVERY_SECONDS = 0.1


class ControlWatcher:
    """Wakes the loops of this process, and pauses the circuits of the routes' targets."""

    def __init__(
        self,
        database: Database,
        circuits: Mapping[str, Circuit],
        to_wake: Sequence[asyncio.Event],
    ) -> None:
        self._database = database
        # By the name of the route that its target serves.
        self._circuits = circuits
        self._to_wake = to_wake
        self._known: ControlState | None = None

    async def restore(self) -> None:
        """Begin with what is stored by now; the circuits have been restored before."""
        self._known = state = await self._database.read(control.control_state)
        for name, circuit in self._circuits.items():
            circuit.pause(is_paused=state.is_paused(name))
        if state.paused_at is not None:
            _log_all(state)
        else:
            self._log_routes(state, [name for name in self._circuits if state.is_paused(name)])

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""
        while not stopping.begun:
            next_commit = self._database.committed.next()  # taken before the check
            await self.check(lease)
            await stopping.sleep(CHECK_SECONDS, asyncio.shield(next_commit))
            await stopping.sleep(AT_MOST_EVERY_SECONDS)

    async def check(self, lease: Lease) -> None:
        """Apply what has changed since the last check."""
        # To its end: this is what a lost lease most likely interrupts, and a pooled connection that
        # is cut in the middle of an answer is lost.
        state = await run_to_completion(self._database.read(control.control_state))
        known = self._known
        changed = [
            name
            for name in self._circuits
            if known is None or state.is_paused(name) != known.is_paused(name)
        ]
        for name in changed:
            circuit = self._circuits[name]
            circuit.pause(is_paused=state.is_paused(name))
            await self._database.write(targets.save, lease, circuit)
        if changed and (known is None or state.paused_at != known.paused_at):
            _log_all(state)
        elif changed:
            self._log_routes(state, changed)
        if state != known:
            for event in self._to_wake:
                event.set()
        self._known = state

    def _log_routes(self, state: ControlState, names: Sequence[str]) -> None:
        for name in names:
            if (paused_since := state.paused_routes.get(name)) is None:
                logger.info("Resumed: deliveries of the route %s are sent again.", name)
            else:
                logger.warning(
                    "The route %s is paused since %s: nothing of it is sent until someone resumes "
                    "it.",
                    name,
                    clock.rfc3339(paused_since),
                )


def _log_all(state: ControlState) -> None:
    if state.paused_at is None:
        logger.info("Resumed: deliveries are sent again.")
    else:
        logger.warning(
            "Paused since %s: the feed is read, but nothing is sent until someone resumes it.",
            clock.rfc3339(state.paused_at),
        )

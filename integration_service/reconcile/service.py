"""Runs comparisons of both sides: on request, and at an interval."""

import asyncio
import logging
from contextlib import suppress

from integration_service.reconcile import store
from integration_service.reconcile.comparison import Comparison, Sides
from integration_service.reconcile.store import RunLost, Trigger
from integration_service.targets.failures import CallFailed
from service_kit.database import DatabaseUnavailable
from service_kit.process.stopping import Stopping
from service_kit.web.auth import Principal

logger = logging.getLogger("integration_service")

# How soon one that has failed is tried again.
RETRY_SECONDS = 300.0
LONGEST_NAP_SECONDS = 30.0


class AlreadyRunning(Exception):
    """Another comparison is at work; its findings are as good."""


class Reconciler:
    """Runs comparisons, one at a time for a database."""

    def __init__(self, sides: Sides, interval_seconds: float) -> None:
        self._sides = sides
        self._interval = interval_seconds
        # Set when somebody may want a comparison.
        self.wanted = asyncio.Event()

    async def begin(
        self,
        trigger: Trigger,
        *,
        repair: bool,
        confirm: bool = False,
        by: Principal | None = None,
    ) -> Comparison:
        """Begin one; `confirm` repairs however much is missing. Raises AlreadyRunning."""
        run = await self._sides.database.write(
            store.begin, trigger, repair=repair, confirm=confirm, by=by
        )
        if run is None:
            raise AlreadyRunning
        return Comparison(self._sides, run)

    async def run(self, stopping: Stopping) -> None:
        """Run comparisons on request, and with repair at each interval, until a stop."""
        while not stopping.begun:
            self.wanted.clear()
            wanted = await self._sides.database.write(store.take_wanted)
            if wanted is not None:
                await self._compare(Comparison(self._sides, wanted), stopping)
            elif (due_in := await self._due_in()) > 0:
                await stopping.sleep(min(due_in, LONGEST_NAP_SECONDS), self.wanted.wait())
            else:
                with suppress(AlreadyRunning):
                    await self._compare(await self.begin("timer", repair=True), stopping)

    async def _due_in(self) -> float:
        if not self._interval:
            return LONGEST_NAP_SECONDS
        due_in = await self._sides.database.read(store.due_in, self._interval, RETRY_SECONDS)
        return LONGEST_NAP_SECONDS if due_in is None else due_in

    async def _compare(self, comparison: Comparison, stopping: Stopping) -> None:
        task = asyncio.create_task(_to_its_end(comparison))
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _to_its_end(comparison: Comparison) -> None:
    try:
        await comparison.carry_out()
    except (CallFailed, DatabaseUnavailable, RunLost):
        pass  # it has said so itself
    except Exception:
        logger.exception("A comparison failed because of a bug.")

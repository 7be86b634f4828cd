"""Has both sides compared: when somebody asks for it, and now and then by itself."""

import asyncio
import logging
from contextlib import suppress

from integration_service.comparing import Comparison, Sides
from integration_service.ledger import reconciliations as ledger
from integration_service.ledger.reconciliations import RunLost, Trigger
from integration_service.links.failures import CallFailed
from service_kit.database import DatabaseUnavailable
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# How soon one that has failed is tried again.
RETRY_SECONDS = 300.0
LONGEST_NAP_SECONDS = 30.0


class AlreadyRunning(Exception):
    """Another comparison is at work; its findings are as good."""


class Reconciler:
    """Runs comparisons: one at a time for a database, in whichever process somebody asks for it."""

    def __init__(self, sides: Sides, interval_seconds: float) -> None:
        self._sides = sides
        self._interval = interval_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, trigger: Trigger, *, repair: bool, confirm: bool = False) -> Comparison:
        """Begin one; `confirm` repairs however much is missing. Raises AlreadyRunning."""
        run = await self._sides.database.write(ledger.begin, trigger, repair=repair)
        if run is None:
            raise AlreadyRunning
        return Comparison(self._sides, run, repair=repair, confirm=confirm)

    async def start(self, *, repair: bool, confirm: bool) -> int:
        """Begin one and let it run by itself. Returns its id. Raises AlreadyRunning."""
        comparison = await self.begin("api", repair=repair, confirm=confirm)
        task = asyncio.create_task(_to_its_end(comparison))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return comparison.run

    async def close(self) -> None:
        """Stop what runs by itself; it is written down as failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def keep_time(self, stopping: Stopping) -> None:
        """Compare, and repair, each time the interval has passed; until the process is to stop."""
        while self._interval and not stopping.begun:
            due_in = await self._sides.database.read(ledger.due_in, self._interval, RETRY_SECONDS)
            if due_in is None or due_in > 0:
                await stopping.sleep(min(due_in or LONGEST_NAP_SECONDS, LONGEST_NAP_SECONDS))
                continue
            with suppress(AlreadyRunning):
                await self._compare(await self.begin("timer", repair=True), stopping)

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

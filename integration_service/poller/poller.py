"""The one poller of a database: takes the lease, runs its five loops, and gives it back.

They dispatch deliveries, read the feed, erase customers, reconcile, and watch for pauses and
wake-ups. Beside them the lease is renewed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from integration_service.deliveries.dispatch import Dispatch
from integration_service.deliveries.erasing import Erasing
from integration_service.feed.client import CrmClient
from integration_service.feed.ingest import EARLY_ANSWER_PAUSE_SECONDS, Ingest
from integration_service.ledger import lease as leases
from integration_service.ledger.lease import Clock, FileLock, Lease, LeaseExpired, LeaseLost
from integration_service.poller.control import ControlWatcher
from integration_service.reconcile.comparison import Sides
from integration_service.reconcile.service import Reconciler
from integration_service.routes.definitions import WELCOME
from integration_service.settings import Settings
from integration_service.targets.registry import open_targets
from integration_service.targets.store import add_missing, circuits
from service_kit.database import Database, DatabaseUnavailable
from service_kit.process import clock as system_clock
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

PAUSE_AFTER_ERROR_SECONDS = 1.0


class Poller:
    """Finds new customers and has their packages made, for as long as it holds the lease."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        stopping: Stopping,
        *,
        clock: Clock = system_clock.now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self.holder = leases.holder_name()
        self._file_lock = FileLock(settings.database_url)
        self.crm = CrmClient(settings)
        self.targets = open_targets(settings, monotonic)
        self._make_loops(clock)
        # The lease this process polls under, while it does; and when it runs out, by the loop's
        # clock, if it is not renewed.
        self.lease: Lease | None = None
        self._good_until = 0.0
        self._has_expired = False

    def _make_loops(self, clock: Clock) -> None:
        database, settings, inventory = self._database, self._settings, self.targets.inventory
        self.ingest = Ingest(database, self.crm, settings, clock)
        self.erasing = Erasing(database, inventory, clock, erased=self.ingest.erased)
        self.dispatch = Dispatch(
            database, WELCOME, inventory, settings, clock, work_ready=self.ingest.work_ready
        )
        sides = Sides(database, self.crm, inventory, clock)
        self.reconciler = Reconciler(sides, settings.reconcile_interval_seconds)
        to_wake = (self.ingest.work_ready, self.ingest.erased, self.reconciler.wanted)
        self.control = ControlWatcher(database, WELCOME, inventory.circuit, to_wake)

    async def run(self) -> None:
        """Poll, or stand by for whoever does, until the process is to stop."""
        try:
            while not self._stopping.begun:
                try:
                    lease = await self.take_lease()
                    if lease is None:
                        await self._stopping.sleep(self._settings.lease_seconds / 3)
                    else:
                        await self._poll_while_leased(lease)
                except LeaseLost as lost:
                    logger.warning("%s", lost)
                    self._file_lock.release()
                    # Until whoever has the lease has the file lock too, and so is seen to be alive.
                    await self._stopping.sleep(self._settings.lease_seconds)
                except DatabaseUnavailable as error:
                    logger.warning("The poller waits for its database: %s", error)
                    await self._stopping.sleep(PAUSE_AFTER_ERROR_SECONDS)
        finally:
            self.lease = None

    async def take_lease(self) -> Lease | None:
        """Become the poller, or return None while another is."""
        good_until = self._lease_end()
        lease = await self._database.write(
            leases.take,
            self.holder,
            self._settings.lease_seconds,
            is_alone=self._file_lock.acquire(),
        )
        self._has_expired = False
        if lease is not None:
            await self._restore()
            self._good_until = good_until
            self.lease = lease
        return lease

    def trouble(self) -> str | None:
        """Say why this process can neither poll nor stand by, if it can't."""
        is_late = self.lease is not None and asyncio.get_running_loop().time() > self._good_until
        return "its lease has run out" if is_late or self._has_expired else None

    async def give_back(self, lease: Lease) -> None:
        """Let the next poller begin at once."""
        self.lease = None
        await self._database.write(leases.release, lease)
        self._file_lock.release()

    async def close(self) -> None:
        self._file_lock.release()
        await self.crm.close()
        for target in self.targets:
            await target.close()

    async def _poll_while_leased(self, lease: Lease) -> None:
        logger.info("Polling under lease %d.", lease.epoch)
        loops: list[Callable[[], Awaitable[None]]] = [
            lambda: self.dispatch.run(lease, self._stopping),
            lambda: self._read_feed(lease),
            lambda: self.erasing.run(lease, self._stopping),
            lambda: self.reconciler.run(self._stopping),
            lambda: self.control.run(lease, self._stopping),
        ]
        lost: LeaseLost | None = None
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._keep_renewing(lease))
                await asyncio.wait({group.create_task(self._keep_going(one)) for one in loops})
                renewing.cancel()
        except* LeaseExpired:
            lost = LeaseExpired()
            self._has_expired = True
        except* LeaseLost:
            lost = LeaseLost()
        if lost is not None:
            self.lease = None
            raise lost
        await self.give_back(lease)
        logger.info("Stopped polling; all that was under way is written down.")

    async def _read_feed(self, lease: Lease) -> None:
        """Poll the feed again and again.

        A wake-up during a long poll cancels that request and repeats it with wait=0. A poll whose
        answer has come is never cancelled by a wake-up; a stop cancels it anywhere, and what it was
        about to write is read again after the next start.
        """
        skip_long_poll = False
        while not self._stopping.begun:
            self.control.woken.clear()
            wait = 0.0 if skip_long_poll else self._settings.long_poll_seconds
            poll = asyncio.create_task(self.ingest.poll(lease, wait=wait))
            stop = asyncio.create_task(self._stopping.wait())
            woken = asyncio.create_task(self.control.woken.wait())
            try:
                await asyncio.wait({poll, stop, woken}, return_when=asyncio.FIRST_COMPLETED)
                if stop.done():
                    return
                if not poll.done() and self.ingest.is_waiting and not skip_long_poll:
                    skip_long_poll = True
                    continue
                seconds = await poll
                if skip_long_poll and self._settings.long_poll_seconds:
                    seconds = min(seconds, EARLY_ANSWER_PAUSE_SECONDS)
                await self._stopping.sleep(seconds, self.control.woken.wait())
                skip_long_poll = self.control.woken.is_set()
            finally:
                stop.cancel()
                woken.cancel()
                poll.cancel()
                await asyncio.gather(poll, return_exceptions=True)

    async def _keep_going(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Begin a loop again after a failure; what it needs to know is in the database."""
        while not self._stopping.begun:
            try:
                await loop()
            except LeaseLost:
                raise
            except DatabaseUnavailable as error:
                logger.warning("The poller waits for its database: %s", error)
            except Exception:
                logger.exception("A turn failed because of a bug; the next one starts afresh.")
            else:
                return
            await self._stopping.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def _keep_renewing(self, lease: Lease) -> None:
        """Renew the lease three times before it ends. Raises LeaseExpired if it can't be.

        A database that doesn't answer at all is not waited for any longer than the lease is good.
        """
        seconds = self._settings.lease_seconds
        try:
            async with asyncio.timeout_at(self._good_until) as end:
                while True:
                    await asyncio.sleep(seconds / 3)
                    good_until = self._lease_end()
                    try:
                        await self._database.write(leases.renew, lease, seconds)
                    except DatabaseUnavailable:
                        continue
                    self._good_until = good_until
                    end.reschedule(good_until)
                    self._file_lock.acquire()
        except TimeoutError:
            raise LeaseExpired from None

    def _lease_end(self) -> float:
        """Return when a lease runs out that is asked for now: by then another may be given it."""
        return asyncio.get_running_loop().time() + self._settings.lease_seconds

    async def _restore(self) -> None:
        """Go on from what the process before has left behind."""
        known = [self.crm.circuit, *(target.circuit for target in self.targets)]
        await self._database.write(add_missing, [circuit.target for circuit in known])
        stored = await self._database.read(circuits)
        for circuit in known:
            circuit.restore(stored[circuit.target])
        await self.control.restore()

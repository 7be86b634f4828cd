"""The one poller of a database: takes the lease, runs its loops, and gives it back.

They read the feed, dispatch deliveries, erase customers, reconcile, report events to webhooks, each
route by itself, and watch for pauses and wake-ups. Beside them the lease is renewed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from integration_service.deliveries.dispatch import Dispatch
from integration_service.deliveries.erasing import Erasing
from integration_service.deliveries.readdressing import Readdressing
from integration_service.deliveries.reporting import Reporting
from integration_service.feed.announcing import Announcing
from integration_service.feed.client import CrmClient
from integration_service.feed.ingest import Ingest
from integration_service.feed.lookup import EventLookup
from integration_service.feed.subscriptions import Subscriptions
from integration_service.ledger import lease as leases
from integration_service.ledger.lease import Clock, FileLock, Lease, LeaseExpired, LeaseLost
from integration_service.poller import adoption
from integration_service.poller.adoption import RoutesRefused
from integration_service.poller.control import ControlWatcher
from integration_service.poller.reading import FeedLoop
from integration_service.reconcile.comparison import Sides
from integration_service.reconcile.service import Reconciler
from integration_service.routes.definitions import (
    DEFAULT,
    WELCOME,
    InventoryRoute,
    Route,
    WebhookRoute,
)
from integration_service.settings import Settings
from integration_service.targets.circuit import Circuit
from integration_service.targets.registry import open_targets
from integration_service.targets.store import add_missing, circuits
from service_kit.database import Database, DatabaseUnavailable
from service_kit.process import clock as system_clock
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

PAUSE_AFTER_ERROR_SECONDS = 1.0


class Loop(Protocol):
    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Go on until the process is to stop. Raises LeaseLost."""


class Poller:
    """Brings about what the routes say of the feed's events, for as long as it holds the lease."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        stopping: Stopping,
        routes: Sequence[Route] = DEFAULT,
        *,
        clock: Clock = system_clock.now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._routes = routes
        self._clock = clock
        self.holder = leases.holder_name()
        self._file_lock = FileLock(settings.database_url)
        self.crm = CrmClient(settings)
        self.targets = open_targets(settings, routes, monotonic)
        self._make_loops(clock)
        # The lease this process polls under, while it does; and when it runs out, by the loop's
        # clock, if it is not renewed.
        self.lease: Lease | None = None
        self._good_until = 0.0
        self._has_expired = False
        # Why it can't work by its file of routes, if it can't.
        self._refused: str | None = None

    def _make_loops(self, clock: Clock) -> None:
        database, settings = self._database, self._settings
        inventory = self.targets.inventory
        self.packages = [route for route in self._routes if isinstance(route, InventoryRoute)]
        reported = [route for route in self._routes if isinstance(route, WebhookRoute)]
        welcome = self.packages[0] if self.packages else WELCOME
        self.ingest = Ingest(database, self.crm, settings, clock, welcome)
        self.erasing = Erasing(database, inventory, clock, erased=self.ingest.erased)
        noted = self.ingest.readdressed
        self.readdressing = Readdressing(database, inventory, clock, noted=noted)
        self.dispatch = Dispatch(
            database, welcome, inventory, settings, clock, work_ready=self.ingest.work_ready
        )
        self.ingest.send_ahead = self.dispatch.send_ahead
        sides = Sides(database, self.crm, inventory, clock, welcome.package_type)
        self.reconciler = Reconciler(sides, settings.reconcile_interval_seconds)
        self.subscriptions = Subscriptions(database, self.crm, reported, settings, clock)
        types = ",".join(sorted({kind for route in reported for kind in route.event_types}))
        self.lookup = EventLookup(self.crm, self.subscriptions.recent, types)
        self.reporting = [self._reporting_of(route) for route in reported]
        self.announcing = Announcing(database, self.crm, [route.name for route in reported])
        self.feed_loops = [
            FeedLoop(reader, settings.long_poll_seconds)
            for reader, is_used in (
                (self.ingest, self.packages),
                (self.subscriptions, self.reporting),
            )
            if is_used
        ]
        self.control = ControlWatcher(
            database,
            {route.name: self._circuit_of(route) for route in self._routes},
            [
                *(loop.woken for loop in self.feed_loops),
                *(self.ingest.work_ready, self.ingest.erased, noted, self.reconciler.wanted),
                *self.subscriptions.work_ready.values(),
            ],
        )

    def _reporting_of(self, route: WebhookRoute) -> Reporting:
        return Reporting(
            self._database,
            route,
            self.targets.webhooks[route.name],
            self.lookup.find,
            self._settings,
            self._clock,
            work_ready=self.subscriptions.work_ready[route.name],
        )

    def _circuit_of(self, route: Route) -> Circuit:
        if isinstance(route, InventoryRoute):
            return self.targets.inventory.circuit
        return self.targets.webhooks[route.name].circuit

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
                except RoutesRefused as refused:
                    self._refuse(str(refused))
                    await self._stopping.sleep(self._settings.lease_seconds)
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
        """Become the poller, or return None while another is. Raises RoutesRefused."""
        await self._database.read(adoption.check, self._routes)
        good_until = self._lease_end()
        lease = await self._database.write(
            leases.take,
            self.holder,
            self._settings.lease_seconds,
            is_alone=self._file_lock.acquire(),
        )
        self._has_expired = False
        if lease is not None:
            await self._restore(lease)
            self._good_until = good_until
            self.lease = lease
        return lease

    def trouble(self) -> str | None:
        """Say why this process can neither poll nor stand by, if it can't."""
        is_late = self.lease is not None and asyncio.get_running_loop().time() > self._good_until
        if is_late or self._has_expired:
            return "its lease has run out"
        return self._refused and "its file of routes is refused"

    async def give_back(self, lease: Lease) -> None:
        """Let the next poller begin at once."""
        self.lease = None
        await self._database.write(leases.release, lease)
        self._file_lock.release()

    async def close(self) -> None:
        self._file_lock.release()
        await self.crm.close()
        await self.targets.close()

    async def _poll_while_leased(self, lease: Lease) -> None:
        logger.info("Polling under lease %d.", lease.epoch)
        loops = self._loops(lease)
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

    def _loops(self, lease: Lease) -> list[Callable[[], Awaitable[None]]]:
        stopping = self._stopping
        parts: list[Loop] = [*self.feed_loops, *self.reporting, self.control]
        if self.packages:
            parts += [self.dispatch, self.erasing, self.readdressing]
        if self.reporting:
            parts.append(self.announcing)
        loops: list[Callable[[], Awaitable[None]]] = [
            partial(part.run, lease, stopping) for part in parts
        ]
        return loops + [partial(self.reconciler.run, stopping)] * bool(self.packages)

    def _refuse(self, reason: str) -> None:
        """Log once why it can't work by its file of routes."""
        if self._refused != reason:
            logger.error("This process can't poll: %s", reason)
        self._refused = reason

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

    async def _restore(self, lease: Lease) -> None:
        """Go on from what the process before has left behind."""
        self._refused = None
        removed = await self._database.write(adoption.adopt, lease, self._routes, self._clock())
        if removed:
            logger.warning(
                "The routes %s are no longer in the file; what they owed is skipped.",
                ", ".join(removed),
            )
        known = [self.crm.circuit, *(target.circuit for target in self.targets)]
        await self._database.write(add_missing, [circuit.target for circuit in known])
        stored = await self._database.read(circuits)
        for circuit in known:
            circuit.restore(stored[circuit.target])
        await self.control.restore()

"""Sends what is owed to its target, in batches, and writes down what came of each."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from integration_service.deliveries import claims, retry_policy
from integration_service.deliveries.log_lines import log_settled
from integration_service.deliveries.models import Claimed, Settlement
from integration_service.deliveries.retry_policy import AfterCall, raise_if_misconfigured
from integration_service.ledger.lease import Clock, Lease, LeaseLost
from integration_service.routes.definitions import ROUTES, Route
from integration_service.settings import Settings
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed
from integration_service.targets.target import DeliveryRequest, Target
from service_kit.database import Database, DatabaseUnavailable
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# Retries never take all the places: a storm of them must neither hit an Inventory that has just
# come back nor keep a new customer waiting.
RETRY_PLACES = 3
REMEMBERED_PROBES = 100
LONGEST_NAP_SECONDS = 5.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
FINISH_SECONDS = 7.0

Claim = Callable[[Connection, Lease, str, datetime, int], list[Claimed]]


class Dispatch:
    """Sends what one route owes to its target; keeps up to a number of batches under way."""

    def __init__(
        self,
        database: Database,
        route: Route,
        target: Target,
        settings: Settings,
        clock: Clock,
        *,
        work_ready: asyncio.Event,
    ) -> None:
        self._database = database
        self._route = route
        self._target = target
        self._circuit = target.circuit
        self._settings = settings
        self._clock = clock
        self._work_ready = work_ready
        self._fresh: set[asyncio.Task[None]] = set()
        self._retrying: set[asyncio.Task[None]] = set()
        # What failed without that being counted. Others are probed first, since it may be only for
        # what these hold that it fails.
        self._probed: deque[int] = deque(maxlen=REMEMBERED_PROBES)

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Send until the process is to stop, then finish what is under way. Raises LeaseLost."""
        # Nothing is under way yet. But `Poller._keep_going` may have begun this loop again under
        # the same lease, after a claim whose commit was never acknowledged.
        await self._database.write(claims.unclaim_all, lease, self._route.name)
        try:
            while not stopping.begun:
                self._work_ready.clear()
                nap = await self.start_batches(lease)
                await stopping.sleep(min(nap, LONGEST_NAP_SECONDS), self._work_ready.wait())
        finally:
            await self.finish()

    async def drain(self, lease: Lease) -> None:
        """Send what is due now, and return when nothing of it is left."""
        while True:
            self._work_ready.clear()
            if await self.start_batches(lease) <= 0 or self._work_ready.is_set():
                continue
            if not self._under_way:
                return
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Wait for the batches under way; one that takes too long is cut, and sent again later."""
        under_way = self._under_way
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=FINISH_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def start_batches(self, lease: Lease) -> float:
        """Start as many batches as there is work and room for.

        Returns after how many seconds to look again if nothing else happens before.
        """
        now = self._clock()
        if not self._circuit.may_call(now):
            assert self._circuit.next_probe_at is not None
            return (self._circuit.next_probe_at - now).total_seconds()
        due_at = await self._database.read(claims.next_due, lease, self._route.name)
        if due_at is None:
            return LONGEST_NAP_SECONDS
        if self._circuit.is_open:
            await self._start_probe(lease)
            return LONGEST_NAP_SECONDS
        if due_at > now:
            if not await self._database.read(claims.has_future_dated, now):
                return (due_at - now).total_seconds()
            await self._database.write(claims.reschedule_future_dated, lease, now)
        fresh = await self._start_due(lease, claims.claim_fresh, self._fresh)
        retries = await self._start_due(lease, claims.claim_retries, self._retrying, RETRY_PLACES)
        return 0.0 if fresh or retries else LONGEST_NAP_SECONDS

    @property
    def _under_way(self) -> set[asyncio.Task[None]]:
        return self._fresh | self._retrying

    async def _start_due(
        self, lease: Lease, claim: Claim, tasks: set[asyncio.Task[None]], most: int | None = None
    ) -> bool:
        """Start a batch of what is due, if there is a place for one, of `most` for its kind."""
        is_full = len(self._under_way) >= self._settings.delivery_concurrency
        if is_full or (most is not None and len(tasks) >= most):
            return False
        limit = self._settings.batch_size
        name = self._route.name
        batch = await self._database.write(claim, lease, name, self._clock(), limit)
        return self._start(batch, lease, tasks)

    async def _start_probe(self, lease: Lease) -> None:
        if not self._under_way:
            name = self._route.name
            batch = await self._database.write(claims.claim_probe, lease, name, self._probed)
            self._start(batch, lease, self._retrying)

    def _start(self, batch: list[Claimed], lease: Lease, tasks: set[asyncio.Task[None]]) -> bool:
        if batch:
            task = asyncio.create_task(self._carry_out(batch, lease))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: self._work_ready.set())
        return bool(batch)

    async def _carry_out(self, batch: list[Claimed], lease: Lease) -> None:
        """Send one batch; whatever happens to it, the others go on."""
        use_request_id(new_request_id())
        try:
            await self._send(batch, lease)
        except LeaseLost:
            pass  # whoever has the lease now sends it; the loop finds out by itself
        except Exception as error:
            if isinstance(error, DatabaseUnavailable):
                logger.warning("A batch could not be written down: %s", error)
            else:
                logger.exception("A batch failed because of a bug; it is sent again.")
            await self._give_back(batch, lease)

    async def _give_back(self, batch: Sequence[Claimed], lease: Lease) -> None:
        """Have deliveries sent again whose fate could not be written down; until it can, wait."""
        with contextlib.suppress(LeaseLost):
            while True:
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
                try:
                    await self._unclaim(batch, lease)
                except DatabaseUnavailable as error:
                    logger.debug("A batch still can't be written down: %s", error)
                else:
                    return

    async def _send(self, batch: Sequence[Claimed], lease: Lease) -> None:
        for one in batch:
            logger.info("Creating package request for customer ID: %s", one.subject)
        requests = [self._request_of(one) for one in batch]
        is_probe = self._circuit.is_open
        started_at = time.monotonic()
        try:
            results = raise_if_misconfigured(await self._target.deliver(requests, once=is_probe))
        except CallFailed as failure:
            await self._after_failed_call(batch, lease, failure, _milliseconds_since(started_at))
            return
        at, duration = self._clock(), _milliseconds_since(started_at)
        settlements = [
            retry_policy.decide(one, result, self._circuit, at, duration)
            for one, result in zip(batch, results, strict=True)
        ]
        await self._save_settlements(batch, lease, settlements)
        await self._note_success(lease)

    async def _after_failed_call(
        self, batch: Sequence[Claimed], lease: Lease, failure: CallFailed, duration: float
    ) -> None:
        now = self._clock()
        action = retry_policy.after_call(batch, failure, self._circuit)
        if action is AfterCall.HALVE:
            await self._halve(batch, lease)
            return
        if action is AfterCall.RETRY_IT_ALONE:
            if self._circuit.is_open:
                await self._note_success(lease)  # it answers, though not to this
        else:
            targets.count_failure(self._circuit, failure, now)
        if action is AfterCall.GIVE_BACK:
            self._probed.append(batch[0].id)
            await self._unclaim(batch, lease)
            await self._save_circuit(lease)
            return
        settlements = [
            retry_policy.decide(one, failure, self._circuit, now, duration) for one in batch
        ]
        await self._save_settlements(batch, lease, settlements)

    async def _halve(self, batch: Sequence[Claimed], lease: Lease) -> None:
        """Find the one that spoils a batch; where each does, the circuit opens and ends it."""
        middle = len(batch) // 2
        await self._send(batch[:middle], lease)
        if self._circuit.is_open:
            await self._unclaim(batch[middle:], lease)
        else:
            await self._send(batch[middle:], lease)

    async def _unclaim(self, batch: Sequence[Claimed], lease: Lease) -> None:
        await self._database.write(claims.unclaim, lease, [row.id for row in batch])

    async def _save_settlements(
        self, batch: Sequence[Claimed], lease: Lease, settlements: Sequence[Settlement]
    ) -> None:
        await self._database.write(claims.save_settlements, lease, settlements)
        log_settled([(one.subject, its) for one, its in zip(batch, settlements, strict=True)])
        if any(one.error_class for one in settlements):
            await self._save_circuit(lease)  # their age is counted by its seconds

    async def _save_circuit(self, lease: Lease) -> None:
        await self._database.write(targets.save, lease, self._circuit)

    def _request_of(self, delivery: Claimed) -> DeliveryRequest:
        return DeliveryRequest(
            delivery.subject,
            delivery.occurrence,
            delivery.customer_name,
            self._route.send,
            delivery.traceparent,
        )

    async def _note_success(self, lease: Lease) -> None:
        await note_success(self._database, lease, self._circuit, self._clock())


async def note_success(database: Database, lease: Lease, circuit: Circuit, now: datetime) -> None:
    """Note that a target has answered; where it did not before, all that waits for it is due."""
    if circuit.succeeded():
        names = [name for name, route in ROUTES.items() if route.target == circuit.target]
        held = await database.write(claims.release_held, lease, names, now)
        logger.info("%s answers again; %d deliveries are due at once.", circuit.label, held)
        await database.write(targets.save, lease, circuit)


def _milliseconds_since(started_at: float) -> float:
    return round((time.monotonic() - started_at) * 1000, 1)

"""Sends what is owed to its target, in batches, and writes down what came of each."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from integration_service.concurrency import finish_within
from integration_service.deliveries import claims, destinations, retry_policy
from integration_service.deliveries.ahead import Ahead
from integration_service.deliveries.log_lines import log_settled
from integration_service.deliveries.models import Arrival, Claimed, Settlement
from integration_service.deliveries.retry_policy import AfterCall, raise_if_misconfigured
from integration_service.ledger.lease import Clock, Lease, LeaseLost
from integration_service.routes.definitions import WELCOME, InventoryRoute
from integration_service.settings import Settings
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed
from integration_service.targets.target import (
    DeliveryRequest,
    Destination,
    Made,
    Result,
    Target,
)
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


@dataclass(frozen=True, slots=True)
class Called:
    """What a call has answered about each of a batch, or how it has failed as a whole."""

    outcome: Sequence[Result] | CallFailed
    at: datetime
    duration_ms: float

    def of(self, uids: Sequence[str], kept: Container[str]) -> "Called":
        """Leave out what was answered about other customers."""
        if isinstance(self.outcome, CallFailed):
            return self
        about = zip(uids, self.outcome, strict=True)
        return replace(self, outcome=[result for uid, result in about if uid in kept])


class Dispatch:
    """Sends what one route owes to its target; keeps up to a number of batches under way."""

    def __init__(
        self,
        database: Database,
        route: InventoryRoute,
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
        # Whether `run` starts batches, and so finishes what is under way.
        self._is_running = False

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Send until the process is to stop, then finish what is under way. Raises LeaseLost."""
        # Nothing is under way yet. But `Poller._keep_going` may have begun this loop again under
        # the same lease, after a claim whose commit was never acknowledged.
        await self._database.write(claims.unclaim_all, lease, self._route.name)
        self._is_running = True
        try:
            while not stopping.begun:
                self._work_ready.clear()
                nap = await self.start_batches(lease)
                await stopping.sleep(min(nap, LONGEST_NAP_SECONDS), self._work_ready.wait())
        finally:
            self._is_running = False
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
        await finish_within(self._under_way, FINISH_SECONDS)

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
        name = self._route.name
        is_fresh, is_retry = await self._database.read(claims.kinds_due, lease, name, self._clock())
        fresh = is_fresh and await self._start_due(lease, claims.claim_fresh, self._fresh)
        retries = is_retry and await self._start_due(
            lease, claims.claim_retries, self._retrying, RETRY_PLACES
        )
        return 0.0 if fresh or retries else LONGEST_NAP_SECONDS

    async def send_ahead(self, lease: Lease, arrivals: Sequence[Arrival]) -> Ahead | None:
        """Start to send new customers whose page is about to be noted; None where they must wait.

        Sending needs no row: after a death the page is read again and sent again, by the same
        identity, since the cursor has not moved.
        """
        uids = [arrival.subject for arrival in arrivals]
        if not uids or len(set(uids)) < len(uids) or not self._may_start():
            return None
        name = self._route.name
        may_send = await self._database.read(
            claims.may_send_ahead, lease, name, uids, self._clock()
        )
        if not may_send or not self._may_start():
            return None
        ahead = Ahead(arrivals)
        places = [arrival.destination for arrival in arrivals]
        requests = [
            self._request_of(one, place) for one, place in zip(ahead.batch, places, strict=True)
        ]
        task = asyncio.create_task(self._carry_out_ahead(ahead, requests, lease))
        task.add_done_callback(lambda _: ahead.drop())
        self._keep(task, self._fresh)
        return ahead

    def _may_start(self) -> bool:
        is_full = len(self._under_way) >= self._settings.delivery_concurrency
        circuit = self._circuit
        return self._is_running and not (is_full or circuit.is_open or circuit.is_paused)

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
            self._keep(asyncio.create_task(self._carry_out(batch, lease)), tasks)
        return bool(batch)

    def _keep(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: self._work_ready.set())

    async def _carry_out_ahead(
        self, ahead: Ahead, requests: Sequence[DeliveryRequest], lease: Lease
    ) -> None:
        """Send a batch whose page is still to be noted, then settle what was noted as claimed."""
        use_request_id(new_request_id())
        called: Called | None = None
        try:
            called = await self._call(ahead.batch, requests)
            if not isinstance(called.outcome, CallFailed):
                ahead.settlements = self._delivered(ahead.batch, called.outcome, called)
        except Exception:
            logger.exception("A batch failed because of a bug; it is sent again.")
        finally:
            ahead.answered.set()
        noted = await ahead.noted
        if noted.is_settled:
            log_settled([(one.subject, ahead.settlements[one.subject]) for one in noted.deliveries])
            await self._note_success(lease)
        elif noted.deliveries:
            known = {one.subject: one for one in noted.deliveries}
            batch = [known[uid] for uid in ahead.uids if uid in known]
            await self._carry_out(batch, lease, called and called.of(ahead.uids, known))

    def _delivered(
        self, batch: Sequence[Claimed], results: Sequence[Result], called: Called
    ) -> dict[str, Settlement]:
        """Say what is to be written down where all is delivered; else nothing."""
        if not all(isinstance(result, Made) for result in results):
            return {}
        settlements = self._decide(batch, results, called)
        return {one.subject: its for one, its in zip(batch, settlements, strict=True)}

    def _decide(
        self, batch: Sequence[Claimed], results: Sequence[Result], called: Called
    ) -> list[Settlement]:
        return [
            retry_policy.decide(one, result, self._circuit, called.at, called.duration_ms)
            for one, result in zip(batch, results, strict=True)
        ]

    async def _carry_out(
        self, batch: list[Claimed], lease: Lease, called: Called | None = None
    ) -> None:
        """Send one batch, unless that was done; whatever happens to it, the others go on."""
        use_request_id(new_request_id())
        try:
            if called is None:
                await self._send(batch, lease)
            else:
                await self._conclude(batch, lease, called)
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
        uids = [one.subject for one in batch]
        places = await self._database.read(destinations.of, uids)
        requests = [self._request_of(one, places.get(one.subject)) for one in batch]
        await self._conclude(batch, lease, await self._call(batch, requests))

    async def _call(self, batch: Sequence[Claimed], requests: Sequence[DeliveryRequest]) -> Called:
        for one in batch:
            logger.info("Creating package request for customer ID: %s", one.subject)
        is_probe = self._circuit.is_open
        outcome: Sequence[Result] | CallFailed
        started_at = time.monotonic()
        try:
            outcome = raise_if_misconfigured(await self._target.deliver(requests, once=is_probe))
        except CallFailed as failure:
            outcome = failure
        return Called(outcome, self._clock(), _milliseconds_since(started_at))

    async def _conclude(self, batch: Sequence[Claimed], lease: Lease, called: Called) -> None:
        """Write down what came of a call."""
        if isinstance(called.outcome, CallFailed):
            await self._after_failed_call(batch, lease, called.outcome, called.duration_ms)
            return
        await self._save_settlements(batch, lease, self._decide(batch, called.outcome, called))
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
        await self._database.write(claims.save_settlements, lease, self._route.name, settlements)
        log_settled([(one.subject, its) for one, its in zip(batch, settlements, strict=True)])
        if any(one.error_class for one in settlements):
            await self._save_circuit(lease)  # their age is counted by its seconds

    async def _save_circuit(self, lease: Lease) -> None:
        await self._database.write(targets.save, lease, self._circuit)

    def _request_of(self, delivery: Claimed, place: Destination | None) -> DeliveryRequest:
        return DeliveryRequest(
            delivery.subject,
            delivery.occurrence,
            delivery.customer_name,
            self._route.send,
            delivery.traceparent,
            place,
        )

    async def _note_success(self, lease: Lease) -> None:
        await note_success(self._database, lease, self._circuit, self._clock())


async def note_success(database: Database, lease: Lease, circuit: Circuit, now: datetime) -> None:
    """Note that a target has answered; where it did not before, all that waits for it is due."""
    if circuit.succeeded():
        held = await database.write(claims.release_held, lease, [WELCOME.name], now)
        logger.info("%s answers again; %d deliveries are due at once.", circuit.label, held)
        await database.write(targets.save, lease, circuit)


def _milliseconds_since(started_at: float) -> float:
    return round((time.monotonic() - started_at) * 1000, 1)

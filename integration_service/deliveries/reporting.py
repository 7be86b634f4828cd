"""Sends the events that a route reports to its webhook, and writes down what came of each."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection

from integration_service.concurrency import finish_within
from integration_service.deliveries import claims, retry_policy
from integration_service.deliveries.dispatch import (
    FINISH_SECONDS,
    LONGEST_NAP_SECONDS,
    REMEMBERED_PROBES,
)
from integration_service.deliveries.log_lines import log_reported
from integration_service.deliveries.models import Claimed, Settlement
from integration_service.deliveries.retry_policy import AfterCall
from integration_service.ledger import control
from integration_service.ledger.lease import Clock, Lease
from integration_service.routes.definitions import WebhookRoute
from integration_service.settings import Settings
from integration_service.targets import store as targets
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed, Gone, Refused, Transient
from integration_service.targets.target import Made, Result
from service_kit.database import Database
from service_kit.process.logs import new_request_id, use_request_id
from service_kit.process.stopping import Stopping

logger = logging.getLogger("integration_service")

# So many are claimed in one transaction; they wait in memory for a place.
CLAIMED_AT_ONCE = 100
# What came of so many, or of what was sent for so long, is written down in one transaction.
SETTLED_AT_ONCE = 100
SETTLED_WITHIN_SECONDS = 0.05
# How long nothing is sent after the CRM could not be asked for an event.
CRM_PAUSE_SECONDS = 1.0

Event = Mapping[str, Any]
# Finds an event of the feed by its position and its id, and is told up to which position others are
# looked for next; None where it is no longer there.
FindEvent = Callable[[int, str, int], Awaitable[Event | None]]


class Receiver(Protocol):
    """A webhook with its circuit."""

    circuit: Circuit

    async def send(self, event: Event, *, once: bool) -> Result:
        """Report one event. Raises CallFailed."""


class Reporting:
    """Sends what one route owes to its webhook; keeps up to a number of requests under way."""

    def __init__(
        self,
        database: Database,
        route: WebhookRoute,
        receiver: Receiver,
        find_event: FindEvent,
        settings: Settings,
        clock: Clock,
        *,
        work_ready: asyncio.Event,
    ) -> None:
        self._database = database
        self._name = route.name
        self._in_turn = route.order == "subject"
        self._receiver = receiver
        self._circuit = receiver.circuit
        self._find_event = find_event
        self._places = settings.delivery_concurrency
        self._clock = clock
        self._work_ready = work_ready
        # Claimed, and waiting for a place; and the places, each of which sends one after another.
        self._waiting: deque[Claimed] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_ending = False
        # The lease under which all of this is sent.
        self._lease: Lease | None = None
        # What came of those that were sent, until it is written down; and who is given back.
        self._settled: list[tuple[Claimed, Settlement]] = []
        self._settled_since = 0.0
        self._returned: list[int] = []
        self._gone: Gone | None = None
        self._answers_again = False
        self._probed: deque[int] = deque(maxlen=REMEMBERED_PROBES)
        self._crm_away_until = 0.0

    async def run(self, lease: Lease, stopping: Stopping) -> None:
        """Send until the process is to stop, then finish what is under way. Raises LeaseLost."""
        await self.begin(lease)
        try:
            while not stopping.begun:
                self._work_ready.clear()
                nap = await self.step(lease)
                await stopping.sleep(min(nap, LONGEST_NAP_SECONDS), self._work_ready.wait())
        finally:
            self._is_ending = True
            await finish_within(set(self._under_way), FINISH_SECONDS)
        await self._give_back(lease)

    async def drain(self, lease: Lease) -> None:
        """Send what is due now, and return when nothing of it is left."""
        await self.begin(lease)
        while True:
            self._work_ready.clear()
            nap = await self.step(lease)
            if self._under_way:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            elif nap > 0 and not self._work_ready.is_set():
                return

    async def begin(self, lease: Lease) -> None:
        """Write down what a loop before this one has sent, and give back what it had claimed.

        Not what was sent under another lease: whoever had the lease since has sent it as well.
        """
        if lease != self._lease:
            self._lease, self._gone, self._answers_again = lease, None, False
            self._settled.clear()
            self._returned.clear()
        await self._settle(lease)
        self._waiting.clear()
        self._is_ending = False
        if not self._under_way:
            await self._database.write(claims.unclaim_all, lease, self._name)

    async def step(self, lease: Lease) -> float:
        """Write down what was sent, and send what is due as far as there are places.

        Returns after how many seconds to look again if nothing else happens before.
        """
        self._start()
        self._return_waiting()
        if self._settles_in() <= 0:
            await self._settle(lease)
        nap = await self._claim(lease)
        self._start()
        return min(nap, self._settles_in())

    def _settles_in(self) -> float:
        """Return after how many seconds to write down what came of what was sent.

        At once where nothing more comes, or where it matters to what is sent next.
        """
        if not self._settled and not self._returned:
            return LONGEST_NAP_SECONDS
        is_pressing = self._returned or self._gone or self._answers_again
        if is_pressing or self._circuit.is_paused or self._circuit.is_open:
            return 0.0
        if not self._under_way or len(self._settled) >= SETTLED_AT_ONCE:
            return 0.0
        if self._in_turn and not self._waiting:
            return 0.0  # what comes next of a subject waits for it
        return max(0.0, self._settled_since + SETTLED_WITHIN_SECONDS - time.monotonic())

    async def _claim(self, lease: Lease) -> float:
        """Claim what is due. Returns after how many seconds to look again."""
        if len(self._waiting) >= self._places:
            return LONGEST_NAP_SECONDS
        now = self._clock()
        if (pause := self._pause(now)) > 0:
            return pause
        due_at = await self._database.read(claims.next_due, lease, self._name)
        if due_at is None:
            return LONGEST_NAP_SECONDS
        if self._circuit.is_open:
            if not self._under_way and not self._waiting:
                await self._take(claims.claim_probe, lease, list(self._probed))
            return LONGEST_NAP_SECONDS
        number = 0
        if due_at <= now:
            number = await self._take(claims.claim_events, lease, now, CLAIMED_AT_ONCE)
        # What is due may be held by what a clock has put off that was set back since.
        if not number and await self._database.read(claims.has_future_dated, now):
            await self._database.write(claims.reschedule_future_dated, lease, now)
            number = await self._take(claims.claim_events, lease, now, CLAIMED_AT_ONCE)
        if not number and due_at > now:
            return (due_at - now).total_seconds()
        return 0.0 if number == CLAIMED_AT_ONCE else LONGEST_NAP_SECONDS

    async def _take(self, claim: Callable[..., list[Claimed]], lease: Lease, *which: Any) -> int:
        """Claim deliveries, to be sent once there is a place. Returns how many."""

        def work(db: Connection) -> list[Claimed]:
            return claim(db, lease, self._name, *which, in_turn=self._in_turn)

        found = await self._database.write(work)
        self._waiting.extend(found)
        return len(found)

    def _pause(self, now: datetime) -> float:
        """Return for how many seconds nothing may be sent, as far as is known by now."""
        away = self._crm_away_until - time.monotonic()
        if away > 0 or self._circuit.may_call(now) or self._circuit.next_probe_at is None:
            return max(0.0, away)
        return (self._circuit.next_probe_at - now).total_seconds()

    def _start(self) -> None:
        """Have as many places send as there is something for."""
        while self._waiting and len(self._under_way) < self._places and self._may_start():
            task = asyncio.create_task(self._send_on(self._waiting.popleft()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            task.add_done_callback(lambda _: self._work_ready.set())

    def _may_start(self) -> bool:
        if self._circuit.is_paused or self._pause(self._clock()) > 0:
            return False
        return not self._circuit.is_open or not self._under_way

    async def _send_on(self, first: Claimed) -> None:
        """Send one after another, for as long as something waits that may be sent."""
        await self._send(first)
        while self._waiting and self._may_go_on():
            await self._send(self._waiting.popleft())

    def _may_go_on(self) -> bool:
        return not self._is_ending and not self._circuit.is_open and self._may_start()

    async def _send(self, delivery: Claimed) -> None:
        use_request_id(new_request_id())
        is_probe = self._circuit.is_open
        started_at = time.monotonic()
        through = self._waiting[-1].sequence if self._waiting else delivery.sequence
        try:
            event = await self._find_event(delivery.sequence, delivery.subject, through)
        except CallFailed as failure:
            logger.debug("The event of a webhook can't be read: %s", failure)
            self._crm_away_until = time.monotonic() + CRM_PAUSE_SECONDS
            self._returned.append(delivery.id)
            return
        result = await self._report(event, is_probe=is_probe)
        self._judge(delivery, result, round((time.monotonic() - started_at) * 1000, 1))
        # Of the first, so that the loop sees until when to wait for more.
        if len(self._settled) in {1, SETTLED_AT_ONCE} or len(self._waiting) < self._places:
            self._work_ready.set()

    async def _report(self, event: Event | None, *, is_probe: bool) -> Result:
        if event is None:
            return Refused("its event is no longer in the feed")
        try:
            return await self._receiver.send(event, once=is_probe)
        except CallFailed as failure:
            return failure
        except Exception:
            logger.exception("A webhook failed because of a bug; it is sent again.")
            return Transient("it failed because of a bug")

    def _judge(self, delivery: Claimed, result: Result, duration_ms: float) -> None:
        """Say what one attempt means, for the delivery and for the circuit."""
        now, circuit = self._clock(), self._circuit
        if isinstance(result, Made):
            self._answers_again |= circuit.succeeded()
        elif isinstance(result, Gone):
            self._gone = result
        elif not isinstance(result, Refused):
            action = retry_policy.after_call([delivery], result, circuit)
            if action is not AfterCall.RETRY_IT_ALONE:
                targets.count_failure(circuit, result, now)
            elif circuit.is_open:
                self._answers_again |= circuit.succeeded()  # it answers, though not to this
            if action is AfterCall.GIVE_BACK:
                self._probed.append(delivery.id)
                self._returned.append(delivery.id)
                return
        settlement = retry_policy.decide(delivery, result, circuit, now, duration_ms)
        if not self._settled:
            self._settled_since = time.monotonic()
        self._settled.append((delivery, settlement))

    async def _settle(self, lease: Lease) -> None:
        """Write down what came of what was sent; where that fails it is all still there."""
        settled, returned, gone = list(self._settled), list(self._returned), self._gone
        if not settled and not returned:
            return
        answers_again = self._answers_again

        def work(db: Connection) -> tuple[int, set[int]]:
            # Where it was looked up by an old position, that says nothing.
            dead = [one for one, its in settled if its.state == "dead"]
            moved = claims.moved_since(db, lease, dead)
            if kept := [its for one, its in settled if one.id not in moved]:
                claims.save_settlements(db, lease, self._name, kept)
            if returned or moved:
                claims.unclaim(db, lease, [*returned, *moved])
            if gone is not None:
                control.pause_gone(db, self._name, gone.error, self._clock())
            if answers_again or returned or any(one.error_class for _, one in settled):
                targets.save(db, lease, self._circuit)
            if not answers_again:
                return 0, moved
            return claims.release_held(db, lease, [self._name], self._clock()), moved

        held, moved = await self._database.write(work)
        del self._settled[: len(settled)], self._returned[: len(returned)]
        # Either may have come anew while this was written.
        if self._gone is gone:
            self._gone = None
        if answers_again:
            self._answers_again = False
        told = [one for one in settled if one[0].id not in moved]
        self._log(told, held if answers_again else None, gone)

    def _return_waiting(self) -> None:
        """Give back what is not to be sent now: all of it, or all but the next probe."""
        if not self._circuit.is_paused and not self._circuit.is_open:
            return
        kept = 0 if self._circuit.is_paused else 1
        while len(self._waiting) > kept:
            self._returned.append(self._waiting.pop().id)

    async def _give_back(self, lease: Lease) -> None:
        self._returned += [one.id for one in self._waiting]
        self._waiting.clear()
        await self._settle(lease)

    def _log(
        self,
        settled: Sequence[tuple[Claimed, Settlement]],
        held: int | None,
        gone: Gone | None,
    ) -> None:
        log_reported(self._name, [(one.subject, its) for one, its in settled])
        if held is not None:
            logger.info("%s answers again; %d deliveries are due.", self._circuit.label, held)
        if gone is not None:
            logger.error(
                "%s says that it is gone (410). The route is paused; nothing is skipped. Resume it "
                "with POST /routes/%s/resume once its receiver is back.",
                self._circuit.label,
                self._name,
            )

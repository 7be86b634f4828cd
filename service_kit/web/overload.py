"""Bounds on the number, the size and the duration of requests, and a fair share for each caller.

What is too much is refused, not queued.
"""

import asyncio
import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager, suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.problems import InternalError, Problem, ServiceUnavailable
from service_kit.process.rates import Spacing
from service_kit.process.shares import Shares
from service_kit.web.problems import answer, log_unavailable, refusal
from service_kit.web.rate_limits import RateLimits, address_of

# Requests that this process works on at once; those that only wait for news are counted apart, so
# that neither kind takes the places of the other.
MOST_AT_WORK = 500
MOST_WAITING = 200
# Bodies in memory, from the first byte that came of each until its request is answered.
MOST_BODY_BYTES = 64 * 1024 * 1024
HANDLER_SECONDS = 10.0
# A refusal is sent after a pause, and no caller gets more than 100 a second: those who ask again at
# once would take the time of the others.
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
REFUSAL_SECONDS = 0.01
# Whoever runs the service must get an answer when nobody else does.
ALIVE = "/health"
UNLIMITED = frozenset({ALIVE, "/health/ready", "/metrics"})
MOST_PROBES = 100

logger = logging.getLogger(__name__)


class Overloaded(ServiceUnavailable):
    """Too many requests are under way; the same request may succeed later."""

    slug = "overloaded"


class TookTooLong(ServiceUnavailable):
    """The request took too long and was stopped; its change may still take effect."""

    slug = "took-too-long"

    def __init__(self) -> None:
        super().__init__(
            f"It took longer than {HANDLER_SECONDS:g} s. What it was to change may still be "
            "changed: ask for it, or send the same again with the same Idempotency-Key."
        )


class Capacity:
    """How much this process does at once, for all callers together."""

    def __init__(self) -> None:
        self.at_work = Shares(MOST_AT_WORK)
        self.waiting = Shares(MOST_WAITING)
        self.probes = Shares(MOST_PROBES)
        self.body_bytes = Shares(MOST_BODY_BYTES)
        self._refusals = Spacing(REFUSAL_SECONDS)

    def pause_seconds(self, caller: Hashable) -> float:
        """Return how long this caller waits for its next refusal."""
        return min(self._refusals.next_in(caller, PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


class RequestSlot:
    """What one request takes of its caller's share, and the time that it may take."""

    __slots__ = (
        "_body_bytes",
        "_capacity",
        "_places",
        "caller",
        "has_place",
        "is_body_complete",
        "is_counted",
        "is_probe",
        "is_refused",
        "length",
        "paid_units",
        "shows_token",
        "timeout",
    )

    def __init__(self, capacity: Capacity, scope: Scope) -> None:
        self._capacity = capacity
        self.is_probe = scope["path"] in UNLIMITED
        self._places = capacity.probes if self.is_probe else capacity.at_work
        self.caller: Hashable = address_of(scope)
        self.has_place = self.is_counted = self.is_refused = self.shows_token = False
        self.is_body_complete = True
        self.length = self.paid_units = self._body_bytes = 0
        self.timeout = asyncio.timeout(HANDLER_SECONDS)
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.shows_token = True
            elif name == b"content-length" and value.isdigit():
                self.length = int(value[:18])
                self.is_body_complete = not self.length
            elif name == b"transfer-encoding":
                self.is_body_complete = False

    def enter(self) -> None:
        """Take a place, unless the request has one. Raises Overloaded."""
        if self.has_place:
            return
        if not self._places.take(self.caller):
            raise self.refusal(f"{self._places.most} requests are answered at once")
        self.has_place = True

    def leave(self) -> None:
        if self.has_place:
            self.has_place = False
            self._places.give_back(self.caller)

    def belong_to(self, caller: Hashable) -> None:
        """Give the place to the caller, who is known by now. Raises Overloaded."""
        if caller == self.caller:
            return
        had_place = self.has_place
        self.leave()
        self.caller = caller
        if had_place:
            self.enter()

    def keep(self, number: int) -> None:
        """Count the bytes of a body until the request ends. Raises Overloaded."""
        if not self._capacity.body_bytes.take(self.caller, number):
            most = self._capacity.body_bytes.most // 1024**2
            raise self.refusal(f"The bodies of requests under way may have {most} MiB")
        self._body_bytes += number

    def end(self) -> None:
        self.leave()
        if self._body_bytes:
            self._capacity.body_bytes.give_back(self.caller, self._body_bytes)

    def refuse(self, caller: Hashable) -> None:
        """Give up the place, since the caller's request is refused."""
        self.leave()
        self.caller = caller
        self.is_refused = True

    def pause_seconds(self) -> float:
        return self._capacity.pause_seconds(self.caller)

    def refusal(self, rule: str) -> Overloaded:
        self.refuse(self.caller)
        return Overloaded(
            f"{rule}, and a caller with more than a quarter of that leaves a quarter to others."
        )

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Leave the slot to others while the request only waits. Raises Overloaded."""
        waiting = self._capacity.waiting
        if not waiting.take(self.caller):
            raise self.refusal(f"{waiting.most} requests may wait at once; ask without waiting")
        self.leave()
        self.allow(seconds + HANDLER_SECONDS)
        try:
            yield
        finally:
            waiting.give_back(self.caller)
            self._places.add(self.caller)
            self.has_place = True
            self.allow(HANDLER_SECONDS)

    def allow(self, seconds: float | None) -> None:
        """Move the deadline; None while somebody else with a deadline of their own is at work."""
        if not self.timeout.expired():
            now = asyncio.get_running_loop().time()
            self.timeout.reschedule(None if seconds is None else now + seconds)


class Slots:
    """Gives each request its slot, counts preflights, and sends refusals after a pause."""

    def __init__(self, app: ASGIApp, capacity: Capacity) -> None:
        self.app = app
        self.capacity = capacity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        slot = scope["slot"] = RequestSlot(self.capacity, scope)

        async def send_unhurried(message: Message) -> None:
            if slot.is_refused and message["type"] == "http.response.start":
                await pause(scope, receive)
            await send(message)

        app = self.app
        if scope["method"] == "OPTIONS":  # CORS answers some of them by itself
            app = refusal(Request(scope)) or app
        try:
            await app(scope, receive, send_unhurried)
        finally:
            slot.end()


class Bounded:
    """Refuses requests over the bounds, stops those that take too long, and turns bugs into 500."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False
        slot: RequestSlot = scope["slot"]

        async def receive_unhurried() -> Message:
            slot.allow(None)  # the protocol has a deadline for the client
            message = await _receive(slot, receive)
            slot.allow(HANDLER_SECONDS)
            return message

        async def send_unhurried(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                has_begun = True
                slot.allow(None)
            await send(message)

        try:
            async with slot.timeout:
                if slot.is_probe:
                    await self._let_probe_in(scope, slot, receive)
                else:
                    self._let_in(scope, slot)
                await self.app(scope, receive_unhurried, send_unhurried)
        except Exception as error:
            problem = _problem(error, slot)
            if has_begun:
                raise
            await answer(Request(scope), problem)(scope, receive, send)

    def _let_in(self, scope: Scope, slot: RequestSlot) -> None:
        """Raise the Problem for which a request may not enter."""
        if not slot.shows_token:
            self.limits.count_by_address(scope)  # else once somebody looks at the token
        slot.enter()

    async def _let_probe_in(self, scope: Scope, slot: RequestSlot, receive: Receive) -> None:
        """Let a request for the state in, after a pause where there are many from its address."""
        slot.is_counted = True
        if self.limits.is_probed_too_often(scope):
            slot.allow(None)
            await pause(scope, receive)
            slot.allow(HANDLER_SECONDS)
        if scope["path"] != ALIVE:
            slot.enter()


async def _receive(slot: RequestSlot, receive: Receive) -> Message:
    """Receive a piece. Whoever sends slowly has no place until the body is complete."""
    if slot.is_body_complete:
        return await receive()
    slot.leave()
    message = await receive()
    if not message.get("more_body"):
        slot.is_body_complete = True
        slot.enter()
    return message


async def pause(scope: Scope, receive: Receive) -> None:
    """Wait before a refusal is sent, unless the process stops, and drop what comes of the body."""
    slot: RequestSlot = scope["slot"]
    with suppress(TimeoutError):
        async with asyncio.timeout(slot.pause_seconds()):
            while not slot.is_body_complete:
                slot.is_body_complete = not (await receive()).get("more_body")
            await scope["app"].state.stopping.wait()


def _problem(error: Exception, slot: RequestSlot) -> Problem:
    """Log why a request has ended early. Returns what its caller is told."""
    if isinstance(error, Problem):
        if isinstance(error, ServiceUnavailable):
            log_unavailable(error)
        return error
    if isinstance(error, TimeoutError) and slot.timeout.expired():
        logger.error("A request took longer than %g s and was ended.", HANDLER_SECONDS)
        return TookTooLong()
    logger.error("A request failed because of a bug.", exc_info=error)
    return InternalError()


def slot_of(request: Request) -> RequestSlot:
    found: RequestSlot = request.scope["slot"]
    return found

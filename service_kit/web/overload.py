"""Bounds on the number and the duration of requests: what is too much is refused, not queued."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.problems import InternalError, ServiceUnavailable
from service_kit.web.problems import answer, log_unavailable

# Requests that this process works on at once; those that only wait for news are counted apart, so
# that neither kind takes the places of the other.
MOST_AT_WORK = 500
MOST_WAITING = 200
HANDLER_SECONDS = 10.0
# Whoever runs the service must get an answer when nobody else does.
UNLIMITED = frozenset({"/health", "/health/ready", "/metrics"})

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


class RequestSlot:
    """One request among those that are under way, and the time that it may take."""

    def __init__(self, limits: "Bounded") -> None:
        self._limits = limits
        self.timeout = asyncio.timeout(HANDLER_SECONDS)

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Leave the slot to others while the request only waits. Raises Overloaded."""
        limits = self._limits
        if limits.waiting >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} requests wait already; ask without waiting.")
        limits.at_work -= 1
        limits.waiting += 1
        self.allow(seconds + HANDLER_SECONDS)
        try:
            yield
        finally:
            limits.waiting -= 1
            limits.at_work += 1
            self.allow(HANDLER_SECONDS)

    def allow(self, seconds: float | None) -> None:
        """Move the deadline; None while somebody else with a deadline of their own is at work."""
        if not self.timeout.expired():
            now = asyncio.get_running_loop().time()
            self.timeout.reschedule(None if seconds is None else now + seconds)


class Bounded:
    """Refuses requests over the bounds, stops those that take too long, and turns bugs into 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.at_work = 0
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_limited = scope["path"] not in UNLIMITED
        if is_limited and self.at_work >= MOST_AT_WORK:
            problem = Overloaded(f"{MOST_AT_WORK} requests are under way already.")
            log_unavailable(problem)
            await answer(Request(scope), problem)(scope, receive, send)
            return
        self.at_work += is_limited
        try:
            await self._run(scope, receive, send)
        finally:
            self.at_work -= is_limited

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False
        slot = scope["slot"] = RequestSlot(self)

        async def receive_unhurried() -> Message:
            slot.allow(None)  # the protocol has a deadline for the client
            message = await receive()
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
                await self.app(scope, receive_unhurried, send_unhurried)
        except Exception as error:
            problem: TookTooLong | InternalError
            if isinstance(error, TimeoutError) and slot.timeout.expired():
                problem = TookTooLong()
                logger.error("A request took longer than %g s and was ended.", HANDLER_SECONDS)
            else:
                problem = InternalError()
                logger.exception("A request failed because of a bug.")
            if has_begun:
                raise
            await answer(Request(scope), problem)(scope, receive, send)


def slot_of(request: Request) -> RequestSlot:
    found: RequestSlot = request.scope["slot"]
    return found

"""Bounds on how much is under way, and how long: too much is refused, not piled up."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service_kit.web.problem_responses import answer, internal_error, log_unavailable
from service_kit.web.problems import Problem, ServiceUnavailable

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
    """It took too long and was ended; what it was to change may still be changed."""

    slug = "took-too-long"


class Load:
    """How many requests of this process are under way."""

    def __init__(self) -> None:
        self.at_work = 0
        self.waiting = 0


class Place:
    """What one request takes up, and for how long: as asyncio.timeout, but at half the cost."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.is_late = False

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        assert task is not None, "requests are answered in tasks"
        self._task = task
        self._cancelling = task.cancelling()
        self.allow(HANDLER_SECONDS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.allow(None)
        # Another may have cancelled the task as well; that is none of ours.
        is_ours = self.is_late and self._task.uncancel() <= self._cancelling
        if is_ours and kind is asyncio.CancelledError:
            raise TimeoutError

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Make room for others while the request has nothing to do but wait. Raises Overloaded."""
        load = self._load
        if load.waiting >= MOST_WAITING:
            raise Overloaded(f"{MOST_WAITING} requests wait already; ask without waiting.")
        load.at_work -= 1
        load.waiting += 1
        self.allow(seconds + HANDLER_SECONDS)
        try:
            yield
        finally:
            load.waiting -= 1
            load.at_work += 1
            self.allow(HANDLER_SECONDS)

    def allow(self, seconds: float | None) -> None:
        """Move the deadline; None for the time of somebody else who has a deadline of their own."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and not self.is_late:
            self._timer = self._loop.call_later(seconds, self._end)

    def _end(self) -> None:
        self.is_late = True
        self._task.cancel()


class Bounded:
    """Refuses what is too much, ends what takes too long, and turns a bug into a 500."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.load = Load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_limited = scope["path"] not in UNLIMITED
        if is_limited and self.load.at_work >= MOST_AT_WORK:
            problem = Overloaded(f"{MOST_AT_WORK} requests are under way already.")
            log_unavailable(problem)
            await answer(Request(scope), problem)(scope, receive, send)
            return
        self.load.at_work += is_limited
        try:
            await self._carry_out(scope, receive, send)
        finally:
            self.load.at_work -= is_limited

    async def _carry_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False
        place = scope["place"] = Place(self.load)

        async def receive_unhurried() -> Message:
            place.allow(None)  # the protocol has a deadline for the client
            message = await receive()
            place.allow(HANDLER_SECONDS)
            return message

        async def send_unhurried(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            place.allow(None)
            await send(message)

        try:
            with place:
                await self.app(scope, receive_unhurried, send_unhurried)
        except Exception as error:
            is_late = isinstance(error, TimeoutError) and place.is_late
            if is_late:
                logger.error("A request took longer than %g s and was ended.", HANDLER_SECONDS)
            else:
                logger.exception("A request failed because of a bug.")
            if has_begun:
                raise
            response = (
                answer(Request(scope), _late()) if is_late else internal_error(Request(scope))
            )
            await response(scope, receive, send)


def place_of(request: Request) -> Place:
    found: Place = request.scope["place"]
    return found


def _late() -> Problem:
    return TookTooLong(
        f"It took longer than {HANDLER_SECONDS:g} s. What it was to change may still be changed: "
        "ask for it, or send the same again with the same Idempotency-Key."
    )

"""Answers 429 to callers over their rate limit, and to those who send too many invalid tokens.

Each process counts for itself, so with four workers a caller gets up to four times as much.
"""

import ipaddress
import logging
import re
from collections.abc import Collection, Hashable
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service_kit.problems import Problem
from service_kit.process.rates import Buckets, Rate, Taken
from service_kit.web.overload import UNLIMITED
from service_kit.web.problems import answer

# Where callers are limited at all, nobody guesses tokens faster than this from one address.
FAILURES = Rate(60, 60)
BURST = 2  # what may come at once, as a multiple of the rate

# The start of a random token may be logged; of a shorter one it would help to guess the rest.
_TELLING = re.compile(r"(?P<start>[a-z]{2,8}_[A-Za-z0-9]{4})[A-Za-z0-9]{30,}")

logger = logging.getLogger(__name__)


class TooManyRequests(Problem):
    """The caller is over its rate limit, or has sent too many invalid tokens."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    slug = "too-many-requests"
    headers = {"Retry-After": "1"}

    def __init__(self, detail: str, taken: Taken) -> None:
        super().__init__(detail, headers={"Retry-After": str(taken.seconds)})


class RateLimits:
    """Rate limits by token, and by address for callers without one."""

    def __init__(self, rate: Rate | None) -> None:
        self._callers = Buckets(rate, BURST * rate.number) if rate else None
        self._failures = Buckets(FAILURES, FAILURES.number)

    def count(self, scope: Scope, caller: Hashable) -> None:
        """Count a request, and add what is left to the headers. Raises TooManyRequests."""
        if self._callers is None:
            return
        taken = self._callers.take(caller)
        policy = f'"caller";q={self._callers.burst};w={self._callers.window}'
        # As of draft-ietf-httpapi-ratelimit-headers-11.
        scope["answer_headers"] += [
            (b"ratelimit-policy", policy.encode()),
            (b"ratelimit", f'"caller";r={taken.left};t={taken.seconds}'.encode()),
        ]
        if not taken.is_allowed:
            raise TooManyRequests("You are over the rate limit of this service.", taken)

    def count_failure(self, scope: Scope, token: str, reason: str) -> None:
        """Log an invalid token. Raises TooManyRequests for too many from one address.

        A valid token of the same address gets in all the same: who is behind a shared address must
        not be locked out by a neighbour.
        """
        address = address_of(scope)
        taken = self._failures.take(address)
        if not taken.is_allowed:
            if self._callers is None:
                return
            raise TooManyRequests("Too many invalid tokens were sent from this address.", taken)
        telling = _TELLING.fullmatch(token)
        start = f"{telling['start']}…" if telling else "(not shown)"
        logger.warning("Authentication failed: %s, token %s, from %s.", reason, start, address)
        if not taken.left:
            logger.warning("Further failures of %s are not logged.", address)


class RateLimited:
    """Counts requests without a token by address, before anything is done for them.

    A request with a token is counted once its owner is known.
    """

    def __init__(self, app: ASGIApp, limits: RateLimits, public: Collection[Any]) -> None:
        self.app = app
        self.limits = limits
        self.public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in UNLIMITED:
            shows_token = any(name == b"authorization" for name, _ in scope["headers"])
            if not shows_token or scope["path"] in self.public:
                try:
                    self.limits.count(scope, address_of(scope))
                except TooManyRequests as problem:
                    await answer(Request(scope), problem)(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """Return the client's address; of IPv6 the /64 network, which one client has as a whole.

    What a proxy forwards may be no address at all: all such callers count as one.
    """
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0] if client else "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))

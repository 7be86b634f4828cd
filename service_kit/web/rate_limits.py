"""Answers 429 to callers over their rate limit, and to those who send too many invalid tokens.

Each process counts for itself, so with four workers a caller gets up to four times as much.
"""

import logging
import re
from collections.abc import Hashable
from http import HTTPStatus

from starlette.types import Scope

from service_kit.problems import Problem
from service_kit.process.addresses import client_of
from service_kit.process.rates import Buckets, Rate, Taken

# Where callers are limited at all, nobody guesses tokens faster than this from one address.
FAILURES = Rate(60, 60)
# So many in a minute are no slip of the pen.
SUSPICIOUS_FAILURES = 10
BURST = 2  # what may come at once, as a multiple of the rate
# A body counts as one more request for each of these: reading it is most of what it costs.
BODY_UNIT = 4 * 1024

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
    """Rate limits by token, and by address for requests whose token nobody has verified."""

    def __init__(self, rate: Rate | None) -> None:
        self._callers = Buckets(rate, BURST * rate.number) if rate else None
        self._probes = Buckets(rate, BURST * rate.number) if rate else None
        self._failures = Buckets(FAILURES, FAILURES.number)
        # A larger body counts no more, or a caller that is never idle could not send it at all.
        self._most_at_once = rate.number if rate else 0

    def count(self, scope: Scope, caller: Hashable, *, is_limited: bool = True) -> None:
        """Count a request as this caller's, and add what is left to the answer's headers.

        One that is not limited takes a place, and nothing of the rate. Raises TooManyRequests, or
        Overloaded for a caller that has too many under way.
        """
        slot = scope["slot"]
        slot.is_counted = True
        if self._callers is not None and is_limited:
            slot.paid_units = slot.length // BODY_UNIT
            taken = self._callers.take(caller, min(1 + slot.paid_units, self._most_at_once))
            policy = f'"caller";q={self._callers.burst};w={self._callers.window}'
            # As of draft-ietf-httpapi-ratelimit-headers-11.
            scope["answer_headers"] += [
                (b"ratelimit-policy", policy.encode()),
                (b"ratelimit", f'"caller";r={taken.left};t={taken.seconds}'.encode()),
            ]
            if not taken.is_allowed:
                slot.refuse(caller)
                raise TooManyRequests("You are over the rate limit of this service.", taken)
        slot.belong_to(caller)

    def count_by_address(self, scope: Scope) -> None:
        """Count a request that ends without a look at its token. Raises as `count` does."""
        if not scope["slot"].is_counted:
            self.count(scope, address_of(scope))

    def count_body(self, scope: Scope, received: int) -> None:
        """Count what came of a body whose length was not announced. Raises TooManyRequests."""
        slot = scope["slot"]
        units = min(received // BODY_UNIT, self._most_at_once - 1)
        if self._callers is None or units <= slot.paid_units:
            return
        taken = self._callers.take(slot.caller, units - slot.paid_units)
        if not taken.is_allowed:
            slot.refuse(slot.caller)
            raise TooManyRequests("The body is too large for what is left of your rate.", taken)
        slot.paid_units = units

    def count_failure(self, scope: Scope, token: str, reason: str) -> None:
        """Log and count an invalid token. Raises TooManyRequests for too many from one address.

        A valid token of the same address gets in all the same: who is behind a shared address must
        not be locked out by a neighbour.
        """
        address = address_of(scope)
        taken = self._failures.take(address)
        if taken.is_allowed:
            telling = _TELLING.fullmatch(token)
            start = f"{telling['start']}…" if telling else "(not shown)"
            logger.warning("Authentication failed: %s, token %s, from %s.", reason, start, address)
            if taken.left == FAILURES.number - SUSPICIOUS_FAILURES:
                logger.warning(
                    "%d invalid tokens came from %s within a minute: somebody may be guessing.",
                    SUSPICIOUS_FAILURES,
                    address,
                )
            if not taken.left:
                logger.warning("Further failures of %s are not logged.", address)
        self.count(scope, address)
        if self._callers is not None and not taken.is_allowed:
            scope["slot"].refuse(address)
            raise TooManyRequests("Too many invalid tokens were sent from this address.", taken)

    def is_probed_too_often(self, scope: Scope) -> bool:
        """Count a request for the state of the service, of which none is ever refused."""
        return self._probes is not None and not self._probes.take(address_of(scope)).is_allowed


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return client_of(client[0]) if client else "unknown"

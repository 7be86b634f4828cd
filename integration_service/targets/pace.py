"""Keeps within the rate limit that a remote service announces, so that it need not refuse."""

import asyncio
import re
import time
from collections.abc import Mapping

from service_kit.web.rate_limits import BODY_UNIT

# As of draft-ietf-httpapi-ratelimit-headers: what may be asked in which time, and what is left.
_POLICY = re.compile(r'"[^"]*";q=(?P<quota>[1-9][0-9]{0,8});w=(?P<window>[1-9][0-9]{0,8})')
_LEFT = re.compile(r'"[^"]*";r=(?P<left>[0-9]{1,9})')
# Whoever allows less than this is simply asked, and says when to come back.
LONGEST_INTERVAL_SECONDS = 1.0


class Pace:
    """Spaces requests out while less than half of what is allowed at once is left."""

    def __init__(self) -> None:
        self._interval = 0.0
        self._free_at = 0.0

    async def wait(self, length: int = 0) -> None:
        """Wait until the next request may go, whose body is so long."""
        if not self._interval:
            return
        now = time.monotonic()
        may_go_at = max(self._free_at, now)
        self._free_at = may_go_at + self._interval * _units(length)
        await asyncio.sleep(may_go_at - now)

    def note(self, headers: Mapping[str, str], length: int = 0) -> None:
        """Read from the answer to a body of this length what is left."""
        policy = _POLICY.match(headers.get("ratelimit-policy", ""))
        left = _LEFT.match(headers.get("ratelimit", ""))
        if policy is None or left is None or int(left["left"]) * 2 >= int(policy["quota"]):
            self._interval = 0.0
        else:
            interval = int(policy["window"]) / int(policy["quota"])
            self._interval = min(interval, LONGEST_INTERVAL_SECONDS)
            # As many may be left as a small request takes, and not as another like this takes.
            next_at = time.monotonic() + self._interval * (_units(length) - 1)
            self._free_at = max(self._free_at, next_at)


def _units(length: int) -> int:
    """Return as how many requests our services count one with a body of this length."""
    return 1 + length // BODY_UNIT

"""Rates, and token buckets that enforce them."""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

_RATE = re.compile(r"(?P<number>[1-9][0-9]{0,5})/(?P<unit>second|minute|hour)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
# The least recent caller beyond this number is forgotten, and starts with a full bucket.
MOST_CALLERS = 20_000
# The rounding error of a sum of intervals.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests in a number of seconds."""

    number: int
    seconds: int


def parse_rate(value: object) -> object:
    """Parse a rate such as `50/second`, or `off`. Raises ValueError for any other text."""
    if not isinstance(value, str) or value.strip().lower() == "off":
        return value.strip().lower() if isinstance(value, str) else value
    if (found := _RATE.fullmatch(value.strip().lower())) is None:
        raise ValueError("it must be off or a rate, as in 50/second, 600/minute or 9000/hour")
    return Rate(int(found["number"]), _SECONDS[found["unit"]])


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking a token out of a bucket."""

    is_allowed: bool
    left: int
    # Until the bucket is full; or, if it was empty, until there is a token again.
    seconds: int


class Buckets:
    """One token bucket for each caller.

    A bucket is one number, the instant at which it will be full again. (The library `limits` knows
    windows, but no bucket that allows a burst, and its memory has no bound.)
    """

    def __init__(self, rate: Rate, burst: int) -> None:
        self.burst = burst
        self._interval = rate.seconds / rate.number
        self.window = math.ceil(burst * self._interval)
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, caller: Hashable, number: int = 1) -> Taken:
        """Take so many at once, or none of them."""
        now = time.monotonic()
        full_in = self._full_in(caller, now, number)
        if not (taken := self._taken(full_in)).is_allowed:
            return taken
        self._full_at[caller] = now + full_in
        self._full_at.move_to_end(caller)
        if len(self._full_at) > MOST_CALLERS:
            self._full_at.popitem(last=False)
        return taken

    def give_back(self, caller: Hashable) -> None:
        """Undo a `take`, of a request that turned out not to count."""
        if caller in self._full_at:
            self._full_at[caller] -= self._interval

    def _full_in(self, caller: Hashable, now: float, number: int = 1) -> float:
        """Return the seconds until the bucket will be full, once so much is taken from it."""
        return max(self._full_at.get(caller, now) - now, 0.0) + number * self._interval

    def _taken(self, full_in: float) -> Taken:
        room = self.burst * self._interval - full_in
        if room < -_ROUNDING:
            return Taken(is_allowed=False, left=0, seconds=math.ceil(-room))
        left = int((room + _ROUNDING) / self._interval)
        return Taken(is_allowed=True, left=left, seconds=math.ceil(full_in))


class Spacing:
    """Sends what callers wait for with a least pause, and to one caller no faster than a rate."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next_at: OrderedDict[Hashable, float] = OrderedDict()

    def next_in(self, caller: Hashable, pause: float) -> float:
        """Return after how many seconds this one of the caller may go."""
        now = time.monotonic()
        at = max(self._next_at.get(caller, now), now + pause)
        self._next_at[caller] = at + self._interval
        self._next_at.move_to_end(caller)
        if len(self._next_at) > MOST_CALLERS:
            self._next_at.popitem(last=False)
        return at - now

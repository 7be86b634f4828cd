"""Time and chance of a simulated run: nothing waits for real, and all that is random is seeded."""

import asyncio
import os
import random
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from service_kit.process import clock

BEGINNING = datetime(2026, 1, 5, 12, tzinfo=UTC)


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set depends on when it was made, not on where in memory it is."""

    count = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        NumberedTask.count += 1
        self._number = NumberedTask.count
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class _NobodyCalls(selectors.DefaultSelector):
    """Where an event loop would wait for the next timer, it is the timer's time at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("Everybody waits, and nothing will ever happen.")
        # A turn takes a moment: else who waits for the last rounding error would do so for ever.
        self.now += max(1e-6, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in one thread, without a network, whose clock jumps from timer to timer."""

    def __init__(self) -> None:
        self._nobody = _NobodyCalls()
        super().__init__(self._nobody)
        self.set_task_factory(_numbered)

    def time(self) -> float:
        return self._nobody.now

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as while every machine is switched off."""
        self._nobody.now += seconds


def _numbered(loop: Any, coroutine: Any, **options: Any) -> NumberedTask:
    return NumberedTask(coroutine, loop=loop, **options)


class WallClock:
    """What a machine believes the time to be; it may be set to anything."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.offset = 0.0
        self._set_ahead = 0.0

    def set(self, seconds: float) -> None:
        self.offset += seconds
        self._set_ahead += max(seconds, 0.0)

    def meter(self) -> float:
        """Give the seconds that may seem to have passed here: what did, and each jump ahead."""
        return self._loop.time() + self._set_ahead

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=round(self._loop.time() + self.offset, 6))


@contextmanager
def simulated(
    loop: SimulatedLoop, chance: random.Random, now: Callable[[], datetime]
) -> Iterator[None]:
    """Have all code ask the simulation for the time and for what is random.

    `now` returns the wall clock's time of whoever asks.
    """

    def nanoseconds() -> int:
        return int(now().timestamp() * 1e9)

    NumberedTask.count = 0
    state = random.getstate()
    random.seed(chance.random())
    changed: list[Any] = [
        mock.patch.object(clock, "now", now),
        mock.patch.object(time, "monotonic", loop.time),
        mock.patch.object(time, "time_ns", nanoseconds),
        mock.patch.object(os, "urandom", chance.randbytes),
    ]
    for one in changed:
        one.start()
    try:
        yield
    finally:
        for one in reversed(changed):
            one.stop()
        random.setstate(state)

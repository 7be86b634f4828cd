"""Stops calling a remote service that does not answer, and finds out when it does again."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from integration_service.targets.failures import CallFailed, Misconfigured


class CircuitRow(NamedTuple):
    """What is stored of a circuit."""

    target: str
    opened_at: datetime | None
    next_probe_at: datetime | None
    probe_seconds: float
    failures: int
    tried_seconds: float
    succeeded_seconds: float | None
    error_class: str | None
    error: str | None

    @property
    def state(self) -> str:
        return "closed" if self.opened_at is None else "open"


@dataclass(slots=True)
class Circuit:
    """Whether a remote service may be called. Its columns outlive the process; its rules do not.

    It opens after `threshold` transient failures in a row, or at once when only an operator can
    help. While it is open one probe is let through now and then, at growing intervals.
    """

    target: str
    # What log lines call it.
    label: str
    threshold: int
    first_probe_seconds: float
    longest_probe_seconds: float
    # Seconds by a clock that neither jumps nor goes back.
    monotonic: Callable[[], float] = time.monotonic
    opened_at: datetime | None = None
    failed_at: datetime | None = None
    next_probe_at: datetime | None = None
    probe_seconds: float = 0.0
    failures: int = 0
    # For how long its deliveries were tried until `tries_since`: a process polled, it was closed,
    # and nobody had paused it.
    tried_seconds: float = 0.0
    tries_since: float | None = None
    succeeded_seconds: float | None = None
    error_class: str | None = None
    error: str | None = None
    is_paused: bool = False

    def restore(self, stored: CircuitRow) -> None:
        """Go on from what was stored, and probe at once: it may have changed since.

        Not from the stored error: that it still fails is news in this process's log.
        """
        self.opened_at, self.probe_seconds = stored.opened_at, stored.probe_seconds
        self.tried_seconds, self.succeeded_seconds = stored.tried_seconds, stored.succeeded_seconds
        self.failed_at = self.next_probe_at = self.tries_since = None
        self._try_or_rest()

    def columns(self) -> dict[str, Any]:
        """Return what is to be stored."""
        row = {name: getattr(self, name) for name in CircuitRow._fields}
        return {**row, "tried_seconds": self.tried()}

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    def may_call(self, now: datetime) -> bool:
        if self.opened_at is None or self.next_probe_at is None or self.failed_at is None:
            return True
        # Before it failed is no time to wait for: the clock was set back.
        return now >= self.next_probe_at or now < self.failed_at

    def tried(self) -> float:
        """Return for how many seconds its deliveries were tried in all, until now."""
        if self.tries_since is None:
            return self.tried_seconds
        return self.tried_seconds + self.monotonic() - self.tries_since

    def pause(self, *, is_paused: bool) -> None:
        """Note whether nothing is to be sent."""
        self.is_paused = is_paused
        self._try_or_rest()

    def _try_or_rest(self) -> None:
        """Count time from now on as tried, or not."""
        self.tried_seconds = self.tried()
        self.tries_since = None if self.is_open or self.is_paused else self.monotonic()

    def succeeded(self) -> bool:
        """Note a success. Returns whether the circuit was open until now."""
        was_open = self.is_open
        self.opened_at = self.next_probe_at = self.error_class = self.error = None
        self.failures = 0
        self.probe_seconds = 0.0
        self.succeeded_seconds = self.tried()
        self._try_or_rest()
        return was_open

    def failed(self, now: datetime, failure: CallFailed) -> bool:
        """Note a failure. Returns whether that is news: it opened, or it fails in another way."""
        news = self.is_open and self.error_class != failure.error_class
        self.error_class, self.error = failure.error_class, failure.error
        self.failures += 1
        if not self.is_open:
            if self.failures < self.threshold and not isinstance(failure, Misconfigured):
                return False
            self.opened_at = now
            self._try_or_rest()
            self.probe_seconds = self.first_probe_seconds
            news = True
        elif self.may_call(now):
            self.probe_seconds = min(
                max(self.probe_seconds * 2, self.first_probe_seconds), self.longest_probe_seconds
            )
        else:
            return news  # it was under way when others opened it; only a probe shows more
        jitter = random.uniform(0.9, 1.0)  # noqa: S311
        wait = max(self.probe_seconds * jitter, failure.retry_after)
        self.failed_at, self.next_probe_at = now, now + timedelta(seconds=wait)
        return news

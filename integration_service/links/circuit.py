"""Stops calling a far side that does not answer, and finds out when it does again."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from integration_service.links.failures import CallFailed, Misconfigured


@dataclass(slots=True)
class Circuit:
    """Whether a far side may be called. Its columns outlive the process; its rules do not.

    It opens after `threshold` transient failures in a row, or at once when only an operator can
    help. While it is open one probe is let through now and then, at growing intervals.
    """

    target: str
    threshold: int
    first_probe_seconds: float
    longest_probe_seconds: float
    opened_at: datetime | None = None
    next_probe_at: datetime | None = None
    probe_seconds: float = 0.0
    failures: int = 0
    down_seconds: float = 0.0
    error_class: str | None = None
    error: str | None = None
    last_success_at: datetime | None = None
    is_paused: bool = False
    # Since when the clocks of its deliveries stand still: it is open, or paused.
    stands_since: datetime | None = None

    def restore(self, row: Any, last_success_at: datetime | None) -> Self:
        """Go on from what was stored, and probe at once: it may have changed since.

        Not from the stored error: that it still fails is news in this process's log.
        """
        for name in ("opened_at", "probe_seconds", "down_seconds", "stands_since"):
            setattr(self, name, getattr(row, name))
        self.next_probe_at = self.opened_at
        self.last_success_at = last_success_at
        return self

    def columns(self) -> dict[str, Any]:
        names = (
            "opened_at",
            "next_probe_at",
            "probe_seconds",
            "failures",
            "down_seconds",
            "stands_since",
        )
        stored = {name: getattr(self, name) for name in names}
        return {**stored, "error_class": self.error_class, "error": self.error}

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    def may_call(self, now: datetime) -> bool:
        return self.opened_at is None or self.next_probe_at is None or now >= self.next_probe_at

    def down_at(self, now: datetime) -> float:
        """Return for how many seconds the clocks of its deliveries have stood still in all."""
        if self.stands_since is None:
            return self.down_seconds
        return self.down_seconds + max(0.0, (now - self.stands_since).total_seconds())

    def pause(self, since: datetime | None, now: datetime) -> None:
        """Note since when nothing is to be sent; None lets things go on."""
        self.is_paused = since is not None
        if since is not None and self.stands_since is None:
            self.stands_since = since
        self._stand_or_run(now)

    def _stand_or_run(self, now: datetime) -> None:
        """Stop the clocks while it is open or paused, and let them run else."""
        stands = self.is_open or self.is_paused
        if stands and self.stands_since is None:
            self.stands_since = now
        elif not stands:
            self.down_seconds, self.stands_since = self.down_at(now), None

    def succeeded(self, now: datetime) -> bool:
        """Note a success. Returns whether the circuit was open until now."""
        was_open = self.is_open
        self.opened_at = self.next_probe_at = self.error_class = self.error = None
        self.failures = 0
        self.probe_seconds = 0.0
        self.last_success_at = now
        self._stand_or_run(now)
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
            self._stand_or_run(now)
            self.probe_seconds = self.first_probe_seconds
            news = True
        elif self.may_call(now):
            self.probe_seconds = min(
                max(self.probe_seconds * 2, self.first_probe_seconds), self.longest_probe_seconds
            )
        else:
            return news  # it was under way when others opened it; only a probe tells more
        jitter = random.uniform(0.9, 1.0)  # noqa: S311
        wait = max(self.probe_seconds * jitter, failure.retry_after)
        self.next_probe_at = now + timedelta(seconds=wait)
        return news

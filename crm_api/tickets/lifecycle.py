"""Which status a ticket may change to. Nothing here knows a database."""

from datetime import datetime, timedelta
from typing import Literal, get_args

Status = Literal["open", "in_progress", "pending", "on_hold", "resolved", "closed"]
Priority = Literal["low", "normal", "high", "urgent"]
Visibility = Literal["public", "internal"]
AuthorKind = Literal["agent", "customer"]

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
STATUSES: tuple[Status, ...] = get_args(Status)
# A ticket moves freely among these.
WORKING: tuple[Status, ...] = ("open", "in_progress", "pending", "on_hold")
# While someone else has to act, the resolution clock is paused.
WAITING: frozenset[Status] = frozenset({"pending", "on_hold"})
DONE: frozenset[Status] = frozenset({"resolved", "closed"})

_OTHERS: dict[Status, list[Status]] = {
    status: [other for other in STATUSES if other != status] for status in WORKING
}
REOPEN_WINDOW = timedelta(days=7)


def allowed(status: Status, resolved_at: datetime | None, now: datetime) -> list[Status]:
    """List the statuses that a ticket may change to."""
    if status in _OTHERS:
        return _OTHERS[status]
    if status == "resolved":
        return ["open", "closed"] if may_reopen(resolved_at, now) else ["closed"]
    return []


def may_reopen(resolved_at: datetime | None, now: datetime) -> bool:
    return resolved_at is not None and now - resolved_at <= REOPEN_WINDOW

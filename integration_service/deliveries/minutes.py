"""What came of attempts, counted by the minute: written as they are settled, kept for a day."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from integration_service.deliveries.models import Settlement, minute_counts
from integration_service.deliveries.schemas import MINUTES, DeliveriesPerMinute
from service_kit.database.on_conflict import insert_or_update
from service_kit.database.rows import find_all

_MINUTE = timedelta(minutes=1)
_IS_SAME = "minute_counts.minute = excluded.minute"
_ADDED = "{0} = excluded.{0} + CASE WHEN " + _IS_SAME + " THEN minute_counts.{0} ELSE 0 END"
_SLOWEST = f"""slowest_ms = CASE
    WHEN {_IS_SAME}
        AND (excluded.slowest_ms IS NULL OR minute_counts.slowest_ms > excluded.slowest_ms)
    THEN minute_counts.slowest_ms ELSE excluded.slowest_ms END"""
_COUNT = insert_or_update(
    minute_counts,
    "minute_of_day, route",
    ", ".join(
        (
            _ADDED.format("delivered"),
            _ADDED.format("failed_attempts"),
            _SLOWEST,
            "minute = excluded.minute",
        )
    ),
)
_SUMS = (
    select(
        minute_counts.c.minute,
        func.sum(minute_counts.c.delivered).label("delivered"),
        func.sum(minute_counts.c.failed_attempts).label("failed_attempts"),
        func.max(minute_counts.c.slowest_ms).label("slowest_ms"),
    )
    .where(minute_counts.c.minute.between(bindparam("first"), bindparam("last")))
    .group_by(minute_counts.c.minute)
    .order_by(minute_counts.c.minute)
)
_SUMS_OF_ROUTE = _SUMS.where(minute_counts.c.route == bindparam("route"))


class MinuteSum(NamedTuple):
    """What came of the attempts of one minute, of one route or all."""

    minute: datetime
    delivered: int
    failed_attempts: int
    slowest_ms: float | None


def count(db: Connection, route: str, settlements: Sequence[Settlement]) -> None:
    """Add a route's settlements to the minutes in which their attempts ended."""
    db.execute(_COUNT, list(_by_minute(route, settlements)))


def per_minute(db: Connection, now: datetime, route: str | None = None) -> DeliveriesPerMinute:
    """Return the counts of the last 24 hours, up to the minute that runs."""
    last = _minute_of(now)
    first = last - (MINUTES - 1) * _MINUTE
    between = {"first": first, "last": last}
    if route is None:
        found = find_all(MinuteSum, db, _SUMS, between)
    else:
        found = find_all(MinuteSum, db, _SUMS_OF_ROUTE, {**between, "route": route})
    delivered, failed = [0] * MINUTES, [0] * MINUTES
    for one in found:
        place = (one.minute - first) // _MINUTE
        delivered[place], failed[place] = one.delivered, one.failed_attempts
    timed = [(one.slowest_ms, one.minute) for one in found if one.slowest_ms is not None]
    slowest_ms, slowest_at = max(timed, default=(None, None))
    return DeliveriesPerMinute(
        since=first,
        delivered=delivered,
        failed_attempts=failed,
        slowest_ms=slowest_ms,
        slowest_at=slowest_at,
    )


def _by_minute(route: str, settlements: Sequence[Settlement]) -> Iterator[dict[str, Any]]:
    in_order = sorted(settlements, key=attrgetter("at"))
    for minute, alike in groupby(in_order, key=lambda one: _minute_of(one.at)):
        ended = list(alike)
        took = [one.duration_ms for one in ended if one.state == "delivered"]
        yield {
            "minute_of_day": minute.hour * 60 + minute.minute,
            "route": route,
            "minute": minute,
            "delivered": len(took),
            "failed_attempts": sum(one.error_class is not None for one in ended),
            "slowest_ms": max(took, default=None),
        }


def _minute_of(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)

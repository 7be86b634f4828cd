"""What a service keeps for some time only, and the timer that deletes it after that."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service_kit.database import Database, DatabaseUnavailable
from service_kit.database.pruning import OldRows
from service_kit.process import clock
from service_kit.process.settings import ServiceSettings
from service_kit.process.stopping import Stopping

# Of a start: a process that is restarted all day long prunes too.
FIRST_AFTER_SECONDS = 60.0
EVERY_SECONDS = 3600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is kept for some time. `what` is its plural, as in `2 sessions deleted`.

    `prune` takes the service's settings and its open database, deletes what is older in small
    transactions, and returns how many that were; None where the settings keep it for ever.
    """

    what: str
    prune: Callable[[Any, Database], Awaitable[int | None]]


def rows_kept(what: str, rows: OldRows, days_of: Callable[[Any], int]) -> Kept:
    """Keep the rows of a table that only grows for as many days as a setting says; 0: for ever."""

    async def prune(settings: Any, database: Database) -> int | None:
        now = clock.now()
        before = before_days(days_of(settings), now)
        return None if before is None else await rows.prune(database, before, now)

    return Kept(what, prune)


def before_days(days: int, now: datetime) -> datetime | None:
    """Return what was so many days ago; None for 0 days, which is for ever."""
    return now - timedelta(days=days) if days else None


async def _prune_snapshots(settings: ServiceSettings, database: Database) -> int | None:
    url, before = settings.database_url, before_days(settings.retention_snapshots_days, clock.now())
    if before is None:
        return None
    if not url.startswith("sqlite:"):
        return 0
    from service_kit.database.sqlite.connect import file_of
    from service_kit.database.sqlite.snapshots import prune_snapshots

    return prune_snapshots(file_of(url).resolve(), before)


# Of every service.
SNAPSHOTS = Kept("snapshots", _prune_snapshots)


async def keep_pruning(
    settings: ServiceSettings, database: Database, stopping: Stopping, kept: Sequence[Kept]
) -> None:
    """Delete what is old soon after the start, then every hour, until the process is to stop.

    Each process of a service does. Whoever comes second finds nothing left to do.
    """
    await stopping.sleep(FIRST_AFTER_SECONDS)
    while not stopping.begun:
        for one in kept:
            await _prune_logging(one, settings, database)
        await stopping.sleep(EVERY_SECONDS)


async def _prune_logging(one: Kept, settings: ServiceSettings, database: Database) -> None:
    try:
        number = await one.prune(settings, database)
    except DatabaseUnavailable as error:
        logger.warning(
            "Old %s can't be deleted now; the next hour tries again: %s", one.what, error
        )
    except Exception:
        logger.exception("Old %s can't be deleted because of a bug.", one.what)
    else:
        if number:
            logger.info("Deleted %d old %s.", number, one.what)

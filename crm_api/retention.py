"""What the CRM keeps for some time, and what deletes it after that."""

import logging
from typing import TYPE_CHECKING

from crm_api.feed import service as feed
from crm_api.imports.runner import prune_reports
from crm_api.sessions import store as sessions
from crm_api.tables import audit, stored_answers
from service_kit.database import Database
from service_kit.process import clock
from service_kit.process.retention import SNAPSHOTS, Kept, before_days

if TYPE_CHECKING:
    from crm_api.settings import Settings

logger = logging.getLogger(__name__)


def kept_for_reader(pruned: feed.Pruned) -> str | None:
    """Say which reader keeps old events from being deleted; None where none does."""
    if (reader := pruned.kept_for) is None:
        return None
    return (
        f"{pruned.kept} old events kept: the feed reader {reader.name} is at position "
        f"{reader.position}. Unless it announces itself again, they are kept until "
        f"{clock.rfc3339(reader.expires_at)}."
    )


async def _prune_feed(settings: "Settings", database: Database) -> int | None:
    before = before_days(settings.retention_feed_days, clock.now())
    if before is None:
        return None
    pruned = await feed.prune(database, before)
    if (words := kept_for_reader(pruned)) is not None:
        logger.info("%s", words)
    return pruned.deleted


async def _prune_reports(settings: "Settings", database: Database) -> int:
    return await prune_reports(database)


async def _prune_sessions(settings: "Settings", database: Database) -> int:
    return await database.write(sessions.remove_expired, clock.now())


KEPT = (
    audit.kept,
    Kept("events", _prune_feed),
    stored_answers.kept,
    Kept("parts of import reports", _prune_reports),
    Kept("sessions and links", _prune_sessions),
    SNAPSHOTS,
)

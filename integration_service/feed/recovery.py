"""Recovery when the cursor is no longer valid: reads all customers, then the feed from there.

The CRM's database was restored or replaced, or the events that come next are pruned. Whoever is in
the ledger already is not owed anything again; whoever is not, and should be, is.
"""

import logging
from datetime import datetime, timedelta

from integration_service.deliveries.log_lines import log_found
from integration_service.deliveries.models import ErasedCustomer
from integration_service.feed import store
from integration_service.feed.client import CrmClient
from integration_service.feed.models import FeedBroken, Walked, is_from_before
from integration_service.ledger.lease import Clock, Lease
from integration_service.ledger.models import PollerState
from integration_service.targets.failures import Unfit
from service_kit.database import Database

logger = logging.getLogger("integration_service")

# A CRM whose feed is broken for good is not to be read from end to end all the time.
PAUSE = timedelta(seconds=60)
NOTHING = Walked(read=0, arrivals=(), erased=(), feed_cursor="", next_page=None)


class Recovery:
    """Reads one page of customers at a time; how far it is stands in the ledger."""

    def __init__(self, database: Database, crm: CrmClient, clock: Clock) -> None:
        self._database = database
        self._crm = crm
        self._clock = clock

    async def begin(self, lease: Lease, feed: PollerState, broken: FeedBroken) -> bool:
        """Begin, unless the last one has ended a moment ago. Returns whether it has begun."""
        now = self._clock()
        # One that has ended in the future was by a clock that was set back since.
        ended_at = feed.recovered_at
        if ended_at is not None and ended_at <= now < ended_at + PAUSE:
            return False
        logger.warning(
            "The CRM's feed is %s: %s. All customers are read anew, then the feed from there; "
            "nobody gets a second package.",
            broken.state,
            broken.detail.rstrip("."),
        )
        await self._database.write(store.begin_recovery, lease, broken.state, broken.detail, now)
        return True

    async def read_page(self, lease: Lease, feed: PollerState) -> Walked:
        """Read one page and write down what is new. Raises CallFailed.

        Safe to repeat: dying anywhere in it leaves the walk where it was, or moved together with
        the deliveries that it moved past.
        """
        now = self._clock()
        try:
            page = await self._crm.customers(feed.recovery_page, since=feed.start_cursor)
        except FeedBroken as broken:
            await self._go_by_dates(lease, feed, broken, now)
            return NOTHING
        except Unfit as unfit:
            if feed.recovery_page is not None:  # another version of the CRM, with other cursors
                error = unfit.error
                await self._database.write(
                    store.begin_recovery, lease, feed.recovery_reason, error, now
                )
            raise
        walked = Walked(
            read=len(page.items),
            arrivals=[
                one.arrival for one in page.items if not is_from_before(feed, one.created_at)
            ],
            erased=[ErasedCustomer(one.uid, one.id) for one in page.items if one.is_erased],
            feed_cursor=page.feed_cursor or feed.recovery_cursor,
            next_page=page.next_cursor,
            destinations=[
                place
                for one in page.items
                if not one.is_erased and (place := one.destination) is not None
            ],
        )
        write = self._database.erase if walked.erased else self._database.write
        new = await write(store.note_walked, lease, feed, walked, now)
        for arrival in new:
            log_found(arrival)
        if walked.next_page is None:
            self._log_end(feed, walked, len(new), now)
        return walked

    async def _go_by_dates(
        self, lease: Lease, feed: PollerState, broken: FeedBroken, now: datetime
    ) -> None:
        """Begin again by dates: this CRM does not know the cursor of the start."""
        logger.warning(
            "The CRM does not know where its feed stood when START_FROM=now was applied. Customers "
            "that were made later than %s are owed a package.",
            feed.newest_at_start,
        )
        await self._database.write(
            store.begin_recovery,
            lease,
            feed.recovery_reason,
            broken.detail,
            now,
            is_start_known=False,
        )

    def _log_end(self, feed: PollerState, walked: Walked, new: int, now: datetime) -> None:
        logger.info(
            "Recovered: %d customers read, %d of them new, in %.0f s; the feed goes on.",
            feed.recovery_read + walked.read,
            feed.recovery_new + new,
            (now - (feed.recovery_began_at or now)).total_seconds(),
        )

"""The poller's one row: its lease, how far it has read the feed, whether it is paused.

Other tables are in the `models.py` or `store.py` of their packages, with this metadata. The ones of
deliveries are in deliveries/models.py.
"""

from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text, text

from service_kit.database import production
from service_kit.database.types import BigInt, UtcDateTime
from service_kit.web.audit import Audit

metadata = MetaData()
production.add_table(metadata)
# What the audit tells of.
Action = Literal[
    "deliveries.paused",
    "deliveries.resumed",
    "route.paused",
    "route.resumed",
    "route.gap_accepted",
    "delivery.retried",
    "delivery.dismissed",
    "delivery.replayed",
    "reconcile.requested",
    "repair.requested",
    "repair.confirmed",
]
audit = Audit(metadata)

# One row a route, also one that is no longer in the file of routes: its deliveries stay readable.
routes = Table(
    "routes",
    metadata,
    Column("name", String(40), primary_key=True),
    # What may not change under a name.
    Column("target", String(20), nullable=False, server_default="inventory"),
    Column("ordering", String(10), nullable=False, server_default="none"),
    Column("package_type", String(64)),
    # Since when it is no longer in the file.
    Column("removed_at", UtcDateTime),
    # Since when nothing of it is sent: an operator wants it so, or, with a reason, its receiver.
    Column("paused_at", UtcDateTime),
    Column("pause_reason", String(200)),
    # How far a webhook's route has read the feed. The inventory route's place is in `poller`.
    # running, or gap: events between its place and the oldest that is left are gone, so nothing is
    # sent until a person accepts that.
    Column("feed_state", String(10), nullable=False, server_default="running"),
    # Empty until its very first poll has decided where to begin.
    Column("start_from", String(20)),
    # Behind which position it has begun to read; empty until its first page.
    Column("first_position", BigInt),
    Column("cursor", String(200)),
    Column("position", BigInt),
    Column("head_position", BigInt),
    Column("last_poll_at", UtcDateTime),
    Column("caught_up_at", UtcDateTime),
    Column("last_error", Text),
    Column("last_error_at", UtcDateTime),
)

# One row: who polls, how far the feed has been read, and whether sending is paused.
poller = Table(
    "poller",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("lease_holder", String(200)),
    # Grows at each takeover; every write of a poller names the epoch of its lease.
    Column("lease_epoch", BigInt, nullable=False),
    Column("lease_until", UtcDateTime),
    # How long it is, so that one that lies further ahead is known to be of a clock set back since.
    Column("lease_seconds", Float),
    # Empty until the very first start has decided where to begin.
    Column("start_from", String(10)),
    Column("cursor", String(200)),
    Column("position", BigInt),
    Column("head_position", BigInt),
    Column("feed_state", String(10), nullable=False),
    Column("last_poll_at", UtcDateTime),
    Column("caught_up_at", UtcDateTime),
    Column("last_error", Text),
    Column("last_error_at", UtcDateTime),
    # The very first start.
    Column("started_at", UtcDateTime),
    # Since when nothing is sent, because an operator wants it so.
    Column("paused_at", UtcDateTime),
    # Grows when somebody, in any process, wakes the poller to read the feed and send what is due.
    Column("wake_count", BigInt, nullable=False, server_default=text("0")),
    # How many packages had to be enqueued by a reconciliation, ever.
    Column("repairs", BigInt, nullable=False, server_default=text("0")),
    # While feed_state is recovering: why, since when, the cursor to continue from, the page of
    # customers to read next, and how many were read and were new.
    Column("recoveries", BigInt, nullable=False, server_default=text("0")),
    Column("recovered_at", UtcDateTime),
    Column("recovery_reason", String(10)),
    Column("recovery_began_at", UtcDateTime),
    Column("recovery_cursor", String(200)),
    Column("recovery_page", String(200)),
    Column("recovery_read", BigInt, nullable=False, server_default=text("0")),
    Column("recovery_new", BigInt, nullable=False, server_default=text("0")),
    # With start_from now: where the feed stood then. Customers from before it are owed nothing.
    Column("start_cursor", String(200)),
    # When the newest of these was made, by the CRM's own clock. It decides where the CRM no longer
    # knows start_cursor, which is then empty until all customers were read.
    Column("newest_at_start", UtcDateTime),
    # Of the routes that the newest poller works by, and of others that a person has accepted.
    Column("routes_hash", String(64)),
    Column("accepted_routes_hash", String(64)),
)


class PollerState(NamedTuple):
    """What is read of `poller` as a whole."""

    lease_holder: str | None
    lease_epoch: int
    lease_until: datetime | None
    start_from: str | None
    cursor: str | None
    position: int | None
    head_position: int | None
    feed_state: str
    last_poll_at: datetime | None
    caught_up_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    paused_at: datetime | None
    repairs: int
    recoveries: int
    recovered_at: datetime | None
    recovery_reason: str | None
    recovery_began_at: datetime | None
    recovery_cursor: str | None
    recovery_page: str | None
    recovery_read: int
    recovery_new: int
    start_cursor: str | None
    newest_at_start: datetime | None

    def is_read_after(self, instant: datetime) -> bool:
        """Whether the feed was read to its end after this instant."""
        return self.caught_up_at is not None and self.caught_up_at > instant


class RouteState(NamedTuple):
    """What is read of `routes` as a whole."""

    name: str
    target: str
    ordering: str
    package_type: str | None
    removed_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    feed_state: str
    start_from: str | None
    first_position: int | None
    cursor: str | None
    position: int | None
    head_position: int | None
    last_poll_at: datetime | None
    caught_up_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None

"""The tables of the feed."""

from sqlalchemy import Column, Index, Integer, String, Table, Text, text

from crm_api.tables import metadata
from service_kit.database.types import BigInt, UtcDateTime

events = Table(
    "events",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("event_id", String(36), nullable=False),
    Column("type", String(40), nullable=False),
    Column("subject", String(36), nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("data", Text, nullable=False),
    # The span in which the change came about, where it was traced.
    Column("traceparent", String(55)),
    # Empty until a reader has numbered the event, which it does after the event's commit: ids are
    # handed out before commits, so reading by id would pass over whatever commits late.
    Column("position", BigInt, nullable=True),
    Index("uq_events_position", "position", unique=True),
    Index("ix_events_unnumbered", "id", info={"where": "position IS NULL"}),
    Index("ix_events_subject", "subject", "id"),
    sqlite_autoincrement=True,
)

# One row. It outlives the events it counted, so that no position is ever given twice.
feed_head = Table(
    "feed_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", String(16), nullable=False),
    Column("last_position", BigInt, nullable=False),
    Column("pruned_position", BigInt, nullable=False),
    # Up to here an older version pruned registrations and did not keep them in
    # pruned_registrations. Not related to an event's traceparent.
    Column("traced_from", BigInt, nullable=False, server_default=text("0")),
)

# The positions of registrations whose events are pruned: by them a reader that starts again
# knows who was registered before a position and who after.
pruned_registrations = Table(
    "pruned_registrations",
    metadata,
    Column("subject", String(36), primary_key=True),
    Column("position", BigInt, nullable=False),
)

# How far readers of the feed say they are. What a reader still needs is not pruned for as long as
# its last announcement counts.
feed_readers = Table(
    "feed_readers",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    # It needs no event up to here.
    Column("position", BigInt, nullable=False),
    Column("announced_at", UtcDateTime, nullable=False),
)

"""The integration's tables."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

from service_kit.database.types import BigInt, UtcDateTime

metadata = MetaData()

_UNFINISHED = "next_attempt_at IS NOT NULL"
_RETRYING = "next_attempt_at IS NOT NULL AND attempt_count > 0"

# One row: who polls, and how far the feed has been read.
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
    # With start_from now: where the feed stood then. Customers from before it are owed nothing.
    Column("start_cursor", String(200)),
    # When the newest of these was made, by the CRM's own clock. It decides where the CRM no longer
    # knows start_cursor, which is then empty until all customers were read.
    Column("newest_at_start", UtcDateTime),
    # Since when nothing is sent, because an operator wants it so.
    Column("paused_at", UtcDateTime),
    # Grows when somebody, in whatever process, wants the feed and what is due to be looked at now.
    Column("wake_count", BigInt, nullable=False, server_default=text("0")),
    # How many packages had to be enqueued by a reconciliation, ever.
    Column("repairs", BigInt, nullable=False, server_default=text("0")),
    # While feed_state is recovering: why, since when, where the feed is to be gone on with, the
    # page of customers to read next, and how many were read and were new.
    Column("recoveries", BigInt, nullable=False, server_default=text("0")),
    Column("recovered_at", UtcDateTime),
    Column("recovery_reason", String(10)),
    Column("recovery_began_at", UtcDateTime),
    Column("recovery_cursor", String(200)),
    Column("recovery_page", String(200)),
    Column("recovery_read", BigInt, nullable=False, server_default=text("0")),
    Column("recovery_new", BigInt, nullable=False, server_default=text("0")),
)

# One row a customer: the inbox.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("customer_uid", String(64), nullable=False, unique=True),
    Column("customer_name", String(200)),
    Column("sequence", BigInt, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempt_count", Integer, nullable=False),
    # Empty when nothing more is sent: it is finished, or its customer was erased.
    Column("next_attempt_at", UtcDateTime),
    # The lease epoch of the poller that is sending it; a claim of an older one counts for nothing.
    Column("claimed_epoch", BigInt),
    # While it is so, nothing of it can have reached Inventory.
    Column("never_claimed", Boolean, nullable=False, server_default=false()),
    Column("first_failed_at", UtcDateTime),
    # The link's tried_seconds when it first failed; what they have grown by since is its age.
    Column("tried_seconds_before", Float, nullable=False),
    Column("request_id", String(36)),
    Column("error_class", String(20)),
    Column("error", Text),
    Column("problem", JSON),
    # The event as it came, where it could not be understood.
    Column("raw", Text),
    # The span in which the customer came about, where it was traced.
    Column("traceparent", String(55)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    # Why it is skipped: unwanted, erased or dismissed.
    Column("skip_reason", String(20)),
    # Since when it is owed, where it was enqueued again by a retry or a repair.
    Column("enqueued_at", UtcDateTime),
    # Who settled it without a package after it was dead, when, and why.
    Column("dismissed_at", UtcDateTime),
    Column("dismissed_by", String(200)),
    Column("dismissed_reason", String(500)),
    Index("ix_deliveries_due", "next_attempt_at", "id", info={"where": _UNFINISHED}),
    # Those that failed before, for whoever looks for them among thousands that are new.
    Index("ix_deliveries_retrying", "next_attempt_at", "id", info={"where": _RETRYING}),
    Index("ix_deliveries_state", "state", "id"),
    sqlite_autoincrement=True,
)

# Append-only.
attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("delivery_id", BigInt, ForeignKey("deliveries.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("status", Integer),
    Column("duration_ms", Float, nullable=False),
    Column("error_class", String(20)),
    Column("error", Text),
    Index("ix_attempts_delivery", "delivery_id", "id"),
    sqlite_autoincrement=True,
)

# How many attempts there were in all: success, or the class of error.
attempt_counts = Table(
    "attempt_counts",
    metadata,
    Column("outcome", String(20), primary_key=True),
    Column("number", BigInt, nullable=False),
)

# One row a customer who was erased. Kept for ever: Inventory may be restored and need it again.
erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("customer_uid", String(64), nullable=False, unique=True),
    # The CRM's other id, under which packages may have been requested by hand.
    Column("customer_number", BigInt),
    Column("created_at", UtcDateTime, nullable=False),
    # Empty until Inventory has applied it.
    Column("done_at", UtcDateTime),
    Index("ix_erasures_due", "id", info={"where": "done_at IS NULL"}),
    sqlite_autoincrement=True,
)

# One row a far side: whether it can be reached, and for how long it was tried.
links = Table(
    "links",
    metadata,
    Column("target", String(20), primary_key=True),
    Column("opened_at", UtcDateTime),
    Column("next_probe_at", UtcDateTime),
    Column("probe_seconds", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    # For how long a process was polling with its circuit closed and nothing paused, in all.
    Column("tried_seconds", Float, nullable=False),
    # What tried_seconds were at its last success.
    Column("succeeded_seconds", Float),
    Column("error_class", String(20)),
    Column("error", Text),
)

_RUNNING = "state = 'running'"

# One row a comparison of the CRM's customers with Inventory's requests.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", BigInt, primary_key=True),
    Column("trigger", String(10), nullable=False),
    Column("repair", Boolean, nullable=False),
    Column("state", String(10), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    # While it runs; renewed with every page, so that one whose process has died is told by it.
    Column("alive_until", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("customers", BigInt, nullable=False),
    Column("packages", BigInt, nullable=False),
    Column("counts", JSON, nullable=False),
    # The first few of each kind.
    Column("findings", JSON, nullable=False),
    Column("repaired", BigInt, nullable=False),
    Column("error", Text),
    Index("uq_reconciliations_running", "state", unique=True, info={"where": _RUNNING}),
    sqlite_autoincrement=True,
)

# What a run has seen on either side; both sides' lists are in an order of their own, so it is here
# that they are brought into one. Emptied when the run ends.
reconcile_keys = Table(
    "reconcile_keys",
    metadata,
    Column("run_id", BigInt, primary_key=True, autoincrement=False),
    Column("customer_uid", String(64), primary_key=True),
    Column("customers", Integer, nullable=False),
    Column("packages", Integer, nullable=False),
    # Of customers who were erased, as the CRM or this ledger has it.
    Column("is_erased", Boolean, nullable=False, server_default=false()),
    Column("customer_number", BigInt),
    # Whether the customer is not from before a start with start_from now.
    Column("is_owed", Boolean, nullable=False),
    # Whether repair is to enqueue a package.
    Column("is_absent", Boolean, nullable=False, server_default=false()),
)

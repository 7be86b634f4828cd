"""The tables of comparisons, and their rows."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import JSON, Boolean, Column, Index, Integer, String, Table, Text, false

from integration_service.deliveries.models import ErasedCustomer
from integration_service.ledger.models import metadata
from service_kit.database.types import BigInt, UtcDateTime

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
    # Whether it enqueues however much is missing.
    Column("confirm", Boolean, nullable=False, server_default=false()),
    # Until a poller has taken it up.
    Column("is_wanted", Boolean, nullable=False, server_default=false()),
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


class Run(NamedTuple):
    """A row of `reconciliations`."""

    id: int
    trigger: str
    repair: bool
    state: str
    started_at: datetime
    alive_until: datetime | None
    finished_at: datetime | None
    customers: int
    packages: int
    counts: dict[str, int]
    findings: dict[str, list[str]]
    repaired: int
    error: str | None
    confirm: bool
    is_wanted: bool


class Candidate(NamedTuple):
    """A customer who was not seen once on each side, and what the ledger knows of them."""

    customer_uid: str
    is_owed: bool
    state: str | None
    delivered_at: datetime | None
    error_class: str | None
    customer_name: str | None
    is_noted: bool
    done_at: datetime | None
    customer_number: int | None
    seen_number: int | None

    @property
    def erased(self) -> ErasedCustomer:
        return ErasedCustomer(self.customer_uid, self.customer_number)

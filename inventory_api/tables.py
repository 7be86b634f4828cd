"""What Inventory's tables have in common."""

from typing import Literal

from sqlalchemy import MetaData

from service_kit.database import production
from service_kit.web.audit import Audit
from service_kit.web.idempotency import StoredAnswers

# What the audit tells of. The movements of stock are a ledger of their own, with who moved it; the
# packages that the integration requests stand in its deliveries.
Action = Literal[
    "package.requested",
    "package.packed",
    "package.shipped",
    "package.delivered",
    "package.cancelled",
    "package.unpacked",
    "package.returned",
    "package.readdressed",
    "customer.erased",
    "item.created",
    "item.updated",
    "kit.changed",
    "books.repaired",
    "package.read",
    "packages.listed",
]

metadata = MetaData()
production.add_table(metadata)
stored_answers = StoredAnswers(metadata)
audit = Audit(metadata)

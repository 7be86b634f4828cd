"""The places of the console, and who is shown each."""

from typing import NamedTuple


class Place(NamedTuple):
    """A line of the menu. `service` is the one without whose address the place is not there."""

    path: str
    name: str
    group: str
    needs: str
    service: str = "crm"


PLACES = (
    Place("/tickets", "Tickets", "Support", "tickets:read"),
    Place("/customers", "Customers", "Support", "customers:read"),
    Place("/deliveries", "Deliveries", "Delivery", "sync:read", "integration"),
    Place("/packing", "Packing", "Warehouse", "packages:write", "inventory"),
    Place("/stock", "Stock", "Warehouse", "stock:read", "inventory"),
    Place("/imports", "Import", "Developers", "imports:run"),
    Place("/tokens", "Tokens", "Developers", "tokens:manage"),
    Place("/feed", "Feed", "Developers", "events:read"),
    Place("/audit", "Audit", "Developers", "audit:read"),
)

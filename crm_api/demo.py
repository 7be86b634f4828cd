"""What an empty database starts with in development, so that the first look shows something."""

from sqlalchemy import Connection

from crm_api.customers import service, store
from crm_api.customers.schemas import CustomerNew
from crm_api.feed import store as feed
from service_kit.auth import Principal

SEEDER = Principal("demo-data", "admin", frozenset())

CUSTOMERS = [
    CustomerNew(name="Jane Doe", email="jane@example.com", company="Example Ltd"),
    CustomerNew(name="John Smith", email="john@example.com", company="Smith & Sons"),
]


def seed(db: Connection) -> None:
    """Add the demo data unless there are customers already, or someone else is adding it."""
    feed.lock_head(db)
    if store.is_empty(db):
        for new in CUSTOMERS:
            service.register(db, new, SEEDER)

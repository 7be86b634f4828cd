"""Demo data for an empty database in development."""

from sqlalchemy import Connection

from crm_api.customers import service, store
from crm_api.customers.schemas import CustomerNew
from crm_api.feed import store as feed
from crm_api.tickets import service as tickets
from crm_api.tickets.schemas import TicketNew
from crm_api.tickets.sla import Policy
from service_kit.problems import Problem
from service_kit.web.auth import Principal

SEEDER = Principal("demo-data", "admin", frozenset(), "demo-data")


def seed(db: Connection, policy: Policy) -> None:
    """Add the demo data unless there are customers already, or someone else is adding it.

    Demo customers get no welcome package, so that the first one a person sees is of their own
    customer.
    """
    feed.lock_head(db)
    if store.is_empty(db):
        added = service.register_all(db, _customers(), SEEDER, welcome=False)
        # A first try that was undone may have used up the ids 1 and 2.
        jane, john = (customer.id for customer in added if not isinstance(customer, Problem))
        for ticket in _tickets(jane, john):
            tickets.open_ticket(db, ticket, policy, SEEDER)


def _customers() -> list[CustomerNew]:
    return [
        CustomerNew(name="Jane Doe", email="jane@example.com", company="Example Ltd"),
        CustomerNew(name="John Smith", email="john@example.com", company="Smith & Sons"),
    ]


def _tickets(jane: int, john: int) -> list[TicketNew]:
    return [
        TicketNew(
            customer_id=jane,
            subject="Where is my parcel?",
            description="It was to come on Monday.",
            priority="high",
            tags=["delivery"],
        ),
        TicketNew(
            customer_id=jane,
            subject="Change of address",
            description="I have moved.",
            priority="low",
            assignee="maria",
        ),
        TicketNew(
            customer_id=john, subject="An invoice is missing", description="The one of last month."
        ),
    ]

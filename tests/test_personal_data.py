"""Whoever adds a column decides whether it is personal; one that is gets erased."""

from typing import Any

import pytest
from sqlalchemy import Table

from crm_api.customers.events import CustomerData
from crm_api.customers.models import SHOWN
from crm_api.customers.models import customers as customers_table
from crm_api.customers.schemas import CustomerChange, CustomerNew, CustomerOut
from crm_api.tables import metadata as crm_tables
from inventory_api.tables import metadata as inventory_tables
from service_kit.database.personal import personal

# Columns that are not personal, each a decision. Where people work for us and call the API, their
# names are no customer's data: assignee, author, actor, owner, tokens.name; nor are their
# addresses.
IMPERSONAL = {
    "customers": "id uid created_at updated_at version welcome erased_at",
    "tickets": "id uid customer_id status priority assignee follow_up_of version created_at"
    " updated_at resolved_at closed_at due_at",
    "ticket_tags": "ticket_id tag",
    "notes": "id ticket_id visibility author_kind author created_at",
    "ticket_history": "id ticket_id at actor field request_id",
    "events": "id event_id type subject occurred_at actor request_id traceparent position",
    "feed_head": "id epoch last_position pruned_position traced_from",
    "pruned_registrations": "subject position",
    "feed_readers": "id name position announced_at",
    "imports": "id state dry_run welcome actor credential request_id created_at finished_at bytes"
    " header rows rows_read created updated unchanged refused first_refused problem beats",
    "import_reports": "id import_id created_at",
    "audit_entries": "id at actor actor_id role address action subject request_id",
    "console_sessions": "id key owner role sealed created_at expires_at",
    "console_links": "id digest role name created_at expires_at",
    "tokens": "id name role scopes prefix digest created_at expires_at last_used_at revoked_at",
    "package_requests": "id request_id customer_id package_type occurrence ship_to_as_of status"
    " kit_id version erased_at to_unpack created_at updated_at",
    "erased_customers": "customer_id erased_at",
    "reservations": "package_request_id item_id quantity",
    "items": "id sku name tracked on_hand reserved reorder_level version created_at updated_at",
    "movements": "id item_id on_hand_delta reserved_delta reason reference actor at",
    "kits": "id package_type version actor created_at",
    "kit_lines": "kit_id item_id quantity",
    "idempotency_keys": "id caller route key status created_at",
    "idempotency_subjects": "key_id subject item",
    "production": "since",
}
# Columns that may hold what is personal among other things, and what becomes of it.
MIXED = {
    # Tickets are kept word by word when a customer is erased: the contract says so.
    "tickets": "subject description",
    "notes": "body",
    "ticket_history": "old new",
    # Rewritten: feed.service.forget blanks the personal fields in past events.
    "events": "data",
    # Emptied: StoredAnswers.forget goes by the subjects of an answer.
    "idempotency_keys": "fingerprint headers body",
}
TABLES = [*crm_tables.tables.values(), *inventory_tables.tables.values()]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_each_column_is_personal_or_known_not_to_be(table: Table) -> None:
    decided = f"{IMPERSONAL[table.name]} {MIXED.get(table.name, '')}".split()
    undecided = set(table.columns.keys()) - set(decided) - set(personal(table))
    hint = "mark it info=PERSONAL where it is defined, or list it here"
    assert not undecided, f"{table.name}: is {', '.join(sorted(undecided))} personal? {hint}"
    assert set(decided) == set(table.columns.keys()) - set(personal(table))


FIELDS: list[Any] = [CustomerNew.model_fields, CustomerChange.model_fields]


@pytest.mark.parametrize("fields", FIELDS, ids=["CustomerNew", "CustomerChange"])
def test_callers_send_the_personal_fields_that_they_are_shown(fields: dict[str, Any]) -> None:
    assert set(fields) == set(SHOWN) & set(personal(customers_table))


def test_callers_and_the_feed_are_shown_the_same_columns() -> None:
    assert tuple(CustomerOut.model_fields) == SHOWN
    assert tuple(CustomerData.__annotations__) == SHOWN

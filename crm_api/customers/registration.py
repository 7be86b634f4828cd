"""One new customer with its event, its entry in the audit, and what it is found by.

On PostgreSQL one statement adds them all, since each is a way to the server and back.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    insert,
    literal,
    select,
)

from crm_api.audit import store as audit
from crm_api.audit.models import audit_entries
from crm_api.customers.models import customers
from crm_api.customers.store import SEARCH, searched
from crm_api.feed import store as feed
from crm_api.feed.models import events
from crm_api.search import trigram_numbers
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedInsert, PreparedValues

_ADD = PreparedInsert(customers)
# What an event tells begins with the id, which is not known before.
_ID = '{"id":'


def add(
    db: Connection, customer: Mapping[str, Any], event: Mapping[str, Any], entry: Mapping[str, Any]
) -> int | None:
    """Insert all of them. Returns the customer's id, or None where a constraint refuses it.

    The event's data is as it is told, but for the id.
    """
    told = "," + event["data"].removeprefix("{")
    text = searched(customer)
    if db.dialect.name == "postgresql":
        return _ADD_ALL.first(
            db,
            **_named("customer", customer),
            **_named("event", {**event, "data": told}),
            **_named("entry", entry),
            **_named("search", {"text": text, "trigrams": trigram_numbers(text)}),
        )
    added = _ADD.one(db, **customer)
    if added is not None:
        feed.add(db, [{**event, "data": f"{_ID}{added}{told}"}])
        audit.add(db, [entry])
        SEARCH.add(db, [(added, text)])
    return added


def _named(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}_{name}": value for name, value in values.items()}


def _given(part: str, table: Table, *left_out: str) -> dict[str, BindParameter[Any]]:
    return {
        column.key: bindparam(f"{part}_{column.key}", type_=column.type)
        for column in table.columns
        if column.key not in {"id", *left_out}
    }


def _add_all() -> PreparedValues[int]:
    added = (
        insert_missing(customers)
        .values(_given("customer", customers, "erased_at"))
        .returning(customers.c.id)
        .cte("added")
    )

    def beside(part: str, table: Table, values: Mapping[str, Any]) -> Any:
        row = select(*values.values()).select_from(added)
        return insert(table).from_select(list(values), row).cte(part)

    told = literal(_ID) + cast(added.c.id, Text) + bindparam("event_data", type_=Text)
    event = {**_given("event", events, "position"), "data": told}
    found_by = {**_given("search", SEARCH.table), "rowid": added.c.id}
    return PreparedValues(
        select(added.c.id).add_cte(
            beside("event", events, event),
            beside("entry", audit_entries, _given("entry", audit_entries)),
            beside("search", SEARCH.table, found_by),
        )
    )


_ADD_ALL = _add_all()

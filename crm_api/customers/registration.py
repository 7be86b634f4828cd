"""The one way by which customers are added: with their events, audit entries and search texts.

On PostgreSQL a single customer takes one statement, since each costs a round trip.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
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

from crm_api.audit.models import audit_entries
from crm_api.customers.events import CustomerCreated
from crm_api.customers.models import Customer, customers
from crm_api.customers.store import SEARCH, searched
from crm_api.events import record, rows_of
from crm_api.feed.models import events
from crm_api.search import trigram_numbers
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedInsertMissing, PreparedValues
from service_kit.web.auth import Principal

_ADD = PreparedInsertMissing(customers)
_IDS_OF = select(customers.c.uid, customers.c.id).where(
    customers.c.uid.in_(bindparam("uids", expanding=True))
)
# How the data of an event begins whose customer has no id yet.
_NO_ID = '{"id":0'


def add(db: Connection, rows: Sequence[dict[str, Any]], who: Principal) -> dict[str, Customer]:
    """Insert those rows that break no constraint; return these customers by their uid.

    In the order of the addresses: PostgreSQL lets the second of two transactions that add the same
    address wait, and two that wait for each other are a deadlock.
    """
    if len(rows) == 1 and db.dialect.name == "postgresql":
        [row] = rows
        added = _add_at_once(db, row, who)
        return {} if added is None else {row["uid"]: _customer(row, added)}
    ids = _insert(db, sorted(rows, key=itemgetter("email_key")))
    found = {row["uid"]: _customer(row, ids[row["uid"]]) for row in rows if row["uid"] in ids}
    SEARCH.add(db, [(one.id, searched(one)) for one in found.values()])
    record(db, *map(CustomerCreated, found.values()), by=who)
    return found


def _customer(row: Mapping[str, Any], customer_id: int) -> Customer:
    """Return a row that was inserted as reading it would."""
    return Customer(**row, id=customer_id, erased_at=None)


def _insert(db: Connection, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    if len(rows) == 1:
        added = _ADD.one(db, **rows[0])
        return {} if added is None else {rows[0]["uid"]: added}
    _ADD.each(db, rows)
    return dict(db.execute(_IDS_OF, {"uids": [row["uid"] for row in rows]}).all())


def _add_at_once(db: Connection, row: Mapping[str, Any], who: Principal) -> int | None:
    customer = _customer(row, 0)
    [event], [entry] = rows_of([CustomerCreated(customer)], who)
    text = searched(customer)
    return _ADD_ALL.first(
        db,
        **_named("customer", row),
        **_named("event", {**event, "data": event["data"].removeprefix(_NO_ID)}),
        **_named("entry", entry),
        **_named("search", {"text": text, "trigrams": trigram_numbers(text)}),
    )


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

    def insert_with(part: str, table: Table, values: Mapping[str, Any]) -> Any:
        row = select(*values.values()).select_from(added)
        return insert(table).from_select(list(values), row).cte(part)

    data = literal('{"id":') + cast(added.c.id, Text) + bindparam("event_data", type_=Text)
    event = {**_given("event", events, "position"), "data": data}
    found_by = {**_given("search", SEARCH.table), "rowid": added.c.id}
    return PreparedValues(
        select(added.c.id).add_cte(
            insert_with("event", events, event),
            insert_with("entry", audit_entries, _given("entry", audit_entries)),
            insert_with("search", SEARCH.table, found_by),
        )
    )


_ADD_ALL = _add_all()

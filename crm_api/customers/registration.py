"""The one way by which customers are added: with their events, audit entries and search texts.

On PostgreSQL a single customer takes one statement, since each costs a round trip; and not only
for that, see `_add_in_one_statement`.
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

from crm_api.customers.events import CustomerCreated
from crm_api.customers.models import Customer, customers
from crm_api.customers.store import SEARCH, search_text
from crm_api.events import record, rows_of
from crm_api.feed.models import events
from crm_api.feed.store import position_at_once
from crm_api.search import trigram_numbers
from crm_api.tables import audit
from service_kit.database.on_conflict import insert_missing
from service_kit.database.prepared import PreparedInsertMissing, PreparedValues
from service_kit.web.auth import Principal

_ADD = PreparedInsertMissing(customers)
_IDS_OF = select(customers.c.uid, customers.c.id).where(
    customers.c.uid.in_(bindparam("uids", expanding=True))
)
# The id in an event's data until the database has given one, and how such data begins.
_NO_ID = 0
_START_WITHOUT_ID = f'{{"id":{_NO_ID}'


def add(db: Connection, rows: Sequence[dict[str, Any]], who: Principal) -> dict[str, Customer]:
    """Insert those rows that break no constraint; return these customers by their uid.

    In the order of the addresses: PostgreSQL lets the second of two transactions that add the same
    address wait, and two that wait for each other are a deadlock.
    """
    if len(rows) == 1 and db.dialect.name == "postgresql":
        [row] = rows
        added = _add_in_one_statement(db, row, who)
        return {} if added is None else {row["uid"]: _customer(row, added)}
    ids = _insert(db, sorted(rows, key=itemgetter("email_key")))
    found = {row["uid"]: _customer(row, ids[row["uid"]]) for row in rows if row["uid"] in ids}
    SEARCH.add(db, [(one.id, search_text(one)) for one in found.values()])
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


def _add_in_one_statement(db: Connection, row: Mapping[str, Any], who: Principal) -> int | None:
    """Add one customer with all that belongs to it. Returns its id, or None where it is refused.

    One statement, and not only for speed: a single POST runs in `write_autocommit`, so a second
    writing statement would not be in the customer's transaction.
    """
    customer = _customer(row, _NO_ID)
    [event], [entry] = rows_of([CustomerCreated(customer)], who)
    text = search_text(customer)
    return _ADD_WITH_ALL.first(
        db,
        **_prefixed("customer", row),
        **_prefixed("event", {**event, "data": _without_id(event["data"])}),
        **_prefixed("entry", entry),
        **_prefixed("search", {"text": text, "trigrams": trigram_numbers(text)}),
    )


def _without_id(data: str) -> str:
    """Cut the id off the start of an event's data; the statement puts the given one there."""
    assert data.startswith(_START_WITHOUT_ID), "id must be the first field of an event's data"
    return data[len(_START_WITHOUT_ID) :]


def _prefixed(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}_{name}": value for name, value in values.items()}


def _parameters(part: str, table: Table, *left_out: str) -> dict[str, BindParameter[Any]]:
    """Make a parameter for each column but the id, named as `_prefixed` names its value."""
    return {
        column.key: bindparam(f"{part}_{column.key}", type_=column.type)
        for column in table.columns
        if column.key not in {"id", *left_out}
    }


def _add_with_all() -> PreparedValues[int]:
    """Build INSERTs of the event, the audit entry and the search text, each from `added`.

    A customer that a constraint refuses leaves `added` empty: then nothing is inserted.
    """
    added = (
        insert_missing(customers)
        .values(_parameters("customer", customers, "erased_at"))
        .returning(customers.c.id)
        .cte("added")
    )

    def insert_with(part: str, table: Table, values: Mapping[str, Any]) -> Any:
        row = select(*values.values()).select_from(added)
        return insert(table).from_select(list(values), row).cte(part)

    data = literal('{"id":') + cast(added.c.id, Text) + bindparam("event_data", type_=Text)
    position = position_at_once(added)
    event = {**_parameters("event", events), "data": data, "position": position}
    searched = {**_parameters("search", SEARCH.table), "rowid": added.c.id}
    return PreparedValues(
        select(added.c.id).add_cte(
            insert_with("event", events, event),
            insert_with("entry", audit.table, _parameters("entry", audit.table)),
            insert_with("search", SEARCH.table, searched),
        )
    )


_ADD_WITH_ALL = _add_with_all()

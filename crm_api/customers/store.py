"""The statements about customers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, exists, or_, select, update

from crm_api import import_reports
from crm_api.as_json import JsonRow, as_json
from crm_api.customers.models import SEARCHED, SHOWN, Customer, customers
from crm_api.feed.store import registered_after
from crm_api.search import SearchIndex, fold
from crm_api.tables import stored_answers
from service_kit.database.listed import is_listed
from service_kit.database.prepared import Prepared, PreparedPages
from service_kit.database.rows import find_all, find_one, get_one, page_after
from service_kit.web.paging import Page, page_of

SEARCH = SearchIndex("customer_search")

_ANY = select(exists().select_from(customers))
_BY_ID = select(customers).where(customers.c.id == bindparam("id"))
_BY_UID = select(customers).where(customers.c.uid == bindparam("uid"))
_FIND_BY_ID, _FIND_BY_UID = Prepared(Customer, _BY_ID), Prepared(Customer, _BY_UID)
_BY_REF = select(customers).where(customers.c.external_ref == bindparam("external_ref"))
_BY_REFS = (
    select(customers)
    .where(customers.c.external_ref.in_(bindparam("refs", expanding=True)))
    .order_by(customers.c.id)
)
_BY_IDS = Prepared(Customer, select(customers).where(is_listed(customers.c.id, "ids")))
_OWNERS = select(customers.c.id, customers.c.email_key, customers.c.external_ref).where(
    or_(
        customers.c.email_key.in_(bindparam("emails", expanding=True)),
        customers.c.external_ref.in_(bindparam("refs", expanding=True)),
    )
)


class Owner(NamedTuple):
    """Who has an address or a reference that someone else wants."""

    id: int
    email_key: str
    external_ref: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which customers a list shows. `ascending` is newest last."""

    email: str | None = None
    q: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ascending: bool = True
    welcome: bool | None = None
    # A cursor of the feed.
    since: str | None = None

    @property
    def is_long(self) -> bool:
        """Whether the cost of a page grows with the table."""
        return self.q is not None or self.since is not None


_AS_JSON = select(customers.c.id, as_json(*(customers.c[name] for name in SHOWN)).label("json"))
_ROW_PAGES = PreparedPages(Customer, select(customers), customers.c.id)
_searched_fields = attrgetter(*SEARCHED)
_JSON_PAGES = PreparedPages(JsonRow, _AS_JSON, customers.c.id)


def email_key(email: str) -> str:
    return email.lower()


def is_empty(db: Connection) -> bool:
    return not db.execute(_ANY).scalar_one()


def find(db: Connection, key: int | str) -> Customer | None:
    """Look up by the integer id or by the uid."""
    if isinstance(key, int):
        return _FIND_BY_ID.first(db, id=key)
    return _FIND_BY_UID.first(db, uid=key)


def find_for_change(db: Connection, key: int | str) -> Customer | None:
    """Look up, and lock the row until this transaction ends."""
    if isinstance(key, int):
        return find_one(Customer, db, _BY_ID.with_for_update(), {"id": key})
    return find_one(Customer, db, _BY_UID.with_for_update(), {"uid": key})


def find_ref(db: Connection, external_ref: str, *, lock: bool = False) -> Customer | None:
    statement = _BY_REF.with_for_update() if lock else _BY_REF
    return find_one(Customer, db, statement, {"external_ref": external_ref})


def with_refs(db: Connection, refs: Collection[str], *, lock: bool) -> Sequence[Customer]:
    """Look up by external_refs; `lock` locks the rows."""
    statement = _BY_REFS.with_for_update() if lock else _BY_REFS
    return find_all(Customer, db, statement, {"refs": list(refs)})


def by_ids(db: Connection, ids: Collection[int]) -> list[Customer]:
    return _BY_IDS.all(db, ids=list(ids))


def owners_of(db: Connection, emails: Collection[str], refs: Collection[str]) -> list[Owner]:
    """Find the customers that have one of these addresses or references."""
    return find_all(Owner, db, _OWNERS, {"emails": list(emails), "refs": list(refs)})


def change(db: Connection, customer_id: int, values: dict[str, Any]) -> Customer:
    """Change one row. Raises sqlalchemy.exc.IntegrityError where a constraint forbids it."""
    changed = _write(db, customer_id, values)
    if not values.keys().isdisjoint(SEARCHED):
        SEARCH.change(db, customer_id, search_text(changed))
    return changed


def erase(db: Connection, customer: Customer, values: dict[str, Any]) -> None:
    """Blank one row, and remove it from the search, stored answers and the reports of imports."""
    _write(db, customer.id, values)
    SEARCH.remove(db, customer.id)
    # Also those that show one of its tickets or a note of it.
    stored_answers.forget(db, [customer.uid])
    import_reports.forget(db)


def rows_page(db: Connection, after: int, limit: int) -> Sequence[Customer]:
    """List customers with all their columns by id, from the one behind `after`."""
    return _ROW_PAGES.page(db, after, limit)


def page(
    db: Connection, filters: Filter, after: int | None, limit: int, since: int | None = None
) -> Page[JsonRow]:
    """List customers as JSON by id, from the one behind `after`.

    `since` is the position of `filters.since`.
    """
    if filters == Filter(ascending=filters.ascending):  # no filter: a prepared statement
        rows = _JSON_PAGES.page(db, after, limit + 1, ascending=filters.ascending)
        return page_of(rows, limit, key="id")
    statement = _AS_JSON
    key: ColumnElement[int] = customers.c.id
    if filters.q is not None:
        key = SEARCH.rowid
        statement = statement.join(SEARCH.table, key == customers.c.id)
        statement = statement.where(*SEARCH.holding(db, filters.q))
    if filters.email is not None:
        statement = statement.where(customers.c.email_key == email_key(filters.email))
    if filters.created_after is not None:
        statement = statement.where(customers.c.created_at > filters.created_after)
    if filters.created_before is not None:
        statement = statement.where(customers.c.created_at < filters.created_before)
    if filters.welcome is not None:
        statement = statement.where(customers.c.welcome.is_(filters.welcome))
    if since is not None:
        statement = statement.where(registered_after(customers.c.uid, since))
    statement = page_after(statement, key, after, limit + 1, ascending=filters.ascending)
    return page_of(find_all(JsonRow, db, statement), limit, key="id")


def _write(db: Connection, customer_id: int, values: dict[str, Any]) -> Customer:
    values = {**values, "version": customers.c.version + 1}
    statement = (
        update(customers).where(customers.c.id == customer_id).values(values).returning(customers)
    )
    return get_one(Customer, db, statement)


def search_text(customer: Customer) -> str:
    """Return the text that a customer is searched by."""
    return fold(*_searched_fields(customer))


def rebuild_search(db: Connection) -> None:
    """Enter everybody who was not erased into an empty index."""
    texts = [customers.c[name] for name in SEARCHED]
    SEARCH.rebuild(db, select(customers.c.id, *texts).where(customers.c.erased_at.is_(None)))

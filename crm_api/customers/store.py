"""The statements about customers."""

from collections import namedtuple
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, bindparam, exists, or_, select, update

from crm_api.customers.models import customers
from crm_api.feed.store import registered_after
from crm_api.search import SearchIndex, folded
from crm_api.tables import stored_answers
from service_kit.database.as_json import as_json
from service_kit.database.prepared import Prepared, PreparedInsert, PreparedPages
from service_kit.database.types import AnyRow

CustomerRow = AnyRow

SEARCH = SearchIndex("customer_search")
_SEARCHED = frozenset({"name", "email", "company"})

_ANY = select(exists().select_from(customers))
_BY_ID = select(customers).where(customers.c.id == bindparam("id"))
_BY_UID = select(customers).where(customers.c.uid == bindparam("uid"))
_FOUND_BY_ID, _FOUND_BY_UID = Prepared(_BY_ID), Prepared(_BY_UID)
_BY_REF = select(customers).where(customers.c.external_ref == bindparam("external_ref"))
_BY_REFS = (
    select(customers)
    .where(customers.c.external_ref.in_(bindparam("refs", expanding=True)))
    .order_by(customers.c.id)
)
_IDS_OF = select(customers.c.uid, customers.c.id).where(
    customers.c.uid.in_(bindparam("uids", expanding=True))
)
_ADD = PreparedInsert(customers)
_as_row = cast("Callable[..., CustomerRow]", namedtuple("Row", customers.columns.keys()))  # noqa: PYI024
_IN_THE_WAY = select(customers.c.id, customers.c.email_key, customers.c.external_ref).where(
    or_(
        customers.c.email_key.in_(bindparam("emails", expanding=True)),
        customers.c.external_ref.in_(bindparam("refs", expanding=True)),
    )
)


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


# What callers are shown in a list.
SHOWN = (
    "id",
    "uid",
    "name",
    "email",
    "company",
    "phone",
    "external_ref",
    "metadata",
    "created_at",
    "updated_at",
)
_SHOWN = select(customers.c.id, as_json(customers.c[name] for name in SHOWN).label("json"))
_WHOLE = PreparedPages(select(customers), customers.c.id)
_ALL = PreparedPages(_SHOWN, customers.c.id)


def email_key(email: str) -> str:
    return email.lower()


def is_empty(db: Connection) -> bool:
    return not db.execute(_ANY).scalar_one()


def find(db: Connection, key: int | str) -> CustomerRow | None:
    """Look up by the integer id or by the uid."""
    if isinstance(key, int):
        return _FOUND_BY_ID.first(db, id=key)
    return _FOUND_BY_UID.first(db, uid=key)


def find_for_change(db: Connection, key: int | str) -> CustomerRow | None:
    """Look up, and keep others from changing the row until this transaction ends."""
    if isinstance(key, int):
        return db.execute(_BY_ID.with_for_update(), {"id": key}).one_or_none()
    return db.execute(_BY_UID.with_for_update(), {"uid": key}).one_or_none()


def find_ref(db: Connection, external_ref: str) -> CustomerRow | None:
    return db.execute(_BY_REF, {"external_ref": external_ref}).one_or_none()


def find_ref_for_change(db: Connection, external_ref: str) -> CustomerRow | None:
    found = db.execute(_BY_REF.with_for_update(), {"external_ref": external_ref})
    return found.one_or_none()


def with_refs(db: Connection, refs: Collection[str], *, lock: bool) -> Sequence[CustomerRow]:
    """Look up by external_refs; with `lock`, keep others from changing these rows."""
    statement = _BY_REFS.with_for_update() if lock else _BY_REFS
    return db.execute(statement, {"refs": list(refs)}).all()


def add_all(db: Connection, rows: Sequence[dict[str, Any]]) -> dict[str, CustomerRow]:
    """Insert those rows that break no constraint; return these by their uid.

    In the order of the addresses: PostgreSQL lets the second of two transactions that add the same
    address wait, and two that wait for each other are a deadlock.
    """
    _ADD.each(db, sorted(rows, key=itemgetter("email_key")))
    ids = dict(db.execute(_IDS_OF, {"uids": [row["uid"] for row in rows]}).all())
    SEARCH.add(db, [(ids[row["uid"]], searched(row)) for row in rows if row["uid"] in ids])
    return {row["uid"]: as_stored(row, ids[row["uid"]]) for row in rows if row["uid"] in ids}


def as_stored(row: Mapping[str, Any], customer_id: int) -> CustomerRow:
    """Return a row that was inserted as reading it would."""
    return _as_row(**row, id=customer_id, erased_at=None)


def in_the_way(
    db: Connection, emails: Collection[str], refs: Collection[str]
) -> Sequence[CustomerRow]:
    """Find the id, address and reference of customers that have one of these."""
    return db.execute(_IN_THE_WAY, {"emails": list(emails), "refs": list(refs)}).all()


def change(db: Connection, customer_id: int, values: dict[str, Any]) -> CustomerRow:
    """Change one row. Raises sqlalchemy.exc.IntegrityError where a constraint forbids it."""
    changed = _write(db, customer_id, values)
    if not _SEARCHED.isdisjoint(values):
        SEARCH.change(db, customer_id, searched(changed._asdict()))
    return changed


def erase(db: Connection, customer_id: int, values: dict[str, Any]) -> None:
    """Change one row to be nobody's, whom no search finds."""
    _write(db, customer_id, values)
    SEARCH.remove(db, customer_id)


def forget_answers(db: Connection, uid: str) -> None:
    """Empty stored answers that show this customer, its tickets or their notes."""
    stored_answers.forget(db, [uid])


def whole_page(db: Connection, after: int, limit: int) -> Sequence[CustomerRow]:
    """List customers with all that is known of them by id, from the one behind `after`."""
    return _WHOLE.page(db, after, limit)


def page(
    db: Connection, wanted: Filter, after: int | None, limit: int, since: int | None = None
) -> Sequence[CustomerRow]:
    """List customers as JSON by id, from the one behind `after`.

    `since` is the position of `wanted.since`.
    """
    if wanted == Filter(ascending=wanted.ascending):
        return _ALL.page(db, after, limit, ascending=wanted.ascending)
    statement = _SHOWN
    key: ColumnElement[int] = customers.c.id
    if wanted.q is not None:
        key = SEARCH.rowid
        statement = statement.join(SEARCH.table, key == customers.c.id)
        statement = statement.where(*SEARCH.holding(db, wanted.q))
    if after is not None:
        statement = statement.where(key > after if wanted.ascending else key < after)
    if wanted.email is not None:
        statement = statement.where(customers.c.email_key == email_key(wanted.email))
    if wanted.created_after is not None:
        statement = statement.where(customers.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        statement = statement.where(customers.c.created_at < wanted.created_before)
    if wanted.welcome is not None:
        statement = statement.where(customers.c.welcome.is_(wanted.welcome))
    if since is not None:
        statement = statement.where(registered_after(customers.c.uid, since))
    order = key.asc() if wanted.ascending else key.desc()
    return db.execute(statement.order_by(order).limit(limit)).all()


def _write(db: Connection, customer_id: int, values: dict[str, Any]) -> CustomerRow:
    values = {**values, "version": customers.c.version + 1}
    statement = (
        update(customers).where(customers.c.id == customer_id).values(values).returning(customers)
    )
    return db.execute(statement).one()


def searched(row: Mapping[str, Any]) -> str:
    """Return the text by which a customer is found."""
    return folded(row["name"], row["email"], row["company"])

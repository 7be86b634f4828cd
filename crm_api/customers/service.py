"""The rules about customers."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from crm_api.as_json import JsonRow
from crm_api.customers import events, registration, store
from crm_api.customers.models import Customer, customers
from crm_api.customers.schemas import CustomerChange, CustomerNew, CustomerPut
from crm_api.customers.store import Filter
from crm_api.events import record
from crm_api.feed import service as feed
from service_kit.database import Database, DatabaseUnavailable, RunAgain
from service_kit.database.personal import blanks
from service_kit.problems import Problem
from service_kit.process import clock
from service_kit.web.auth import Principal
from service_kit.web.etags import PreconditionFailed, check_version
from service_kit.web.paging import Page


class CustomerNotFound(Problem):
    """There is no customer with this id."""

    status = HTTPStatus.NOT_FOUND
    slug = "customer-not-found"


class EmailTaken(Problem):
    """A customer with this e-mail address exists; `customer_id` is its id, for who may read it."""

    status = HTTPStatus.CONFLICT
    slug = "email-taken"
    example = {"customer_id": 1}


class CustomerErased(Problem):
    """The customer was erased; there is nothing left to change."""

    status = HTTPStatus.CONFLICT
    slug = "customer-erased"


class ExternalRefTaken(Problem):
    """A customer with this external_ref exists."""

    status = HTTPStatus.CONFLICT
    slug = "external-ref-taken"


def get(db: Connection, key: int | str) -> Customer:
    """Look up one customer by id or uid. Raises CustomerNotFound."""
    return _existing(store.find(db, key))


def get_ref(db: Connection, external_ref: str) -> Customer:
    """Look up one customer by its external_ref. Raises CustomerNotFound."""
    return _existing(store.find_ref(db, external_ref))


async def read_first_page(
    database: Database, filters: Filter, limit: int
) -> tuple[str | None, Page[JsonRow]]:
    """Read where the feed stands behind all that is committed by now, then the first customers.

    The cursor is None while nothing can be written. Raises what `page` does.
    """
    run = database.scan if filters.is_long else database.read
    cursor, found, is_behind = await run(first_page, filters, limit)
    if is_behind:
        try:
            await feed.assign_all_positions(database)
        except DatabaseUnavailable:
            return None, found
        cursor, found, _ = await run(first_page, filters, limit)
    return cursor, found


def first_page(db: Connection, filters: Filter, limit: int) -> tuple[str, Page[JsonRow], bool]:
    """Read where the feed stands, the first customers, and whether the feed has to be numbered.

    In this order a snapshot and the feed after it overlap, and no customer falls between them.
    """
    cursor, is_behind = feed.head_cursor(db)
    return cursor, page(db, filters, None, limit), is_behind


def page(db: Connection, filters: Filter, after: int | None, limit: int) -> Page[JsonRow]:
    """Read a page. With `since` raises CursorMalformed, FeedDiverged or CursorExpired."""
    since = None if filters.since is None else feed.position_of(db, filters.since)
    return store.page(db, filters, after, limit, since)


def register(db: Connection, new: CustomerNew, who: Principal) -> Customer:
    """Add a customer. Raises EmailTaken or ExternalRefTaken."""
    [added] = register_all(db, [new], who)
    if isinstance(added, Problem):
        raise added
    return added


def register_all(
    db: Connection, new: Sequence[CustomerNew], who: Principal, *, welcome: bool = True
) -> list[Customer | Problem]:
    """Add customers, each for itself: one that can't be added becomes a problem in its place.

    Without `welcome` their events say that no welcome package is wanted.

    The constraints decide, not a look-up beforehand: two callers can both pass a look-up, but only
    one can pass a constraint.
    """
    rows = [{**_new_row(customer), "welcome": welcome} for customer in new]
    added = registration.add(db, rows, who) if rows else {}
    refused = [row for row in rows if row["uid"] not in added]
    problems = iter(_conflicts(db, refused, who))
    return [added[row["uid"]] if row["uid"] in added else next(problems) for row in rows]


def put(
    db: Connection,
    new: CustomerPut,
    versions: frozenset[int] | None,
    who: Principal,
    *,
    must_exist: bool = False,
) -> tuple[Customer, bool]:
    """Create the customer with this external_ref, or replace all its fields by these.

    Returns it, and whether it was created. What is not sent is emptied; where nothing differs,
    nothing is touched and there is no event. An erased customer has given its external_ref back, so
    that the next one to bring it is new.

    Raises PreconditionFailed or EmailTaken.
    """
    assert new.external_ref is not None
    before = store.find_ref(db, new.external_ref, lock=True)
    if before is None:
        if must_exist:
            raise PreconditionFailed("There is no customer with this external_ref.")
        [added] = register_all(db, [new], who)
        if not isinstance(added, Problem):
            return added, True
        before = _added_meanwhile(db, new.external_ref, added)
    check_version(versions, before.version)
    values: dict[str, Any] = new.model_dump()
    return change_row(db, before, values, who), False


def change(
    db: Connection,
    key: int | str,
    change: CustomerChange,
    versions: frozenset[int] | None,
    who: Principal,
) -> Customer:
    """Change the fields that were sent. Changing nothing is no change and leaves no event.

    Raises CustomerNotFound, CustomerErased, PreconditionFailed, EmailTaken or ExternalRefTaken.
    """
    before = _existing(store.find_for_change(db, key))
    check_version(versions, before.version)
    if before.erased_at is not None:
        raise CustomerErased("This customer was erased; there is nothing left to change.")
    return change_row(db, before, change.changes(), who)


def change_row(
    db: Connection, before: Customer, fields: Mapping[str, Any], who: Principal
) -> Customer:
    """Change those of these fields that differ. Raises EmailTaken or ExternalRefTaken."""
    values = {name: value for name, value in fields.items() if getattr(before, name) != value}
    if not values:
        return before
    if "email" in values and (key := store.email_key(values["email"])) != before.email_key:
        values["email_key"] = key
    try:
        with db.begin_nested():
            after = store.change(db, before.id, {**values, "updated_at": clock.now()})
    except IntegrityError:
        raise _conflicts(db, [values], who)[0] from None
    record(db, events.CustomerUpdated(after), by=who)
    return after


def erase(db: Connection, key: int | str, versions: frozenset[int] | None, who: Principal) -> None:
    """Erase a customer's personal data, in its row and in all past events.

    The row stays, so that what other systems store still leads somewhere. Erasing once more does
    nothing. Raises CustomerNotFound or PreconditionFailed.
    """
    before = _existing(store.find_for_change(db, key))
    check_version(versions, before.version)
    if before.erased_at is not None:
        return
    now = clock.now()
    # No address holds a colon and no @, so none can be in the way of this one.
    gone = {"email_key": f"erased:{before.uid}", "erased_at": now, "updated_at": now}
    blank = blanks(customers)
    store.erase(db, before, {**blank, **gone})
    feed.forget(db, before.uid, blank)
    record(db, events.CustomerErased(before, now), by=who)


def _added_meanwhile(db: Connection, external_ref: str, refusal: Problem) -> Customer:
    """Find the customer that was not there a moment ago; without one the refusal stands."""
    if (found := store.find_ref(db, external_ref, lock=True)) is not None:
        return found
    if isinstance(refusal, ExternalRefTaken):
        raise RunAgain  # and gone again
    raise refusal


def _existing(customer: Customer | None) -> Customer:
    if customer is None:
        raise CustomerNotFound("There is no customer with this id.")
    return customer


def _new_row(new: CustomerNew) -> dict[str, Any]:
    now = clock.now()
    return {
        **new.model_dump(),
        "uid": clock.new_id(),
        "email_key": store.email_key(new.email),
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }


def _conflicts(db: Connection, refused: Sequence[dict[str, Any]], who: Principal) -> list[Problem]:
    """For each row that a constraint refused, return the problem that says what is taken."""
    if not refused:
        return []
    emails = [row["email_key"] for row in refused if row.get("email_key")]
    refs = [row["external_ref"] for row in refused if row.get("external_ref")]
    owners = store.owners_of(db, emails, refs)
    by_email = {owner.email_key: owner.id for owner in owners}
    by_ref = {owner.external_ref: owner.id for owner in owners}
    return [_conflict(row, by_email, by_ref, who) for row in refused]


def _conflict(
    row: dict[str, Any], by_email: dict[str, int], by_ref: dict[str | None, int], who: Principal
) -> Problem:
    extra: dict[str, Any] = {}
    if (owner := by_email.get(row.get("email_key", ""))) is not None:
        extra = {"customer_id": owner} if who.may("customers:read") else {}
        return EmailTaken("A customer with this e-mail address already exists.", **extra)
    if (owner := by_ref.get(row.get("external_ref") or "")) is not None:
        extra = {"customer_id": owner} if who.may("customers:read") else {}
    return ExternalRefTaken("A customer with this external_ref already exists.", **extra)

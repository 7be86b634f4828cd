"""The customers' routes; the hot ones first, since Starlette tries them in order."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.convertors import Convertor, register_url_convertor

from crm_api.access import (
    CanCreateCustomers,
    CanDeleteCustomers,
    CanReadCustomers,
    CanWriteCustomers,
)
from crm_api.as_json import json_array
from crm_api.customers import service
from crm_api.customers.addresses import LONGEST, Address
from crm_api.customers.models import Customer
from crm_api.customers.schemas import (
    BatchResult,
    CustomerChange,
    CustomerNew,
    CustomerOut,
    CustomerPut,
    ExternalRef,
    as_shown,
)
from crm_api.customers.store import Filter
from crm_api.feed import service as feed
from crm_api.tables import audit
from service_kit.problems import InvalidRequest, Problem
from service_kit.web.audit import audit_read, span
from service_kit.web.auth import principal_of
from service_kit.web.body import LARGEST_BATCH, merge, read_items
from service_kit.web.dependencies import DatabaseDep, database_of
from service_kit.web.etags import (
    NOT_MODIFIED,
    IfMatch,
    IfNoneMatch,
    PreconditionFailed,
    etag,
    set_etag,
    unless_known,
)
from service_kit.web.fields import Line
from service_kit.web.hot import HotRoute, hot, json_response, plain_body, plain_limit, plain_query
from service_kit.web.idempotency import Answer, Idempotent, ReplayErased
from service_kit.web.openapi import ETAG, LOCATION, answering, documented, header
from service_kit.web.paging import CreatedAfter, CreatedBefore, Paging, PagingDep, Sort

router = APIRouter(prefix="/api/customers", route_class=HotRoute, tags=["customers"])

FEED_CURSOR = {
    "X-Feed-Cursor": header(
        "On the first page: the position of the change feed before the first row was read. Omitted "
        "while the database is read-only.",
        "MDE5YTVkM2M6NDE",
        is_optional=True,
    )
}
_ID = re.compile(r"[0-9]{1,18}")


async def _customer_key(
    customer: Annotated[
        Line, Path(max_length=36, description="Its id or its uid.", examples=["1"])
    ],
) -> int | str:
    return int(customer) if _ID.fullmatch(customer) else customer.lower()


async def _filter(
    email: Annotated[
        Address | None,
        Query(
            max_length=LONGEST,
            description="Filter by e-mail address: the whole address, however it is written.",
            examples=["jane@example.com"],
        ),
    ] = None,
    q: Annotated[
        Line | None,
        Query(
            min_length=1,
            max_length=200,
            description="Search text: part of the name, e-mail or company.",
            examples=["jane"],
        ),
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    sort: Sort = "id",
    welcome: Annotated[
        bool | None, Query(description="Filter by whether a welcome package is wanted.")
    ] = None,
    since: Annotated[
        str | None,
        Query(
            max_length=200,
            description="A cursor of the change feed: only customers registered after it, "
            "also where that event was pruned. Clocks play no part.",
        ),
    ] = None,
) -> Filter:
    return Filter(email, q, created_after, created_before, sort == "id", welcome, since)


RefInPath = Annotated[
    ExternalRef, Path(description="The customer's key in the system it came from.")
]


class _AnyText(Convertor[str]):
    """A key may hold a slash; a line break in it is the schema's to refuse, not the router's."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())
BY_REF = "/by-ref/{external_ref:text}"
CustomerKey = Annotated[int | str, Depends(_customer_key)]
CustomerFilter = Annotated[Filter, Depends(_filter)]
Items = Annotated[
    list[Any],
    Body(
        min_length=1,
        max_length=LARGEST_BATCH,
        description="Customers as POST /api/customers takes them.",
        json_schema_extra={"items": {"$ref": "#/components/schemas/CustomerNew"}},
        examples=[
            [
                {"name": "Ada Lovelace", "email": "ada@example.com"},
                {"name": "Grace Hopper", "email": "grace@example.com"},
            ]
        ],
    ),
]
_NEW_CUSTOMER: TypeAdapter[CustomerNew] = TypeAdapter(CustomerNew)


async def _register_by_hand(request: Request) -> Response | None:
    """Register without FastAPI; None with an Idempotency-Key or for a body that is not valid."""
    if "idempotency-key" in request.headers:
        return None
    if (new := await plain_body(request, _NEW_CUSTOMER)) is None:
        return None
    write = database_of(request).write_autocommit
    return _created_answer(await write(service.register, new, principal_of(request))).response()


async def _list_by_hand(request: Request) -> Response | None:
    """List without FastAPI; None with a filter, an order, or a limit that is not allowed."""
    query = plain_query(request, "limit", "cursor")
    if query is None or not (limit := plain_limit(query)):
        return None
    paging = Paging(request, Response(), limit, query.get("cursor"))
    who, no_filters = principal_of(request), await _filter()
    return await list_customers(request, database_of(request), who, paging, no_filters)


async def _get_by_hand(request: Request) -> Response | None:
    """Look up without FastAPI; None with a uid in place of the id, or with If-None-Match."""
    key = request.path_params["customer"]
    if not _ID.fullmatch(key) or "if-none-match" in request.headers:
        return None
    found = await database_of(request).read(service.get, int(key))
    await audit_read(request, audit, "customer.read", found.uid)
    return json_response(as_shown(found), {"ETag": etag(found.version)})


@router.post(
    "",
    status_code=201,
    summary="Register a customer",
    response_model=CustomerOut,
    responses=documented(service.EmailTaken, service.ExternalRefTaken, ReplayErased)
    | answering(201, LOCATION, ETAG),
)
@hot(_register_by_hand)
async def register_customer(
    new: CustomerNew, database: DatabaseDep, who: CanCreateCustomers, idempotency: Idempotent
) -> Response:
    """Add a customer. Its e-mail address must be new, upper and lower case being the same."""
    if idempotency.key is not None:
        return await idempotency.write(service.register, _created_answer, new, who)
    return _created_answer(await database.write_autocommit(service.register, new, who)).response()


@router.get(
    "",
    summary="List customers",
    response_model=list[CustomerOut],
    responses=documented(feed.CursorMalformed, feed.FeedDiverged, feed.CursorExpired)
    | answering(200, FEED_CURSOR),
)
@hot(_list_by_hand)
async def list_customers(
    request: Request,
    database: DatabaseDep,
    _: CanReadCustomers,
    paging: PagingDep,
    filters: CustomerFilter,
) -> Response:
    """List customers, newest last.

    The first page's `X-Feed-Cursor` is the position of the change feed before the first row was
    read: all pages, and then the feed from there, show every customer. Customers committed before
    this request come before that cursor; the feed after it does not repeat them.
    """
    order = "id" if filters.ascending else "-id"
    headers = {}
    if paging.cursor is None:
        feed_cursor, page = await service.read_first_page(database, filters, paging.limit)
        if feed_cursor is not None:
            headers["X-Feed-Cursor"] = feed_cursor
    else:
        run = database.scan if filters.is_long else database.read
        page = await run(service.page, filters, paging.after(order), paging.limit)
    await audit_read(request, audit, "customers.listed", span([row.id for row in page.rows]))
    response = Response(json_array(page.rows), headers=headers, media_type="application/json")
    # The Link to the next page is a header, and only this response leaves.
    replace(paging, response=response).rows(page, order)
    return response


@router.get(
    "/{customer}",
    summary="Look up a customer",
    response_model=CustomerOut,
    responses=documented(service.CustomerNotFound) | NOT_MODIFIED,
)
@hot(_get_by_hand)
async def get_customer(
    request: Request,
    customer: CustomerKey,
    database: DatabaseDep,
    _: CanReadCustomers,
    known_versions: IfNoneMatch,
    response: Response,
) -> Customer | Response:
    """Look up one customer by its id or its uid."""
    found = await database.read(service.get, customer)
    await audit_read(request, audit, "customer.read", found.uid)
    return unless_known(known_versions, response, found.version, found)


@router.post("/batch", summary="Register up to 500 customers", response_model=list[BatchResult])
async def register_customers(
    items: Items, who: CanCreateCustomers, idempotency: Idempotent
) -> Response:
    """Add each customer on its own, and answer the result of each, in order."""
    read = await read_items(CustomerNew, items)
    new = [item for item in read if isinstance(item, CustomerNew)]
    return await idempotency.write(
        service.register_all, lambda done: _batch_answer(merge(read, done)), new, who
    )


@router.patch(
    "/{customer}",
    summary="Change a customer",
    response_model=CustomerOut,
    responses=documented(
        service.CustomerNotFound,
        service.CustomerErased,
        service.EmailTaken,
        service.ExternalRefTaken,
        PreconditionFailed,
    )
    | answering(200, ETAG),
)
async def change_customer(
    customer: CustomerKey,
    change: CustomerChange,
    database: DatabaseDep,
    who: CanWriteCustomers,
    versions: IfMatch,
    response: Response,
) -> Customer:
    """Change the fields that are sent and leave the others as they are."""
    changed = await database.write(service.change, customer, change, versions, who)
    set_etag(response, changed.version)
    return changed


@router.delete(
    "/{customer}",
    status_code=204,
    summary="Erase a customer",
    responses=documented(service.CustomerNotFound, PreconditionFailed),
)
async def erase_customer(
    customer: CustomerKey, database: DatabaseDep, who: CanDeleteCustomers, versions: IfMatch
) -> None:
    """Forget the person: every personal field is blanked, here and in the feed's past events.

    The id and the uid stay, and `customer.erased` tells other systems to forget as well. Tickets
    are kept word by word. A late request with an Idempotency-Key that made the customer, one of its
    tickets or a note is answered 410, so that it makes nobody again.
    """
    await database.erase(service.erase, customer, versions, who)


@router.get(
    BY_REF,
    summary="Look up a customer by its external_ref",
    response_model=CustomerOut,
    responses=documented(service.CustomerNotFound) | NOT_MODIFIED,
)
async def get_customer_by_ref(
    request: Request,
    external_ref: RefInPath,
    database: DatabaseDep,
    _: CanReadCustomers,
    known_versions: IfNoneMatch,
    response: Response,
) -> Customer | Response:
    """Look up one customer by the key that it has in the system it came from."""
    found = await database.read(service.get_ref, external_ref)
    await audit_read(request, audit, "customer.read", found.uid)
    return unless_known(known_versions, response, found.version, found)


@router.put(
    BY_REF,
    summary="Create or update a customer by its external_ref",
    response_model=CustomerOut,
    responses={
        201: {
            "model": CustomerOut,
            "description": "There was none; it is created.",
            **answering(201, LOCATION, ETAG)[201],
        },
        **documented(service.EmailTaken, PreconditionFailed),
        **answering(200, ETAG),
    },
)
async def put_customer(
    external_ref: RefInPath,
    put: CustomerPut,
    request: Request,
    database: DatabaseDep,
    who: CanWriteCustomers,
    versions: IfMatch,
    response: Response,
) -> object:
    """Create or replace the customer with this external_ref; fields that are not sent are emptied.

    Safe to repeat: sending the same again changes nothing and leaves no event. A new customer gets
    a welcome package as any other. Erasing a customer frees its external_ref.
    """
    if put.external_ref not in {None, external_ref}:
        raise InvalidRequest(
            "The body names another external_ref than the path.",
            errors=[{"loc": ["body", "external_ref"], "msg": "Not the one of the path"}],
        )
    customer, is_new = await database.write(
        service.put,
        put.model_copy(update={"external_ref": external_ref}),
        versions,
        who,
        must_exist="if-match" in request.headers,
    )
    if is_new:
        return _created_answer(customer).response()
    set_etag(response, customer.version)
    return customer


def _created_answer(customer: Customer) -> Answer:
    body = to_json(as_shown(customer)).decode()
    headers = {"Location": f"/api/customers/{customer.id}", "ETag": etag(customer.version)}
    return Answer(201, body, headers, subjects=[customer.uid])


def _batch_answer(done: Sequence[Customer | Problem]) -> Answer:
    body = to_json([_result(one) for one in done]).decode()
    uids = [None if isinstance(one, Problem) else one.uid for one in done]
    return Answer(200, body, item_subjects=uids)


def _result(found: Customer | Problem) -> dict[str, Any]:
    """Return what `BatchResult` describes."""
    if isinstance(found, Problem):
        return {"status": found.status.value, "problem": found.document()}
    return {"status": 201, "customer": as_shown(found)}

"""The package requests' routes."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, Field, SkipValidation, TypeAdapter, ValidationError
from pydantic_core import to_json

from inventory_api.access import CanErasePackages, CanReadPackages, CanWritePackages
from inventory_api.package_requests import destinations, erasing, moves, service
from inventory_api.package_requests.models import Status
from inventory_api.package_requests.schemas import (
    ADDRESS_CHANGE,
    AddressChange,
    AddressResult,
    BatchResult,
    CustomerId,
    Erased,
    Erasure,
    Move,
    MoveResult,
    Moves,
    PackageRequestNew,
    PackageRequestOut,
    PackageType,
)
from inventory_api.package_requests.service import PackageView, Requested
from inventory_api.package_requests.store import Filter
from inventory_api.tables import audit
from service_kit.problems import Problem
from service_kit.web.audit import audit_read, span
from service_kit.web.auth import principal_of
from service_kit.web.body import LARGEST_BATCH, merge, read_items
from service_kit.web.dependencies import DatabaseDep
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
from service_kit.web.hot import HotRoute, hot, plain_body
from service_kit.web.idempotency import Answer, Idempotent, ReplayErased, idempotency_key
from service_kit.web.openapi import ETAG, LOCATION, answering, documented
from service_kit.web.paging import CreatedAfter, CreatedBefore, PagingDep

router = APIRouter(prefix="/package-requests", route_class=HotRoute, tags=["package requests"])


async def _filter(
    customer_id: Annotated[CustomerId | None, Query(description="Only this customer's.")] = None,
    status: Annotated[
        Status | None, Query(description="Filter by status.", examples=["pending"])
    ] = None,
    package_type: Annotated[PackageType | None, Query(description="Only this type.")] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
) -> Filter:
    return Filter(customer_id, status, package_type, created_after, created_before)


RequestIdInPath = Annotated[
    Line, Path(max_length=36, description="The package request's id."), AfterValidator(str.lower)
]
# Read one by one, so that a wrong one does not spoil the others.
AddressItems = Annotated[
    list[SkipValidation[AddressChange]],
    Body(
        min_length=1,
        max_length=LARGEST_BATCH,
        description="Each a customer's new address.",
        examples=[[ADDRESS_CHANGE]],
    ),
]
MoveResults = Annotated[list[MoveResult], Field(max_length=LARGEST_BATCH)]
PackageFilter = Annotated[Filter, Depends(_filter)]
Items = Annotated[
    list[Any],
    Body(
        min_length=1,
        max_length=LARGEST_BATCH,
        description="Package requests as POST /package-requests takes them.",
        json_schema_extra={"items": {"$ref": "#/components/schemas/PackageRequestNew"}},
        examples=[
            [
                {"customer_id": "019a5d3c-7a11-7cc0-9b0e-000000000001"},
                {"customer_id": "019a5d3c-7a11-7cc0-9b0e-000000000002"},
            ]
        ],
    ),
]


@router.post(
    "",
    status_code=201,
    summary="Request a package",
    response_model=PackageRequestOut,
    responses={
        **documented(service.PackageRequestConflict, service.CustomerErased, ReplayErased),
        **answering(201, LOCATION, ETAG),
        200: {
            "model": PackageRequestOut,
            "description": "It was requested before: the existing request.",
            **answering(200, LOCATION, ETAG)[200],
        },
    },
)
async def request_package(
    new: PackageRequestNew, who: CanWritePackages, idempotency: Idempotent
) -> Response:
    """Request a package: only one is ever made for a customer, a type and an occurrence.

    Repeating is safe: it answers the existing request with 200. For an erased customer the answer
    is 410, also where a package had been requested before.
    """
    outcome = await idempotency.outcome(service.request, _answer, new, who)
    if outcome.result is not None:
        service.log_new([outcome.result])
    return outcome.answer.response()


async def _request_all_by_hand(request: Request) -> Response | None:
    """Request without FastAPI; None with an Idempotency-Key or for a body that is not valid."""
    if "idempotency-key" in request.headers or not (items := await plain_body(request, _ITEMS)):
        return None
    return await request_packages(items, principal_of(request), await idempotency_key(request))


@router.post("/batch", summary="Request up to 500 packages", response_model=list[BatchResult])
@hot(_request_all_by_hand)
async def request_packages(
    items: Items, who: CanWritePackages, idempotency: Idempotent
) -> Response:
    """Request each package on its own, and answer the result of each, in order.

    The problem of an item that was refused names its `customer_id`, where that can be one.
    """
    read = await read_items(PackageRequestNew, items)
    new = [item for item in read if isinstance(item, PackageRequestNew)]
    outcome = await idempotency.outcome(
        service.request_all, lambda done: _batch_answer(items, merge(read, done)), new, who
    )
    if outcome.result is not None:
        service.log_new(outcome.result)
    return outcome.answer.response()


@router.get("", summary="List package requests", response_model=list[PackageRequestOut])
async def list_package_requests(
    request: Request,
    database: DatabaseDep,
    _: CanReadPackages,
    paging: PagingDep,
    filters: PackageFilter,
) -> list[dict[str, Any]]:
    """List package requests, newest last."""
    page = await database.read(service.page, filters, paging.after(), paging.limit)
    shown = span([view.row.id for view in page.rows])
    await audit_read(request, audit, "packages.listed", shown)
    return [service.as_shown(one) for one in paging.rows(page)]


@router.get(
    "/{request_id}",
    summary="Look up a package request",
    response_model=PackageRequestOut,
    responses=documented(service.PackageRequestNotFound) | NOT_MODIFIED,
)
async def get_package_request(
    request: Request,
    request_id: RequestIdInPath,
    database: DatabaseDep,
    _: CanReadPackages,
    known_versions: IfNoneMatch,
    response: Response,
) -> dict[str, Any] | Response:
    """Look up one package request by its id."""
    found = await database.read(service.show, request_id)
    await audit_read(request, audit, "package.read", request_id)
    return unless_known(known_versions, response, found.row.version, service.as_shown(found))


@router.post(
    "/addresses",
    summary="Change the addresses of customers",
    response_model=list[AddressResult],
    response_model_exclude_unset=True,
)
async def change_addresses(
    items: AddressItems, database: DatabaseDep, who: CanWritePackages
) -> list[dict[str, Any]]:
    """Give all that is not packed yet for these customers their new address, in order.

    Answers for each how many package requests got another address. What is packed keeps the one on
    its label. Safe to repeat, and in any order: an older change never replaces a newer address.
    """
    read = await read_items(AddressChange, items)
    changes = [item for item in read if isinstance(item, AddressChange)]
    done = await database.write(destinations.change_all, changes, who) if changes else []
    return [
        {"status": one.status.value, "problem": one.document()}
        if isinstance(one, Problem)
        else {"status": 200, "updated": one}
        for one in merge(read, done)
    ]


@router.post("/erasures", summary="Erase customers")
async def erase_customers(erasure: Erasure, database: DatabaseDep, who: CanErasePackages) -> Erased:
    """Cancel what is not shipped to these customers, forget their names and notes, for ever.

    What was reserved for a cancelled package goes to whoever waits for it. A packed one is
    cancelled too, but its goods stay reserved: it shows `to_unpack`, here and in `GET /pick-list`,
    until somebody has emptied the box. What was shipped only loses its name and note.

    Later requests for these customers answer 410, also where there was none before. Safe to repeat.
    With `dry_run` it answers what is still to do: a caller who knows all erasures can check, for
    example after a restored backup, that they are all applied.
    """
    if erasure.dry_run:
        return await database.read(erasing.preview, erasure.customer_ids)
    return await database.erase(erasing.erase, erasure.customer_ids, who)


@router.post("/moves", summary="Move up to 500 package requests", response_model=MoveResults)
async def move_package_requests(
    wanted: Moves, who: CanWritePackages, idempotency: Idempotent
) -> Response:
    """Take one step with each of these, as `POST /package-requests/{request_id}/{move}` does.

    Answers the result of each, in order: one that can't be moved leaves the others alone. All that
    can be moved are moved at once, or none when the request fails.
    """
    return await idempotency.write(
        moves.move_all, _moved_answer, wanted.request_ids, wanted.move, who
    )


@router.post(
    "/{request_id}/{move}",
    summary="Move a package request one step forward",
    response_model=PackageRequestOut,
    responses=documented(
        service.PackageRequestNotFound, moves.InvalidTransition, PreconditionFailed
    )
    | answering(200, ETAG),
)
async def move_package_request(
    request_id: RequestIdInPath,
    move: Annotated[
        Move,
        Path(
            description="The step that was taken.", examples=["pack", "ship", "deliver", "return"]
        ),
    ],
    database: DatabaseDep,
    who: CanWritePackages,
    versions: IfMatch,
    response: Response,
) -> dict[str, Any]:
    """Pack, ship, deliver, cancel, unpack or return it. Repeating a step changes nothing.

    Shipping alone takes goods out of stock; cancelling frees what was promised, and returning puts
    back what was shipped: what is waiting for it gets it at once, the oldest first. One that is
    cancelled when it is packed shows `to_unpack`: its goods are in a box, so they stay reserved
    until somebody has emptied it and says so with `unpack`.
    """
    moved = await database.write(moves.move, request_id, move, versions, who)
    set_etag(response, moved.row.version)
    return service.as_shown(moved)


def _answer(requested: Requested) -> Answer:
    row = requested.view.row
    headers = {"Location": f"/package-requests/{row.request_id}", "ETag": etag(row.version)}
    body = to_json(service.as_shown(requested.view)).decode()
    status = 201 if requested.is_new else 200
    return Answer(status, body, headers, subjects=[row.customer_id])


def _batch_answer(items: Sequence[Any], done: Sequence[Requested | Problem]) -> Answer:
    results = [_result(item, one) for item, one in zip(items, done, strict=True)]
    customer_ids = [None if isinstance(one, Problem) else one.view.row.customer_id for one in done]
    return Answer(200, to_json(results).decode(), item_subjects=customer_ids)


def _moved_answer(done: Sequence[PackageView | Problem]) -> Answer:
    results = [
        {"status": one.status.value, "problem": one.document()}
        if isinstance(one, Problem)
        else {"status": 200, "package_request": service.as_shown(one)}
        for one in done
    ]
    customer_ids = [None if isinstance(one, Problem) else one.row.customer_id for one in done]
    return Answer(200, to_json(results).decode(), item_subjects=customer_ids)


def _result(item: Any, done: Requested | Problem) -> dict[str, Any]:
    if isinstance(done, Problem):
        return {
            "status": done.status.value,
            "problem": {**done.document(), **_customer_id_of(item)},
        }
    shown = service.as_shown(done.view)
    return {"status": 201 if done.is_new else 200, "package_request": shown}


def _customer_id_of(item: Any) -> dict[str, Any]:
    """Return the item's `customer_id` for its refusal; nothing where that can't be one.

    The integration believes a refusal only with it: without, it can't tell whom it is about.
    """
    try:
        return {"customer_id": _CUSTOMER_ID.validate_python(item["customer_id"])}
    except (TypeError, KeyError, ValidationError):
        return {}


_CUSTOMER_ID: TypeAdapter[str] = TypeAdapter(CustomerId)
_ITEMS: TypeAdapter[list[Any]] = TypeAdapter(Items)

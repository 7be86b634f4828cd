"""The package requests' routes."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime

from inventory_api.package_requests import service
from inventory_api.package_requests.schemas import (
    BatchResult,
    CustomerId,
    PackageRequestNew,
    PackageRequestOut,
    PackageType,
    Status,
)
from inventory_api.package_requests.service import Requested
from inventory_api.package_requests.store import Filter, PackageRequestRow
from inventory_api.roles import CanReadPackages, CanWritePackages
from service_kit.auth import GuardedRoute
from service_kit.batch import LARGEST_BATCH, merge, read_items
from service_kit.health import DatabaseDep
from service_kit.openapi import documented
from service_kit.paging import Cursor, Limit, link_next, number_after
from service_kit.problems import Problem

router = APIRouter(prefix="/package-requests", route_class=GuardedRoute, tags=["package requests"])


async def _filter(
    customer_id: Annotated[CustomerId | None, Query()] = None,
    status: Annotated[Status | None, Query()] = None,
    package_type: Annotated[PackageType | None, Query()] = None,
    created_after: Annotated[AwareDatetime | None, Query()] = None,
) -> Filter:
    return Filter(customer_id, status, package_type, created_after)


Wanted = Annotated[Filter, Depends(_filter)]
Items = Annotated[
    list[Any],
    Body(
        min_length=1,
        max_length=LARGEST_BATCH,
        description="Package requests as POST /package-requests takes them.",
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
        **documented(service.PackageRequestConflict),
        200: {"model": PackageRequestOut, "description": "It was requested before: that request."},
    },
)
async def request_package(
    new: PackageRequestNew, database: DatabaseDep, _: CanWritePackages, response: Response
) -> PackageRequestRow:
    """Have a package made: one for ever for a customer, a type and an occurrence.

    Send it again as often as you like: you get the request that is there, with 200.
    """
    requested = await database.write(service.request, new)
    service.tell([requested])
    response.status_code = 201 if requested.is_new else 200
    response.headers["Location"] = f"/package-requests/{requested.row.request_id}"
    return requested.row


@router.post("/batch", summary="Request up to 500 packages", response_model_exclude_none=True)
async def request_packages(
    items: Items, database: DatabaseDep, _: CanWritePackages
) -> list[BatchResult]:
    """Have each package made for itself, and answer for each, in order, what became of it."""
    read = read_items(PackageRequestNew, items)
    new = [item for item in read if isinstance(item, PackageRequestNew)]
    done = await database.write(service.request_all, new)
    service.tell(done)
    return [_result(found) for found in merge(read, done)]


@router.get("", summary="List package requests", response_model=list[PackageRequestOut])
async def list_package_requests(
    request: Request,
    response: Response,
    database: DatabaseDep,
    _: CanReadPackages,
    wanted: Wanted,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[PackageRequestRow]:
    """List package requests, newest last."""
    page = await database.read(service.page, wanted, number_after(cursor, "id"), limit)
    link_next(request, response, page, "id")
    return page.rows


@router.get(
    "/{request_id}",
    summary="Look up a package request",
    response_model=PackageRequestOut,
    responses=documented(service.PackageRequestNotFound),
)
async def get_package_request(
    request_id: Annotated[str, Path(max_length=36)], database: DatabaseDep, _: CanReadPackages
) -> PackageRequestRow:
    """Look up one package request by its id."""
    return await database.read(service.get, request_id.lower())


def _result(found: Requested | Problem) -> BatchResult:
    if isinstance(found, Problem):
        return BatchResult(status=found.status.value, problem=found.document())
    return BatchResult(
        status=201 if found.is_new else 200,
        package_request=PackageRequestOut.model_validate(found.row),
    )

"""The kits' routes."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from inventory_api.access import CanReadStock, CanWriteStock
from inventory_api.kits import service
from inventory_api.kits.schemas import KitNew, KitOut
from inventory_api.kits.store import Kit
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.openapi import documented
from service_kit.web.paging import PagingDep

router = APIRouter(prefix="/kits", route_class=GuardedRoute, tags=["stock"])


@router.get("", summary="List kits", response_model=list[KitOut])
async def list_kits(database: DatabaseDep, _: CanReadStock, paging: PagingDep) -> list[Kit]:
    """List what goes into a package of each type, as of now; the newest type last."""
    page = await database.read(service.page, paging.after(), paging.limit)
    return paging.rows(page)


@router.put(
    "/{package_type}",
    summary="Set what goes into a package",
    response_model=KitOut,
    responses={
        **documented(service.KitChanged),
        201: {"model": KitOut, "description": "The type had no kit before."},
    },
)
async def put_kit(
    package_type: Annotated[
        str,
        Path(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z0-9._-]+$",
            description="The type of package.",
            examples=["gift_package"],
        ),
    ],
    new: KitNew,
    database: DatabaseDep,
    who: CanWriteStock,
    response: Response,
) -> Kit:
    """Make the next version of a kit. Existing package requests keep the version they have."""
    kit, is_new = await database.write(service.put, package_type, new, who)
    response.status_code = 201 if is_new else 200
    return kit

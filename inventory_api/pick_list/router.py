"""The route of the pick list."""

from fastapi import APIRouter

from inventory_api.access import CanReadPackages
from inventory_api.pick_list import store
from inventory_api.pick_list.schemas import PickList
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep

router = APIRouter(route_class=GuardedRoute, tags=["package requests"])


@router.get("/pick-list", summary="What to pick and what to unpack")
async def get_pick_list(database: DatabaseDep, _: CanReadPackages) -> PickList:
    """Sum up what to take from the shelf for every pending package, and list boxes to empty.

    A package request that was cancelled when it was packed, because its customer was erased for
    example, is in a box: empty it, put the goods back, and say so with
    `POST /package-requests/{request_id}/unpack`. The list names no customer.
    """
    return await database.scan(store.pick_list)

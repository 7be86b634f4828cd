"""The route of the counts."""

from fastapi import APIRouter

from crm_api.access import CanReadTickets
from crm_api.stats import store
from crm_api.stats.schemas import Stats
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep

router = APIRouter(prefix="/api/stats", route_class=GuardedRoute, tags=["stats"])


@router.get("", summary="Count customers and tickets")
async def read_stats(database: DatabaseDep, _: CanReadTickets) -> Stats:
    """Count what there is now; the cost grows with the number of customers and tickets."""
    return await database.scan(store.count)

"""The routes of the books."""

from fastapi import APIRouter

from inventory_api.access import CanReadStock, CanRepair
from inventory_api.books import service
from inventory_api.books.schemas import Repair, Stats, Verification
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep

router = APIRouter(route_class=GuardedRoute, tags=["books"])


@router.get("/verify", summary="Do the books balance?")
async def verify(database: DatabaseDep, _: CanReadStock) -> Verification:
    """Compare levels with the ledger, and reservations with live package requests."""
    return await database.scan(service.verify)


@router.post("/verify/repair", summary="Repair the books")
async def repair(database: DatabaseDep, who: CanRepair) -> Repair:
    """Correct what does not balance, with a row in the ledger for each correction."""
    return await database.write(service.repair, who)


@router.get("/stats", summary="Counts for a dashboard")
async def stats(database: DatabaseDep, _: CanReadStock) -> Stats:
    """Count package requests by status, and name the items of which too few are available."""
    return await database.scan(service.stats)

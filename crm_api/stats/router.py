"""The route of the counts."""

from typing import Annotated

from fastapi import APIRouter, Query

from crm_api.access import CanReadTickets
from crm_api.stats import store
from crm_api.stats.schemas import Stats, WaitingTickets
from crm_api.tickets.schemas import Assignee
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep

router = APIRouter(prefix="/api/stats", route_class=GuardedRoute, tags=["stats"])


@router.get("", summary="Count customers and tickets")
async def read_stats(database: DatabaseDep, _: CanReadTickets) -> Stats:
    """Count what there is now; the cost grows with the number of customers and tickets."""
    return await database.scan(store.count)


@router.get("/tickets", summary="Count the tickets that need a person")
async def read_waiting_tickets(
    database: DatabaseDep,
    _: CanReadTickets,
    assignee: Annotated[
        Assignee | None, Query(description="Whose unfinished tickets to count too.")
    ] = None,
) -> WaitingTickets:
    """Count what nobody has taken and what is overdue; the cost grows with these alone."""
    return await database.read(store.waiting_tickets, assignee)

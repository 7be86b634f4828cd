"""The routes of the comparison of both sides."""

from http import HTTPStatus

from fastapi import APIRouter

from integration_service.access import CanOperate, CanRead
from integration_service.reconcile import store
from integration_service.reconcile.schemas import ReconcileOrder, Reconciliation
from service_kit.problems import Problem
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.openapi import documented

router = APIRouter(prefix="/reconcile", route_class=GuardedRoute, tags=["reconciliation"])


class ReconcileRunning(Problem):
    """A comparison runs; `GET /reconcile` has its result."""

    status = HTTPStatus.CONFLICT
    slug = "reconcile-running"


@router.get("", summary="The last comparison of both sides")
async def get_reconciliation(database: DatabaseDep, _: CanRead) -> Reconciliation:
    """Show what the last comparison found, and which one is running."""
    return await database.read(store.reconciliation)


@router.post(
    "", status_code=202, summary="Compare both sides", responses=documented(ReconcileRunning)
)
async def reconcile(
    wanted: ReconcileOrder, database: DatabaseDep, who: CanOperate
) -> Reconciliation:
    """Compare the CRM's customers with Inventory's requests; with `repair` enqueue what is missing.

    If more than 20 and more than 5 % of the customers would get a package, Inventory has probably
    lost its data: nothing is enqueued without `confirm`, and `GET /status` shows it.

    The process that polls carries it out; `GET /reconcile` has the result. One comparison runs at a
    time, whichever replica is asked.
    """
    if not await database.write(store.want, who, repair=wanted.repair, confirm=wanted.confirm):
        raise ReconcileRunning("A comparison runs; GET /reconcile has its result.")
    return await database.read(store.reconciliation)

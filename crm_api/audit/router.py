"""The audit's route."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from crm_api.access import CanReadAudit
from crm_api.audit import store
from crm_api.audit.schemas import AuditEntry
from crm_api.audit.store import Filter
from crm_api.event_types import Action
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.fields import Line
from service_kit.web.paging import CreatedAfter, CreatedBefore, PagingDep, Sort

router = APIRouter(prefix="/api/audit", route_class=GuardedRoute, tags=["audit"])


async def _filter(
    actor: Annotated[
        Line | None, Query(max_length=100, description="The caller's name.", examples=["agent"])
    ] = None,
    action: Annotated[
        Action | None, Query(description="Filter by action.", examples=["customer.created"])
    ] = None,
    subject: Annotated[
        Line | None, Query(max_length=36, description="Filter by subject: a uid, or a token's id.")
    ] = None,
    request_id: Annotated[
        Line | None,
        Query(
            max_length=128,
            description="Filter by request id; all changes of one import have the same.",
        ),
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    sort: Sort = "id",
) -> Filter:
    return Filter(
        actor, action, subject, request_id, created_after, created_before, ascending=sort == "id"
    )


AuditFilter = Annotated[Filter, Depends(_filter)]


@router.get("", summary="Read the audit")
async def list_audit_entries(
    database: DatabaseDep, _: CanReadAudit, paging: PagingDep, filters: AuditFilter
) -> list[AuditEntry]:
    """List who changed what, newest last. Each entry was written together with its change."""
    order = "id" if filters.ascending else "-id"
    run = database.read if filters.is_indexed else database.scan
    page = await run(store.page, filters, paging.after(order), paging.limit)
    return paging.rows(page, order)

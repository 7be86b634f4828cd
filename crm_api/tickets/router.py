"""The routes of tickets, their notes and their history."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic_core import to_json

from crm_api.access import CanDeleteTickets, CanReadTickets, CanWriteTickets
from crm_api.customers.router import CustomerKey
from crm_api.customers.service import CustomerNotFound
from crm_api.tables import audit
from crm_api.tickets import models, service
from crm_api.tickets.lifecycle import STATUSES, Priority, Status
from crm_api.tickets.lists import Filter
from crm_api.tickets.schemas import (
    Assignee,
    Change,
    HistoryEntry,
    ListedTicket,
    Note,
    NoteOut,
    Opening,
    Tag,
    TicketOut,
    customer_in_short,
)
from crm_api.tickets.service import Noted, Opened
from crm_api.tickets.sla import Policy
from crm_api.tickets.view import TicketView
from service_kit.process import clock
from service_kit.web.audit import audit_read, span
from service_kit.web.auth import check_scopes
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
from service_kit.web.hot import HotRoute, hot, json_response, plain_limit, plain_query
from service_kit.web.idempotency import Answer, Idempotent, ReplayErased
from service_kit.web.openapi import (
    ETAG,
    LOCATION,
    answering,
    documented,
    header,
)
from service_kit.web.paging import CreatedAfter, CreatedBefore, Page, Paging, PagingDep

router = APIRouter(prefix="/api", route_class=HotRoute, tags=["tickets"])


async def _policy(request: Request) -> Policy:
    policy: Policy = request.app.state.settings.sla_targets
    return policy


# What `assignee` says for tickets that nobody has.
_NOBODY = "none"
Order = Annotated[
    Literal["id", "-id", "due"],
    Query(
        description="`-id` returns the newest first; `due` the one whose next deadline comes "
        "first, and last those whose clocks stand still. One whose deadline changes between two "
        "pages can be on both or on none.",
        examples=["due"],
    ),
]
Statuses = Annotated[
    list[Status],
    Query(
        default_factory=list,
        max_length=len(STATUSES),
        description="Filter by status. Repeat it for several: `status=open&status=pending`.",
        examples=[["open", "in_progress"]],
    ),
]
Text = Annotated[
    Line | None,
    Query(
        min_length=1,
        max_length=200,
        description="Search text: part of the subject or description.",
        examples=["parcel"],
    ),
]


async def _filter(
    status: Statuses,
    customer_id: Annotated[
        int | None,
        Query(ge=1, lt=2**63, description="Filter by customer, by its integer id.", examples=[1]),
    ] = None,
    priority: Annotated[
        Priority | None, Query(description="Filter by priority.", examples=["high"])
    ] = None,
    assignee: Annotated[
        Assignee | None,
        Query(description=f"Filter by assignee; `{_NOBODY}` finds tickets without one."),
    ] = None,
    tag: Annotated[Tag | None, Query(description="Filter by tag.", examples=["delivery"])] = None,
    q: Text = None,
    overdue: Annotated[
        bool | None,
        Query(description="Filter by whether a deadline has passed unmet.", examples=[True]),
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    sort: Order = "id",
) -> Filter:
    return Filter(
        customer_id,
        frozenset(status),
        priority,
        None if assignee == _NOBODY else assignee,
        assignee == _NOBODY,
        tag,
        q,
        overdue_at=None if overdue is None else clock.now(),
        is_overdue=overdue is not False,
        created_after=created_after,
        created_before=created_before,
        ascending=sort != "-id",
        by_deadline=sort == "due",
    )


Include = Annotated[
    Literal["customer"] | None,
    Query(description="`customer` adds to each ticket who its customer is.", examples=["customer"]),
]
_INCLUDES_CUSTOMERS = frozenset({"customers:read"})
PolicyDep = Annotated[Policy, Depends(_policy)]
Wanted = Annotated[Filter, Depends(_filter)]
TicketId = Annotated[int, Path(ge=1, lt=2**63, description="The ticket's id.", examples=[1])]
_DEPRECATED_AT = "@1767225600"
_OF_OLD_ADDRESS = {
    "Deprecation": header("When this address was deprecated (RFC 9745).", _DEPRECATED_AT),
    "Link": header(
        "The address to use instead.", '</api/tickets/1/notes>; rel="successor-version"'
    ),
}
_ADDING = documented(service.TicketNotFound, service.TicketClosed, ReplayErased)


@router.post(
    "/tickets",
    status_code=201,
    summary="Open a ticket",
    response_model=TicketOut,
    responses=documented(CustomerNotFound, service.NoFollowUp, ReplayErased)
    | answering(201, LOCATION, ETAG),
)
async def open_ticket(
    new: Opening, who: CanWriteTickets, policy: PolicyDep, once: Idempotent
) -> Response:
    """Open a ticket for a customer; `follow_up_of` names a closed one that it follows up."""
    return await once.write(service.open_ticket, _opened, new, policy, who)


async def _list_by_hand(request: Request) -> Response | None:
    query = plain_query(request, "limit")
    if query is None or not (limit := plain_limit(query)):
        return None
    policy = await _policy(request)
    page = await database_of(request).read(service.page, Filter(), None, limit, policy)
    await _audit_list(request, page)
    response = json_response([row.shown for row in page.rows])
    Paging(request, response, limit, cursor=None).rows(page)
    return response


@router.get(
    "/tickets",
    summary="List tickets",
    response_model=list[ListedTicket],
    # Without `include` a ticket has no `customer` at all.
    response_model_exclude_unset=True,
)
@hot(_list_by_hand)
async def list_tickets(
    request: Request,
    database: DatabaseDep,
    who: CanReadTickets,
    paging: PagingDep,
    wanted: Wanted,
    policy: PolicyDep,
    include: Include = None,
) -> list[dict[str, Any]]:
    """List tickets, newest last. With `include=customer` it takes `customers:read` as well."""
    if include is not None:
        check_scopes(who, _INCLUDES_CUSTOMERS)
    run = database.scan if wanted.is_long else database.read
    if wanted.by_deadline:
        order, due = "due", paging.after_instant("due")
        page = await run(service.page_by_deadline, wanted, due, paging.limit, policy)
    else:
        order = "id" if wanted.ascending else "-id"
        page = await run(service.page, wanted, paging.after(order), paging.limit, policy)
    await _audit_list(request, page)
    rows = paging.rows(page, order)
    return [row.shown for row in rows] if include is None else await _with_customers(request, rows)


async def _with_customers(request: Request, rows: Sequence[TicketView]) -> list[dict[str, Any]]:
    """Add to each ticket who its customer is."""
    found = await database_of(request).read(service.customers_of, rows)
    await audit_read(request, audit, "customers.listed", span(sorted(found)))
    return [
        {**row.shown, "customer": customer_in_short(found[row.ticket.customer_id])} for row in rows
    ]


@router.get(
    "/customers/{customer}/tickets",
    summary="List a customer's tickets",
    response_model=list[TicketOut],
    responses=documented(CustomerNotFound),
)
async def list_customer_tickets(
    request: Request,
    customer: CustomerKey,
    database: DatabaseDep,
    _: CanReadTickets,
    paging: PagingDep,
    policy: PolicyDep,
) -> list[dict[str, Any]]:
    """List a customer's tickets, newest last."""
    page = await database.read(service.of_customer, customer, paging.after(), paging.limit, policy)
    await _audit_list(request, page)
    return [row.shown for row in paging.rows(page)]


@router.get(
    "/tickets/{ticket_id}",
    summary="Look up a ticket",
    response_model=TicketOut,
    responses=documented(service.TicketNotFound) | NOT_MODIFIED,
)
async def get_ticket(
    request: Request,
    ticket_id: TicketId,
    database: DatabaseDep,
    _: CanReadTickets,
    policy: PolicyDep,
    known: IfNoneMatch,
    response: Response,
) -> dict[str, Any] | Response:
    """Look up one ticket with its deadlines and the statuses it may change to.

    304 says that nobody has changed it; the passing of its clocks is no change.
    """
    found = await database.read(service.show, ticket_id, policy)
    await audit_read(request, audit, "ticket.read", found.ticket.uid)
    return unless_known(known, response, found.ticket.version, found.shown)


@router.patch(
    "/tickets/{ticket_id}",
    summary="Change a ticket",
    response_model=TicketOut,
    responses=documented(
        service.TicketNotFound, service.InvalidTransition, service.TicketClosed, PreconditionFailed
    )
    | answering(200, ETAG),
)
async def change_ticket(
    ticket_id: TicketId,
    wanted: Change,
    database: DatabaseDep,
    who: CanWriteTickets,
    versions: IfMatch,
    policy: PolicyDep,
    response: Response,
) -> dict[str, Any]:
    """Change the fields that are sent. The status moves as `allowed_statuses` says."""
    changed = await database.write(service.change, ticket_id, wanted, versions, policy, who)
    set_etag(response, changed.ticket.version)
    return changed.shown


@router.delete(
    "/tickets/{ticket_id}",
    status_code=204,
    summary="Delete a ticket",
    responses=documented(service.TicketNotFound, PreconditionFailed),
)
async def delete_ticket(
    ticket_id: TicketId, database: DatabaseDep, who: CanDeleteTickets, versions: IfMatch
) -> None:
    """Delete a ticket with its notes, its history and its stored answers to Idempotency-Keys."""
    await database.erase(service.remove, ticket_id, versions, who)


@router.get(
    "/tickets/{ticket_id}/notes",
    summary="Read a ticket's notes",
    responses=documented(service.TicketNotFound),
)
async def list_notes(
    request: Request,
    ticket_id: TicketId,
    database: DatabaseDep,
    _: CanReadTickets,
    paging: PagingDep,
) -> list[NoteOut]:
    """List the notes, newest last."""
    ticket, page = await database.read(service.notes, ticket_id, paging.after(), paging.limit)
    await audit_read(request, audit, "ticket.read", ticket.uid)
    return paging.rows(page)


@router.post(
    "/tickets/{ticket_id}/notes",
    status_code=201,
    summary="Add a note",
    response_model=NoteOut,
    responses=_ADDING,
)
async def add_note(
    ticket_id: TicketId, new: Note, who: CanWriteTickets, policy: PolicyDep, once: Idempotent
) -> Response:
    """Add a note. A customer's public note reopens a pending or resolved ticket."""
    return await once.write(service.add_note, _noted, ticket_id, new, policy, who)


@router.post(
    "/notes/{ticket_id}",
    status_code=201,
    summary="Add a note (old address)",
    response_model=NoteOut,
    responses=_ADDING | answering(201, _OF_OLD_ADDRESS),
    deprecated=True,
)
async def add_note_at_old_address(
    ticket_id: TicketId, new: Note, who: CanWriteTickets, policy: PolicyDep, once: Idempotent
) -> Response:
    """Add a note as `POST /api/tickets/{ticket_id}/notes` does; use that address."""
    response = await add_note(ticket_id, new, who, policy, once)
    response.headers["Deprecation"] = _DEPRECATED_AT
    response.headers["Link"] = f'</api/tickets/{ticket_id}/notes>; rel="successor-version"'
    return response


@router.get(
    "/tickets/{ticket_id}/history",
    summary="Read a ticket's history",
    response_model=list[HistoryEntry],
    responses=documented(service.TicketNotFound),
)
async def list_history(
    request: Request,
    ticket_id: TicketId,
    database: DatabaseDep,
    _: CanReadTickets,
    paging: PagingDep,
) -> list[models.HistoryEntry]:
    """List every change of every field, newest last."""
    ticket, page = await database.read(service.history, ticket_id, paging.after(), paging.limit)
    await audit_read(request, audit, "ticket.read", ticket.uid)
    return paging.rows(page)


async def _audit_list(request: Request, page: Page[TicketView]) -> None:
    await audit_read(request, audit, "tickets.listed", span([row.ticket.id for row in page.rows]))


def _opened(opened: Opened) -> Answer:
    ticket = opened.view.ticket
    headers = {"Location": f"/api/tickets/{ticket.id}", "ETag": etag(ticket.version)}
    body = to_json(opened.view.shown).decode()
    return Answer(201, body, headers, subjects=[ticket.uid, opened.customer_uid])


def _noted(noted: Noted) -> Answer:
    return Answer(
        201, noted.note.model_dump_json(), subjects=[noted.ticket_uid, noted.customer_uid]
    )

"""The routes of what was said on a ticket and what was changed."""

from fastapi import APIRouter, Response

from crm_api.access import CanReadTickets, CanWriteTickets
from crm_api.tickets import models, service
from crm_api.tickets.router import PolicyDep, TicketId
from crm_api.tickets.schemas import HistoryEntry, Note, NoteOut
from crm_api.tickets.service import Noted
from service_kit.web.auth import GuardedRoute
from service_kit.web.health import DatabaseDep
from service_kit.web.idempotency import (
    Answer,
    Erased,
    Idempotent,
)
from service_kit.web.openapi import answering, documented, header
from service_kit.web.paging import PagingDep

router = APIRouter(prefix="/api", route_class=GuardedRoute, tags=["tickets"])

_DEPRECATED_AT = "@1767225600"
_OF_OLD_ADDRESS = {
    "Deprecation": header("When this address was deprecated (RFC 9745).", _DEPRECATED_AT),
    "Link": header(
        "The address to use instead.", '</api/tickets/1/notes>; rel="successor-version"'
    ),
}
_ADDING = documented(service.TicketNotFound, service.TicketClosed, Erased)


@router.get(
    "/tickets/{ticket_id}/notes",
    summary="Read a ticket's notes",
    response_model=list[NoteOut],
    responses=documented(service.TicketNotFound),
)
async def list_notes(
    ticket_id: TicketId, database: DatabaseDep, _: CanReadTickets, paging: PagingDep
) -> list[models.TicketNote]:
    """List the notes, newest last."""
    page = await database.read(service.notes, ticket_id, paging.after(), paging.limit)
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
    responses={**_ADDING, **answering(201, _OF_OLD_ADDRESS)},
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
    ticket_id: TicketId, database: DatabaseDep, _: CanReadTickets, paging: PagingDep
) -> list[models.HistoryEntry]:
    """List every change of every field, newest last."""
    page = await database.read(service.history, ticket_id, paging.after(), paging.limit)
    return paging.rows(page)


def _noted(noted: Noted) -> Answer:
    body = NoteOut.model_validate(noted.note).model_dump_json()
    return Answer(201, body, subjects=[noted.ticket_uid, noted.customer_uid])

"""The routes of what was said on a ticket and what was changed."""

from fastapi import APIRouter, Request, Response

from crm_api.access import CanReadTickets, CanWriteTickets
from crm_api.tables import stored_answers
from crm_api.tickets import models, service
from crm_api.tickets.router import PolicyDep, TicketId
from crm_api.tickets.schemas import HistoryEntry, Note, NoteOut
from crm_api.tickets.service import Noted
from service_kit.process.health import DatabaseDep
from service_kit.web.auth import GuardedRoute
from service_kit.web.idempotency import Answer, Erased, IdempotencyKeyReused, OnceDep, StillRunning
from service_kit.web.openapi import DEPRECATION, ResponseHeader, answering, documented
from service_kit.web.paging import Cursor, Limit, link_next, number_after

router = APIRouter(prefix="/api", route_class=GuardedRoute, tags=["tickets"])

SUCCESSOR = ResponseHeader(
    "Link", "The address to use instead.", '</api/tickets/1/notes>; rel="successor-version"'
)
_ADDING = documented(
    service.TicketNotFound, service.TicketClosed, StillRunning, IdempotencyKeyReused, Erased
)


@router.get(
    "/tickets/{ticket_id}/notes",
    summary="Read a ticket's notes",
    response_model=list[NoteOut],
    responses=documented(service.TicketNotFound),
)
async def list_notes(
    ticket_id: TicketId,
    request: Request,
    response: Response,
    database: DatabaseDep,
    _: CanReadTickets,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[models.TicketNote]:
    """List the notes, newest last."""
    page = await database.read(service.notes, ticket_id, number_after(cursor, "id"), limit)
    link_next(request, response, page, "id")
    return page.rows


@router.post(
    "/tickets/{ticket_id}/notes",
    status_code=201,
    summary="Add a note",
    response_model=NoteOut,
    responses=_ADDING,
)
async def add_note(
    ticket_id: TicketId,
    new: Note,
    database: DatabaseDep,
    who: CanWriteTickets,
    policy: PolicyDep,
    once: OnceDep,
) -> Response:
    """Add a note. A customer's public note reopens a pending or resolved ticket."""
    work = once.around(stored_answers, who, service.add_note, _noted)
    outcome = await database.write(work, ticket_id, new, policy, who)
    return outcome.answer.response()


@router.post(
    "/notes/{ticket_id}",
    status_code=201,
    summary="Add a note (old address)",
    response_model=NoteOut,
    responses={**_ADDING, **answering(201, DEPRECATION, SUCCESSOR)},
    deprecated=True,
)
async def add_note_at_old_address(
    ticket_id: TicketId,
    new: Note,
    database: DatabaseDep,
    who: CanWriteTickets,
    policy: PolicyDep,
    once: OnceDep,
) -> Response:
    """Add a note as `POST /api/tickets/{ticket_id}/notes` does; use that address."""
    response = await add_note(ticket_id, new, database, who, policy, once)
    response.headers["Deprecation"] = DEPRECATION.example
    response.headers["Link"] = f'</api/tickets/{ticket_id}/notes>; rel="successor-version"'
    return response


@router.get(
    "/tickets/{ticket_id}/history",
    summary="Read a ticket's history",
    response_model=list[HistoryEntry],
    responses=documented(service.TicketNotFound),
)
async def list_history(
    ticket_id: TicketId,
    request: Request,
    response: Response,
    database: DatabaseDep,
    _: CanReadTickets,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[models.HistoryEntry]:
    """List every change of every field, newest last."""
    page = await database.read(service.history, ticket_id, number_after(cursor, "id"), limit)
    link_next(request, response, page, "id")
    return page.rows


def _noted(noted: Noted) -> Answer:
    body = NoteOut.model_validate(noted.note).model_dump_json()
    return Answer(201, body, subjects=[noted.ticket_uid, noted.customer_uid])

"""What happens to tickets. Nothing that anyone has written is published: it may be personal."""

from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import TypedDict

from crm_api.events import Event
from crm_api.tickets.lifecycle import AuthorKind, Priority, Status, Visibility
from crm_api.tickets.models import Ticket
from crm_api.tickets.schemas import NoteOut


class TicketIds(TypedDict):
    id: int
    uid: str
    customer_id: int


class TicketData(TicketIds):
    """How a ticket looks after the change, without its texts."""

    status: Status
    priority: Priority
    assignee: str | None
    follow_up_of: int | None


class NewTicketData(TicketData):
    tags: list[str]


class ChangedTicketData(TicketData):
    """`changed` names the fields besides the status that were changed."""

    changed: list[str]


class NoteData(TicketIds):
    note_id: int
    visibility: Visibility
    author_kind: AuthorKind


# `from` is a keyword.
_FromTo = TypedDict("_FromTo", {"from": Status, "to": Status})


class StatusData(TicketIds, _FromTo):
    """Which status it had, and which it has."""


@dataclass(frozen=True, slots=True)
class _OfTicket(Event):
    ticket: Ticket

    @property
    def subject(self) -> str:
        return self.ticket.uid


@dataclass(frozen=True, slots=True)
class TicketCreated(_OfTicket):
    type = action = "ticket.created"

    def data(self) -> NewTicketData:
        return {**_data(self.ticket), "tags": self.ticket.tags}


@dataclass(frozen=True, slots=True)
class TicketUpdated(_OfTicket):
    changed: Sequence[str]
    type = action = "ticket.updated"

    def data(self) -> ChangedTicketData:
        return {**_data(self.ticket), "changed": sorted(self.changed)}


@dataclass(frozen=True, slots=True)
class TicketStatusChanged(_OfTicket):
    before: Ticket
    type = "ticket.status_changed"
    action = "ticket.updated"

    def data(self) -> StatusData:
        return {**_ids(self.ticket), "from": self.before.status, "to": self.ticket.status}


@dataclass(frozen=True, slots=True)
class TicketNoteAdded(_OfTicket):
    note: NoteOut
    type = action = "ticket.note_added"

    def data(self) -> NoteData:
        return {
            **_ids(self.ticket),
            "note_id": self.note.id,
            "visibility": self.note.visibility,
            "author_kind": self.note.author_kind,
        }


class TicketDeleted(_OfTicket):
    type = action = "ticket.deleted"

    def data(self) -> TicketIds:
        return _ids(self.ticket)


def _ids(ticket: Ticket) -> TicketIds:
    return {"id": ticket.id, "uid": ticket.uid, "customer_id": ticket.customer_id}


def _data(ticket: Ticket) -> TicketData:
    return {
        **_ids(ticket),
        "status": ticket.status,
        "priority": ticket.priority,
        "assignee": ticket.assignee,
        "follow_up_of": ticket.follow_up_of,
    }

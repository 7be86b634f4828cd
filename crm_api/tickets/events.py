"""What happens to tickets. Nothing that anyone has written is published: it may be personal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import TypedDict

from crm_api.events import Event
from crm_api.tickets.lifecycle import AuthorKind, Priority, Status, Visibility
from crm_api.tickets.models import Ticket
from crm_api.tickets.schemas import MOST_TAGS, NoteOut


class TicketIds(TypedDict):
    """Which ticket it is, and which customer's."""

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
    """A new ticket, with its tags."""

    tags: Annotated[list[str], Field(max_length=MOST_TAGS)]


class ChangedTicketData(TicketData):
    """`changed` names the fields besides the status that were changed."""

    changed: list[str]


class NoteData(TicketIds):
    """A new note, without its text."""

    note_id: int
    visibility: Visibility
    author_kind: AuthorKind


# `from` is a keyword.
_FromTo = TypedDict("_FromTo", {"from": Status, "to": Status})


class StatusData(TicketIds, _FromTo):
    """Which status it had, and which it has."""


_IDS: TicketIds = {
    "id": 7,
    "uid": "019a5d3e-0000-7000-8000-000000000001",
    "customer_id": 3,
}
_TICKET: TicketData = {
    **_IDS,
    "status": "open",
    "priority": "high",
    "assignee": "maria",
    "follow_up_of": 5,
}


@dataclass(frozen=True, slots=True)
class _OfTicket(Event):
    ticket: Ticket

    @property
    def subject(self) -> str:
        return self.ticket.uid


@dataclass(frozen=True, slots=True)
class TicketCreated(_OfTicket):
    """A ticket was opened."""

    type = action = "ticket.created"
    example: ClassVar[NewTicketData] = {**_TICKET, "tags": ["delivery"]}

    def data(self) -> NewTicketData:
        return {**_data(self.ticket), "tags": self.ticket.tags}


@dataclass(frozen=True, slots=True)
class TicketUpdated(_OfTicket):
    """Fields of a ticket other than its status were changed."""

    changed: Sequence[str]
    type = action = "ticket.updated"
    example: ClassVar[ChangedTicketData] = {**_TICKET, "changed": ["assignee", "priority"]}

    def data(self) -> ChangedTicketData:
        return {**_data(self.ticket), "changed": sorted(self.changed)}


@dataclass(frozen=True, slots=True)
class TicketStatusChanged(_OfTicket):
    """A ticket has another status now."""

    before: Ticket
    type = "ticket.status_changed"
    action = "ticket.updated"
    example: ClassVar[StatusData] = {**_IDS, "from": "open", "to": "in_progress"}

    def data(self) -> StatusData:
        return {**_ids(self.ticket), "from": self.before.status, "to": self.ticket.status}


@dataclass(frozen=True, slots=True)
class TicketNoteAdded(_OfTicket):
    """A note was added to a ticket."""

    note: NoteOut
    type = action = "ticket.note_added"
    example: ClassVar[NoteData] = {
        **_IDS,
        "note_id": 12,
        "visibility": "public",
        "author_kind": "customer",
    }

    def data(self) -> NoteData:
        return {
            **_ids(self.ticket),
            "note_id": self.note.id,
            "visibility": self.note.visibility,
            "author_kind": self.note.author_kind,
        }


class TicketDeleted(_OfTicket):
    """A ticket was deleted, with its notes."""

    type = action = "ticket.deleted"
    example: ClassVar[TicketIds] = _IDS

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

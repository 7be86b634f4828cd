"""Bodies as people send them, under names, for the API's description."""

from typing import Annotated

from fastapi import Body
from fastapi.openapi.models import Example

from crm_api.tickets.schemas import NoteNew, TicketChange, TicketNew

_PARCEL = {
    "customer_id": 1,
    "subject": "The parcel is damaged",
    "description": "The box came open.",
}
_OPENED = {
    "shortest": Example(summary="With what it takes at least", value=_PARCEL),
    "urgent": Example(
        summary="For somebody, at once",
        value={**_PARCEL, "priority": "urgent", "assignee": "maria", "tags": ["delivery"]},
    ),
}
_CHANGED = {
    "start": Example(
        summary="Start to work on it", value={"status": "in_progress", "assignee": "maria"}
    ),
    "wait": Example(summary="Wait for the customer", value={"status": "pending"}),
    "raise": Example(summary="Raise its priority", value={"priority": "urgent"}),
    "hand-back": Example(summary="Hand it back", value={"status": "open", "assignee": None}),
    "resolve": Example(summary="Say that it is solved", value={"status": "resolved"}),
}
_SAID = {
    "answer": Example(summary="Answer the customer", value={"body": "We send you another."}),
    "internal": Example(
        summary="Tell a colleague", value={"body": "The third one.", "visibility": "internal"}
    ),
    "customer": Example(
        summary="What the customer said", value={"body": "Thank you!", "author_kind": "customer"}
    ),
}

Opening = Annotated[TicketNew, Body(openapi_examples=_OPENED)]
Change = Annotated[TicketChange, Body(openapi_examples=_CHANGED)]
Note = Annotated[NoteNew, Body(openapi_examples=_SAID)]

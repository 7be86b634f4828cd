"""Events: what happened to a customer, a ticket or a token. One call records them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic_core import to_json
from sqlalchemy import Connection

from crm_api.event_types import Action, EventType
from crm_api.feed import store as feed
from crm_api.tables import audit
from service_kit.process import clock, tracing
from service_kit.process.logs import current_request_id
from service_kit.web.auth import Principal


class Act(ABC):
    """Something that the audit keeps: who did it to what."""

    action: ClassVar[Action]

    @property
    @abstractmethod
    def subject(self) -> str:
        """The uid of what was changed, or a token's id. Never anything personal."""


class Event(Act):
    """An act that the feed publishes as well. The docstring of its class is published too."""

    type: ClassVar[EventType]
    # Data as such an event may have it; no null, which FastAPI leaves out of a description.
    example: ClassVar[Mapping[str, object]]

    @abstractmethod
    def data(self) -> Mapping[str, object]:
        """The event's data. Its type, a TypedDict, is the published schema."""


def record(db: Connection, *acts: Act, by: Principal) -> None:
    """Write the feed's events and the audit's entries, in the transaction of the change.

    Call it after the change: the changed row's lock then orders the events of one subject.
    customers/registration.py writes the same rows, from `rows_of`, within a statement of its own.
    """
    events, entries = rows_of(acts, by)
    feed.add(db, events)
    audit.add(db, entries)


def rows_of(
    acts: Sequence[Act], by: Principal
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Make the rows of the feed and of the audit.

    The audit has one entry for each subject, by the first act: the others follow from it.
    """
    actions: dict[str, Action] = {}
    for act in acts:
        actions.setdefault(act.subject, act.action)
    now, traceparent = clock.now(), tracing.traceparent()
    events = [
        {
            "actor": by.name,
            "request_id": current_request_id(),
            "event_id": clock.new_id(),
            "type": act.type,
            "subject": act.subject,
            "occurred_at": now,
            "data": to_json(act.data()).decode(),
            "traceparent": traceparent,
        }
        for act in acts
        if isinstance(act, Event)
    ]
    return events, audit.rows(((action, subject) for subject, action in actions.items()), by)

"""Writing down who did what, and reading it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from crm_api.audit import store
from crm_api.audit.models import AuditEntry
from crm_api.audit.schemas import Action
from crm_api.audit.store import Filter
from service_kit.process import clock
from service_kit.process.logs import current_request_id
from service_kit.web.auth import Principal
from service_kit.web.paging import Page, page_of


def record(db: Connection, action: Action, subjects: Sequence[str], who: Principal) -> None:
    """Write, in the transaction of a change, that someone has done this to each of these.

    A subject is a uid: nothing that says who a person is belongs here, since nothing is ever
    erased from it.
    """
    store.add(db, rows_of(action, subjects, who))


def rows_of(action: Action, subjects: Sequence[str], who: Principal) -> list[dict[str, Any]]:
    """Make the entries for changes of one kind."""
    now, request_id = clock.now(), current_request_id()
    return [
        {
            "at": now,
            "actor": who.name,
            "action": action,
            "subject": subject,
            "request_id": request_id,
        }
        for subject in subjects
    ]


def page(db: Connection, wanted: Filter, after: int | None, limit: int) -> Page[AuditEntry]:
    return page_of(store.page(db, wanted, after, limit + 1), limit, key="id")

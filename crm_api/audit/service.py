"""Writing down who did what, and reading it."""

from collections.abc import Mapping
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


def rows_of(actions: Mapping[str, Action], who: Principal) -> list[dict[str, Any]]:
    """Make an entry for each subject. A subject is a uid or an id: nothing here is ever erased."""
    now, request_id = clock.now(), current_request_id()
    return [
        {
            "at": now,
            "actor": who.name,
            "action": action,
            "subject": subject,
            "request_id": request_id,
        }
        for subject, action in actions.items()
    ]


def page(db: Connection, wanted: Filter, after: int | None, limit: int) -> Page[AuditEntry]:
    return page_of(store.page(db, wanted, after, limit + 1), limit, key="id")

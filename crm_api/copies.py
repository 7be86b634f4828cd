"""What a whole copy of the CRM's database needs besides its tables."""

from datetime import datetime

from sqlalchemy import Connection, select, update

from crm_api.customers import service, store
from crm_api.customers.models import customers
from crm_api.feed import copies as feed
from crm_api.imports.models import imports
from crm_api.sessions.models import links, sessions
from crm_api.tables import metadata
from crm_api.tickets import store as ticket_store
from crm_api.tokens.models import tokens
from service_kit.database.copies import Contents, Redo
from service_kit.web.auth import COMMAND_LINE

# Nothing else here asks for them; a copy has them since the metadata does.
_ALSO_COPIED = (imports, links, sessions)
_ERASED = select(customers.c.uid).where(customers.c.erased_at.is_not(None))
_REVOKED = select(tokens.c.digest, tokens.c.revoked_at).where(tokens.c.revoked_at.is_not(None))


def _rebuild(db: Connection) -> None:
    store.rebuild_search(db)
    ticket_store.rebuild_search(db)


def _recall(old: Connection) -> Redo:
    """Let nobody come back who was erased since the backup, and no token that was revoked."""
    erased = list(old.execute(_ERASED).scalars())
    revoked = [(row.digest, row.revoked_at) for row in old.execute(_REVOKED)]
    return lambda db: _erase(db, erased) + _revoke(db, revoked)


def _erase(db: Connection, uids: list[str]) -> int:
    number = 0
    for uid in uids:
        found = store.find(db, uid)
        if found is not None and found.erased_at is None:
            service.erase(db, found.id, None, COMMAND_LINE)
            number += 1
    return number


def _revoke(db: Connection, revoked: list[tuple[bytes, datetime]]) -> int:
    number = 0
    for digest, revoked_at in revoked:
        valid = tokens.c.digest == digest, tokens.c.revoked_at.is_(None)
        number += db.execute(update(tokens).where(*valid).values(revoked_at=revoked_at)).rowcount
    return number


CONTENTS = Contents(metadata, check=feed.faults, rebuild=_rebuild, renew=feed.renew, recall=_recall)

"""The statements about tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, exists, or_, select, update

from crm_api.tokens.models import tokens
from crm_api.tokens.schemas import TokenOut
from service_kit.database.on_conflict import insert_missing
from service_kit.database.rows import page_after
from service_kit.database.types import UtcDateTime
from service_kit.web.paging import Page, page_of

# All but its digest, which nobody is shown.
_SHOWN = [tokens.c[name] for name in TokenOut.model_fields]
_BY_DIGEST = select(*_SHOWN).where(tokens.c.digest == bindparam("digest"))
_IS_THERE = select(exists().where(tokens.c.id == bindparam("id")))
_REVOKE = (
    update(tokens)
    .where(tokens.c.id == bindparam("token"), tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at", type_=UtcDateTime))
)
_NOTE_USE = (
    update(tokens)
    .where(
        tokens.c.id == bindparam("token"),
        or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at", type_=UtcDateTime))
)


def add(db: Connection, values: Mapping[str, Any]) -> TokenOut | None:
    """Insert a token; None where its name is taken."""
    added = db.execute(insert_missing(tokens).returning(*_SHOWN), dict(values))
    row = added.mappings().one_or_none()
    return None if row is None else TokenOut.model_validate(row)


def find(db: Connection, digest: bytes) -> TokenOut | None:
    """Look up a token by the hash of its text, valid or not."""
    found = db.execute(_BY_DIGEST, {"digest": digest}).mappings().one_or_none()
    return None if found is None else TokenOut.model_validate(found)


def is_there(db: Connection, token_id: int) -> bool:
    return bool(db.execute(_IS_THERE, {"id": token_id}).scalar_one())


def revoke(db: Connection, token_id: int, at: datetime) -> bool:
    """Revoke a token that is not revoked yet. Returns whether there was one."""
    return db.execute(_REVOKE, {"token": token_id, "at": at}).rowcount == 1


def note_uses(db: Connection, uses: Mapping[int, datetime]) -> None:
    """Set when tokens were last used, unless a later use is known.

    In the order of their ids, so that two processes never deadlock.
    """
    db.execute(_NOTE_USE, [{"token": token, "at": uses[token]} for token in sorted(uses)])


def page(db: Connection, after: int | None, limit: int, *, ascending: bool) -> Page[TokenOut]:
    """List tokens by id, from the one behind `after`."""
    statement = page_after(select(*_SHOWN), tokens.c.id, after, limit + 1, ascending=ascending)
    found = db.execute(statement).mappings()
    return page_of([TokenOut.model_validate(row) for row in found], limit, key="id")

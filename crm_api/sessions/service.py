"""The rules about sessions and links."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from crm_api.events import Act, record
from crm_api.sessions import store
from crm_api.sessions.models import Session
from crm_api.tokens import service as tokens
from crm_api.tokens.schemas import TokenNew
from service_kit.process import clock
from service_kit.web.auth import COMMAND_LINE, Principal

# How long a link is good for, and the token that it gives.
LINK_LIFETIME = timedelta(minutes=10)
TOKEN_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _OfSession(Act):
    session_id: int

    @property
    def subject(self) -> str:
        return str(self.session_id)


class SessionOpened(_OfSession):
    action = "session.opened"


class SessionEnded(_OfSession):
    action = "session.ended"


def open_session(db: Connection, values: Mapping[str, Any]) -> None:
    """Keep a session, and forget those whose time is over."""
    now = clock.now()
    store.remove_expired(db, now)
    session_id = store.add(db, {**values, "created_at": now})
    owner = _owner(session_id, values["owner"], values["role"])
    record(db, SessionOpened(session_id), by=owner)


def end(db: Connection, key: bytes) -> None:
    """End a session. Does nothing where there is none."""
    _record_ends(db, store.remove(db, key))


def end_all_of(db: Connection, owner: str) -> None:
    """End every session of an owner."""
    _record_ends(db, store.remove_all_of(db, owner))


def make_link(db: Connection, new: TokenNew) -> str:
    """Make a link that gives a token, once. Returns its secret part, which is not stored."""
    secret, now = secrets.token_urlsafe(32), clock.now()
    store.remove_expired(db, now)
    store.add_link(
        db,
        {
            "digest": _digest(secret),
            "role": new.role,
            "name": new.name,
            "created_at": now,
            "expires_at": now + LINK_LIFETIME,
        },
    )
    return secret


def role_of_link(db: Connection, secret: str) -> str | None:
    """Return which role a link is for; None for one that is unknown, spent or too old."""
    link = store.find_link(db, _digest(secret), clock.now())
    return None if link is None else link.role


def spend_link(db: Connection, secret: str) -> str | None:
    """Issue the token of a link, this once. Returns None where `role_of_link` does."""
    now = clock.now()
    link = store.take_link(db, _digest(secret), now)
    if link is None:
        return None
    new = TokenNew.model_validate(
        {"name": link.name, "role": link.role, "expires_at": now + TOKEN_LIFETIME}
    )
    return tokens.issue(db, new, COMMAND_LINE).token


def _record_ends(db: Connection, ended: Sequence[Session]) -> None:
    for session in ended:
        record(db, SessionEnded(session.id), by=_owner(session.id, session.owner, session.role))


def _owner(session_id: int, name: str, role: str) -> Principal:
    """Return as whom the audit names a session's owner: the console knows no more of the token."""
    return Principal(name[:100], role, frozenset(), f"session:{session_id}")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()

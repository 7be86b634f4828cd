"""The rules about tokens."""

from dataclasses import dataclass
from http import HTTPStatus

from sqlalchemy import Connection

from crm_api.events import Act, record
from crm_api.tokens import store
from crm_api.tokens.schemas import TokenNew, TokenOut
from service_kit.problems import InvalidRequest, Problem
from service_kit.process import clock
from service_kit.web import minting
from service_kit.web.auth import Principal, ScopeMissing
from service_kit.web.roles import ROLES


class TokenNotFound(Problem):
    """There is no token with this id."""

    status = HTTPStatus.NOT_FOUND
    slug = "token-not-found"


class TokenNameTaken(Problem):
    """Another token has this name, perhaps one that is revoked."""

    status = HTTPStatus.CONFLICT
    slug = "token-name-taken"


@dataclass(frozen=True, slots=True)
class _OfToken(Act):
    token_id: int

    @property
    def subject(self) -> str:
        return str(self.token_id)


class TokenIssued(_OfToken):
    action = "token.issued"


class TokenRevoked(_OfToken):
    action = "token.revoked"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token: its row, and the text, which exists here and with its owner alone."""

    row: TokenOut
    token: str


def issue(db: Connection, new: TokenNew, who: Principal) -> Issued:
    """Make a token that may do no more than who issues it.

    Raises ScopeMissing for more, InvalidRequest for an expiry time in the past, and TokenNameTaken.
    """
    if beyond := frozenset(new.scopes or ROLES[new.role]) - who.scopes:
        raise ScopeMissing(f"You can't grant what you may not do: {', '.join(sorted(beyond))}.")
    now = clock.now()
    if new.expires_at is not None and new.expires_at <= now:
        raise InvalidRequest(
            "The token would have expired before its first use.",
            errors=[{"loc": ["body", "expires_at"], "msg": "must be in the future"}],
        )
    if who.expires_at is not None and (new.expires_at is None or new.expires_at > who.expires_at):
        raise InvalidRequest(
            "The token would outlive the one that it is issued with.",
            errors=[
                {"loc": ["body", "expires_at"], "msg": f"at most {clock.rfc3339(who.expires_at)}"}
            ],
        )
    token = minting.mint()
    row = store.add(
        db,
        {
            **new.model_dump(),
            "prefix": minting.visible_prefix(token),
            "digest": minting.digest(token),
            "created_at": now,
        },
    )
    if row is None:
        raise TokenNameTaken("Another token has this name. A revoked one keeps its own.")
    record(db, TokenIssued(row.id), by=who)
    return Issued(row, token)


def revoke(db: Connection, token_id: int, who: Principal) -> None:
    """Revoke a token. Repeating it does nothing. Raises TokenNotFound."""
    if store.revoke(db, token_id, clock.now()):
        record(db, TokenRevoked(token_id), by=who)
    elif not store.is_there(db, token_id):
        raise TokenNotFound("There is no token with this id.")

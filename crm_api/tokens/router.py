"""The tokens' routes."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Path, Request, Response

from crm_api.access import CanIntrospectTokens, CanManageTokens
from crm_api.tokens import service, store
from crm_api.tokens.known import IssuedTokens
from crm_api.tokens.schemas import Introspected, TokenIssued, TokenNew, TokenOut
from service_kit.problems import InvalidRequest, UnsupportedMediaType
from service_kit.web.auth import GuardedRoute
from service_kit.web.dependencies import DatabaseDep
from service_kit.web.idempotency import Answer, Idempotent
from service_kit.web.openapi import documented
from service_kit.web.paging import PagingDep, Sort

router = APIRouter(prefix="/api/tokens", route_class=GuardedRoute, tags=["tokens"])


async def _issued_tokens(request: Request) -> IssuedTokens:
    found: IssuedTokens = request.app.state.issued_tokens
    return found


IssuedTokensDep = Annotated[IssuedTokens, Depends(_issued_tokens)]
FORM = "application/x-www-form-urlencoded"
# A token of another issuer may well be longer than one of ours.
_LONGEST = {"token": 8_192, "token_type_hint": 100}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "token": {
                            "type": "string",
                            "maxLength": _LONGEST["token"],
                            "description": "The token to ask about.",
                        },
                        "token_type_hint": {
                            "type": "string",
                            "maxLength": _LONGEST["token_type_hint"],
                            "description": "Of no effect.",
                        },
                    },
                    "required": ["token"],
                },
                "examples": {
                    "no-token": {"summary": "Ask whose token it is", "value": {"token": "crm_0"}}
                },
            }
        },
    }
}
TokenId = Annotated[int, Path(ge=1, lt=2**63, description="The token's id.", examples=[1])]


@router.post(
    "",
    status_code=201,
    summary="Issue a token",
    response_model=TokenIssued,
    responses=documented(service.TokenNameTaken),
)
async def issue_token(new: TokenNew, who: CanManageTokens, idempotency: Idempotent) -> Response:
    """Issue a token. Its text is in this answer and nowhere else: only its hash is stored.

    So with an `Idempotency-Key` the same request again answers the same token with `token` null. If
    the first answer was lost, revoke that token and issue another under a new key.
    """
    outcome = await idempotency.outcome(service.issue, lambda issued: _answer(issued.row), new, who)
    if outcome.result is None:
        return outcome.answer.response()
    return _answer(outcome.result.row, outcome.result.token).response()


@router.post(
    "/introspect",
    summary="Ask whose token it is",
    response_model_exclude_none=True,
    openapi_extra=_FORM,
)
async def introspect_token(
    request: Request, _: CanIntrospectTokens, issued: IssuedTokensDep
) -> Introspected:
    """Tell whether a token is valid at this moment, and what it may do: RFC 7662.

    For services that accept the CRM's tokens. Only issued tokens are told about; those of
    `API_TOKENS`, and whatever else is no token of the CRM's, are `"active": false`.
    """
    who = await issued.find_now(await _token_of_form(request))
    if who is None:
        return Introspected(active=False)
    return Introspected(
        active=True,
        username=who.name,
        role=who.role,
        scope=" ".join(sorted(who.scopes)),
        token_type="Bearer",  # noqa: S106 (its type)
        sub=who.credential,
        exp=None if who.expires_at is None else int(who.expires_at.timestamp()),
    )


@router.get("", summary="List tokens")
async def list_tokens(
    database: DatabaseDep, _: CanManageTokens, paging: PagingDep, sort: Sort = "id"
) -> list[TokenOut]:
    """List every token that was issued, newest last; those of `API_TOKENS` are not among them."""
    after, ascending = paging.after(sort), sort == "id"
    page = await database.read(store.page, after, paging.limit, ascending=ascending)
    return paging.rows(page, sort)


@router.delete(
    "/{token_id}",
    status_code=204,
    summary="Revoke a token",
    responses=documented(service.TokenNotFound),
)
async def revoke_token(
    token_id: TokenId, database: DatabaseDep, who: CanManageTokens, issued: IssuedTokensDep
) -> None:
    """Refuse this token from now on; every service does within five seconds.

    It stays in the list. Revoking it once more does nothing.
    """
    await database.write(service.revoke, token_id, who)
    issued.forget(token_id)


async def _token_of_form(request: Request) -> str:
    """Read RFC 7662's form. Raises UnsupportedMediaType or InvalidRequest."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise UnsupportedMediaType(f"Send the body as {FORM}.")
    try:
        fields = parse_qs((await request.body()).decode(), max_num_fields=10)
    except ValueError:
        fields = {}
    tokens = fields.get("token", [])
    if len(tokens) != 1:
        raise InvalidRequest(
            "The form must have one token.",
            errors=[{"loc": ["body", "token"], "msg": "must be there once"}],
        )
    for name, most in _LONGEST.items():
        if any(len(value) > most for value in fields.get(name, ())):
            raise InvalidRequest(
                f"The form's {name} is too long.",
                errors=[{"loc": ["body", name], "msg": f"must have at most {most} characters"}],
            )
    return tokens[0]


def _answer(row: TokenOut, token: str | None = None) -> Answer:
    body = TokenIssued(**row.model_dump(), token=token).model_dump_json()
    return Answer(201, body)

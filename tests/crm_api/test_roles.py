"""Who may do what: every route, asked by every role and by callers who are nobody."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit.web import docs as pages
from service_kit.web import minting
from service_kit.web.auth import GuardedRoute
from tests.conftest import bearer, running
from tests.crm_api.conftest import app_of, change_database, keeps_its_word, numbered

# Ask on one engine: what is looked at here is over before a statement is sent.
pytestmark = pytest.mark.engine("sqlite")

# The contract's section 2, by hand. One scope more than it names: who deletes tickets is an admin,
# and a scope is how a route says so.
CONTRACT: dict[str, set[str]] = {
    "agent": {
        "customers:create",
        "customers:read",
        "customers:write",
        "tickets:read",
        "tickets:write",
    },
    "admin": {
        "customers:create",
        "customers:read",
        "customers:write",
        "customers:delete",
        "tickets:read",
        "tickets:write",
        "tickets:delete",
        "events:read",
        "tokens:manage",
        "tokens:introspect",
        "audit:read",
        "imports:run",
    },
    "viewer": {"customers:read", "tickets:read"},
    "operator": {"customers:read", "tickets:read"},
    "integration": {"events:read", "customers:read", "tokens:introspect"},
}


@dataclass(frozen=True)
class Route:
    """A route, the scope it asks for, and what it answers to those who have it."""

    method: str
    path: str
    scope: str | None
    status: int
    body: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def a_customer() -> dict[str, Any]:
    return numbered(random.getrandbits(60))


def a_jane() -> dict[str, Any]:
    return {"name": "Jane Doe", "email": "jane.by.ref@example.com"}


def a_ticket() -> dict[str, Any]:
    return {"customer_id": 1, "subject": "Where is it?", "description": "It was to come today."}


def a_note() -> dict[str, Any]:
    return {"body": "It comes tomorrow."}


def a_reader() -> dict[str, Any]:
    return {"position": 0}


def a_token() -> dict[str, Any]:
    return {"name": f"web-shop-{random.getrandbits(60)}", "role": "viewer"}


CUSTOMERS, CUSTOMER = "/api/customers", "/api/customers/{customer}"
TICKETS, TICKET = "/api/tickets", "/api/tickets/{ticket_id}"
BY_REF = f"{CUSTOMERS}/by-ref/{{external_ref:path}}"
TOKENS = "/api/tokens"
EVENT = "/api/events/{sequence}"
READERS, READER = "/api/feed-readers", "/api/feed-readers/{name}"
# What takes a token and no scope.
FOR_ALL = [Route("GET", "/me", None, 200)]
GUARDED = [
    Route("POST", CUSTOMERS, "customers:create", 201, a_customer),
    Route("POST", f"{CUSTOMERS}/batch", "customers:create", 200, lambda: [a_customer()]),
    Route("GET", CUSTOMERS, "customers:read", 200),
    Route("GET", CUSTOMER, "customers:read", 200),
    Route("PATCH", CUSTOMER, "customers:write", 200, a_customer),
    Route("DELETE", CUSTOMER, "customers:delete", 204),
    Route("GET", BY_REF, "customers:read", 200),
    Route("PUT", BY_REF, "customers:write", 200, a_jane),
    Route("GET", f"{CUSTOMER}/tickets", "tickets:read", 200),
    Route("POST", TICKETS, "tickets:write", 201, a_ticket),
    Route("GET", TICKETS, "tickets:read", 200),
    Route("GET", TICKET, "tickets:read", 200),
    Route("PATCH", TICKET, "tickets:write", 200, lambda: {"priority": "low"}),
    Route("DELETE", TICKET, "tickets:delete", 204),
    Route("GET", f"{TICKET}/notes", "tickets:read", 200),
    Route("POST", f"{TICKET}/notes", "tickets:write", 201, a_note),
    Route("POST", "/api/notes/{ticket_id}", "tickets:write", 201, a_note),
    Route("GET", f"{TICKET}/history", "tickets:read", 200),
    Route("GET", "/api/stats", "tickets:read", 200),
    Route("GET", "/api/events", "events:read", 200),
    Route("GET", EVENT, "events:read", 200),
    Route("PUT", READER, "events:read", 200, a_reader),
    Route("GET", READERS, "events:read", 200),
    Route("DELETE", READER, "events:read", 204),
    Route("GET", TOKENS, "tokens:manage", 200),
    Route("POST", TOKENS, "tokens:manage", 201, a_token),
    Route("DELETE", f"{TOKENS}/{{token_id}}", "tokens:manage", 204),
    Route("POST", f"{TOKENS}/introspect", "tokens:introspect", 200),
    Route("GET", "/api/audit", "audit:read", 200),
]
PUBLIC = [
    Route("GET", path, None, 200)
    for path in (
        "/health",
        "/health/ready",
        "/metrics",
        *pages.PATHS,
    )
]
# What is made first where a route needs something of its own: what to POST where, and its key.
MADE = {
    "customer": (CUSTOMERS, a_customer),
    "ticket_id": (TICKETS, a_ticket),
    "token_id": (TOKENS, a_token),
}
NOBODY: dict[str, list[str]] = {
    "no header": [],
    "an empty header": [""],
    "a token alone": ["admin123"],
    "another scheme": ["Basic admin123"],
    "no token": ["Bearer"],
    "an empty token": ["Bearer "],
    "two spaces": ["Bearer  admin123"],
    "a tab": ["Bearer\tadmin123"],
    "a space behind": ["Bearer admin123 "],
    "two tokens": ["Bearer admin123 agent123"],
    "a list": ["Bearer admin123,agent123"],
    "quotes": ['Bearer "admin123"'],
    "a letter beyond ASCII": ["Bearer admin123é"],
    "too long": ["Bearer " + "a" * 600],
    "two headers": ["Bearer admin123", "Bearer admin123"],
    "an unknown token": ["Bearer unknown123"],
    "a token of another service": ["Bearer clerk123"],
    "capitals": ["Bearer ADMIN123"],
    "the start of a token": ["Bearer admin12"],
    "more than a token": ["Bearer admin1234"],
    "a token that was never issued": [f"Bearer {minting.mint()}"],
    "an issued token's start": [f"Bearer {minting.mint()[:-1]}"],
    "an issued token's checksum wrong": [f"Bearer {minting.mint()[:-6]}000000"],
}


@pytest.fixture(scope="module")
async def tokens(shared_crm: httpx.AsyncClient) -> dict[str, dict[str, str]]:
    """Issue tokens for each role: one that is good, one that has expired, and one revoked."""
    found: dict[str, dict[str, str]] = {"good": {}, "expired": {}, "revoked": {}}
    for state, by_role in found.items():
        for role in CONTRACT:
            new = {"name": f"{state}-{role}", "role": role, "expires_at": "2999-01-01T00:00:00Z"}
            issued = (await shared_crm.post(TOKENS, json=new)).json()
            by_role[role] = issued["token"]
            if state == "revoked":
                await shared_crm.delete(f"{TOKENS}/{issued['id']}")
    await change_database(
        shared_crm,
        "UPDATE tokens SET expires_at = '2020-01-01 00:00:00.000000' WHERE name LIKE 'expired-%'",
    )
    return found


async def send(
    crm: httpx.AsyncClient, route: Route, authorization: Sequence[str] = (), **more: Any
) -> httpx.Response:
    """Send a request, a good one unless more is said, with just these Authorization headers."""
    places = {"customer": 1, "ticket_id": 1, "token_id": 1, "external_ref": "shop-1", **more}
    places |= {"sequence": 1, "name": "data-warehouse"}
    body = {"json": route.body()} if route.body else {}
    if route.scope == "tokens:introspect":
        body = {"data": {"token": "crm_0"}}
    body = {name: more[name] for name in ("json", "content", "headers") if name in more} or body
    url = crm.base_url.join(route.path.replace(":path", "").format(**places))
    # By hand, since the client would add the token that it was made with.
    request = httpx.Request(route.method, url, **body)
    given = [("Authorization", value) for value in authorization]
    request.headers = httpx.Headers([*request.headers.multi_items(), *given], encoding="latin-1")
    return await crm.send(request)


async def something_for(crm: httpx.AsyncClient, route: Route) -> dict[str, Any]:
    """Make what a route changes or takes away, so that each that asks has one of its own."""
    if route.path == BY_REF:  # created by one, updated by the others
        await crm.put(f"{CUSTOMERS}/by-ref/shop-1", json=a_jane())
    if route.path == EVENT:  # numbered by whoever reads the feed
        await crm.get("/api/events")
    if route.path == READER:
        await crm.put(READER.format(name="data-warehouse"), json=a_reader())
        return {}
    if route.method != "DELETE":
        return {}
    [(key, (path, body))] = [(key, MADE[key]) for key in MADE if f"{{{key}}}" in route.path]
    return {key: (await crm.post(path, json=body())).json()["id"]}


def routes_of(app: FastAPI) -> Iterator[tuple[str, str, str | None]]:
    """List every route there is, and the scope it asks for."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        scopes = route.required if isinstance(route, GuardedRoute) else None
        for method in (context.methods or set()) - {"HEAD"}:
            yield method, context.path or "", ", ".join(scopes) if scopes else None


async def test_the_table_names_every_route_and_the_scope_it_asks_for(
    shared_crm: httpx.AsyncClient,
) -> None:
    table = [(route.method, route.path, route.scope) for route in GUARDED + FOR_ALL + PUBLIC]

    assert sorted(routes_of(app_of(shared_crm)), key=str) == sorted(table, key=str)


def test_each_role_has_the_scopes_of_the_contract() -> None:
    assert {role: set(scopes) for role, scopes in Settings.roles.items()} == CONTRACT


@pytest.mark.parametrize("kind", ["a demo token", "an issued token"])
@pytest.mark.parametrize("route", GUARDED, ids=str)
async def test_a_role_may_do_what_its_scopes_say(
    shared_crm: httpx.AsyncClient, tokens: dict[str, dict[str, str]], route: Route, kind: str
) -> None:
    for role, scopes in CONTRACT.items():
        if (kind, role) == ("a demo token", "operator"):
            continue  # there is none for it
        token = f"{role}123" if kind == "a demo token" else tokens["good"][role]
        places = await something_for(shared_crm, route)
        answer = await send(shared_crm, route, [f"Bearer {token}"], **places)

        if route.scope in scopes:
            assert answer.status_code == route.status, role
        else:
            assert answer.status_code == 403, role
            assert answer.json()["type"] == "urn:problem:scope-missing"
            assert f"the scope {route.scope}" in answer.json()["detail"]


@pytest.mark.parametrize("state", ["expired", "revoked"])
async def test_a_token_that_is_over_is_no_better_than_none(
    shared_crm: httpx.AsyncClient, tokens: dict[str, dict[str, str]], state: str
) -> None:
    for role, token in tokens[state].items():
        for route in GUARDED + FOR_ALL:
            answer = await send(shared_crm, route, [f"Bearer {token}"])
            assert_refused_as_nobody(answer, f"{route} by {role}")


@pytest.mark.parametrize("headers", NOBODY.values(), ids=NOBODY)
async def test_nobody_gets_past_a_guarded_route_and_all_hear_the_same(
    shared_crm: httpx.AsyncClient, headers: list[str]
) -> None:
    for route in GUARDED + FOR_ALL:
        assert_refused_as_nobody(await send(shared_crm, route, headers), str(route))


def assert_refused_as_nobody(answer: httpx.Response, what: str) -> None:
    """Check that an answer says nothing of what was wrong: all who are nobody hear the same."""
    document = answer.json()
    assert answer.status_code == 401, what
    assert answer.headers["www-authenticate"] == "Bearer"
    del document["request_id"], document["instance"]
    assert document == {
        "type": "urn:problem:not-authenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "Send a valid token as 'Authorization: Bearer <token>'.",
    }


@pytest.mark.parametrize("headers", NOBODY.values(), ids=NOBODY)
async def test_a_public_route_answers_anybody(
    shared_crm: httpx.AsyncClient, headers: list[str]
) -> None:
    for route in PUBLIC:
        answer = await send(shared_crm, route, headers)
        assert answer.status_code == 200


async def test_a_scheme_may_be_written_in_any_case(shared_crm: httpx.AsyncClient) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await send(shared_crm, GUARDED[2], [f"{scheme} admin123"])
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"content": b"x" * (2**20 + 1), "headers": {"content-type": "application/json"}},
        {"json": {}},
    ],
    ids=["no JSON", "no JSON type", "too large", "no customer"],
)
@pytest.mark.parametrize("route", [route for route in GUARDED if route.body], ids=str)
async def test_the_token_is_looked_at_before_the_body(
    shared_crm: httpx.AsyncClient, route: Route, body: dict[str, Any]
) -> None:
    unknown = await send(shared_crm, route, ["Bearer unknown"], **body)
    viewer = await send(shared_crm, route, ["Bearer viewer123"], **body)
    admin = await send(shared_crm, route, ["Bearer admin123"], **body)

    assert [unknown.status_code, viewer.status_code] == [401, 403]
    assert admin.status_code in {413, 415, 422, 200}


@pytest.mark.parametrize("key", ["1", "2", "999999", "no-uid", "x" * 100])
async def test_nobody_learns_which_customers_there_are(
    shared_crm: httpx.AsyncClient, key: str
) -> None:
    route = Route("GET", f"/api/customers/{key}", None, 200)

    assert (await send(shared_crm, route)).status_code == 401


async def test_who_has_no_token_may_do_just_what_anonymous_scopes_say(settings: Settings) -> None:
    may_create = settings.model_copy(update={"anonymous_scopes": frozenset({"customers:create"})})
    async with running(create_app(may_create)) as client:
        keeps_its_word(client)
        answers = {
            str(route): (await send(client, route)).status_code for route in [*GUARDED, *PUBLIC]
        }
        refused = {
            route
            for route in GUARDED
            if (await send(client, route, ["Bearer wrong"])).status_code == 401
        }
        viewer = await client.post("/customers", json=numbered(1), headers=bearer("viewer123"))

    allowed = {str(route) for route in PUBLIC} | {
        "POST /api/customers",
        "POST /api/customers/batch",
    }
    assert {route for route, status in answers.items() if status in {200, 201}} == allowed
    assert {status for status in answers.values() if status > 201} == {401}
    assert refused == set(GUARDED), "a wrong token is no better than none"
    assert viewer.status_code == 403


async def test_tokens_of_the_environment_take_the_place_of_demo_tokens(settings: Settings) -> None:
    tokens = Settings.model_validate(
        {
            **settings.model_dump(exclude={"api_tokens"}),
            "api_tokens": "viewer:one, viewer:two,integration:three",
            "admin_token": "four",
        }
    )
    async with running(create_app(tokens)) as client:
        answers = {
            token: (await client.get("/api/events", headers=bearer(token))).status_code
            for token in ("one", "two", "three", "four", "admin123", "integration123")
        }

    assert answers == {
        "one": 403,
        "two": 403,
        "three": 200,
        "four": 200,
        "admin123": 401,
        "integration123": 401,
    }

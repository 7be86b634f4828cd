"""Who may do what: every route, asked by every role and by callers who are nobody."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit import pages
from tests.conftest import bearer, running
from tests.crm_api.conftest import app_of, keeps_its_word, numbered

ROLES = ("admin", "agent", "viewer", "integration")


@dataclass(frozen=True)
class Route:
    """A route, and what each role is answered, in the order of ROLES."""

    method: str
    path: str
    scope: str | None
    answers: tuple[int, int, int, int]
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


# From contract.md by hand: agent has customers and tickets, admin everything, viewer reads,
# integration reads customers and events.
CUSTOMERS, CUSTOMER = "/api/customers", "/api/customers/{customer}"
TICKETS, TICKET = "/api/tickets", "/api/tickets/{ticket_id}"
CREATES, WRITES = (201, 201, 403, 403), (200, 200, 403, 403)
DELETES, READS_TICKETS = (204, 403, 403, 403), (200, 200, 200, 403)
GUARDED = [
    Route("POST", CUSTOMERS, "customers:create", CREATES, a_customer),
    Route("POST", f"{CUSTOMERS}/batch", "customers:create", WRITES, lambda: [a_customer()]),
    Route("GET", CUSTOMERS, "customers:read", (200, 200, 200, 200)),
    Route("GET", CUSTOMER, "customers:read", (200, 200, 200, 200)),
    Route("PATCH", CUSTOMER, "customers:write", WRITES, a_customer),
    Route("DELETE", CUSTOMER, "customers:delete", DELETES),
    Route("PUT", f"{CUSTOMERS}/by-ref/{{external_ref:path}}", "customers:write", WRITES, a_jane),
    Route("GET", f"{CUSTOMER}/tickets", "tickets:read", READS_TICKETS),
    Route("POST", TICKETS, "tickets:write", CREATES, a_ticket),
    Route("GET", TICKETS, "tickets:read", READS_TICKETS),
    Route("GET", TICKET, "tickets:read", READS_TICKETS),
    Route("PATCH", TICKET, "tickets:write", WRITES, lambda: {"priority": "low"}),
    Route("DELETE", TICKET, "tickets:delete", DELETES),
    Route("GET", f"{TICKET}/notes", "tickets:read", READS_TICKETS),
    Route("POST", f"{TICKET}/notes", "tickets:write", CREATES, a_note),
    Route("POST", "/api/notes/{ticket_id}", "tickets:write", CREATES, a_note),
    Route("GET", f"{TICKET}/history", "tickets:read", READS_TICKETS),
    Route("GET", "/api/stats", "tickets:read", READS_TICKETS),
    Route("GET", "/api/events", "events:read", (200, 403, 403, 200)),
    Route("GET", "/api/audit", "audit:read", (200, 403, 403, 403)),
]
PUBLIC = [
    Route("GET", path, None, (200, 200, 200, 200))
    for path in (
        "/health",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        *pages.PATHS,
    )
]
ALLOWED = [
    pytest.param(route, role, status, id=f"{route} by {role}")
    for route in [*GUARDED, *PUBLIC]
    for role, status in zip(ROLES, route.answers, strict=True)
]
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
}


async def send(
    crm: httpx.AsyncClient, route: Route, authorization: Sequence[str] = (), **more: Any
) -> httpx.Response:
    """Send a request, a good one unless more is said, with just these Authorization headers."""
    places = {"customer": 1, "ticket_id": 1, "external_ref": "shop-1"}
    if route.method == "DELETE":  # what it takes away must be its own
        for name, path, body in (
            ("customer", CUSTOMERS, a_customer),
            ("ticket_id", TICKETS, a_ticket),
        ):
            if route.path.endswith(f"{{{name}}}"):
                places[name] = (await crm.post(path, json=body())).json().get("id", 1)
    elif route.path.endswith("{external_ref:path}"):  # created by one, updated by the others
        await crm.put(f"{CUSTOMERS}/by-ref/shop-1", json=a_jane())
    if route.body is not None and not more:
        more = {"json": route.body()}
    url = crm.base_url.join(route.path.replace(":path", "").format(**places))
    # By hand, since the client would add the token that it was made with.
    request = httpx.Request(route.method, url, **more)
    given = [("Authorization", value) for value in authorization]
    request.headers = httpx.Headers([*request.headers.multi_items(), *given], encoding="latin-1")
    return await crm.send(request)


async def test_the_table_names_every_route(shared_crm: httpx.AsyncClient) -> None:
    def there_are() -> Iterator[tuple[str, str]]:
        for context in iter_route_contexts(app_of(shared_crm).routes):
            for method in (context.methods or set()) - {"HEAD"}:
                yield method, context.path or ""

    assert sorted(there_are()) == sorted((route.method, route.path) for route in GUARDED + PUBLIC)


async def test_the_table_names_every_role(shared_crm: httpx.AsyncClient) -> None:
    assert set(Settings.roles) == set(ROLES)


@pytest.mark.parametrize(("route", "role", "status"), ALLOWED)
async def test_a_role_may_do_what_its_scopes_say(
    shared_crm: httpx.AsyncClient, route: Route, role: str, status: int
) -> None:
    answer = await send(shared_crm, route, [f"Bearer {role}123"])

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["type"] == "urn:problem:scope-missing"
        assert f"the scope {route.scope}" in answer.json()["detail"]


@pytest.mark.parametrize("headers", NOBODY.values(), ids=NOBODY)
async def test_nobody_gets_past_a_guarded_route_and_all_hear_the_same(
    shared_crm: httpx.AsyncClient, headers: list[str]
) -> None:
    for route in GUARDED:
        answer = await send(shared_crm, route, headers)

        document = answer.json()
        assert answer.status_code == 401, route
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
    route = Route("GET", f"/api/customers/{key}", None, (200, 200, 200, 200))

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

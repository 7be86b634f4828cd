"""Who may do what: every route of Inventory, asked by every role and by callers who are nobody."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.web import docs as pages
from tests.conftest import bearer, running
from tests.inventory_api.conftest import (
    BATCH,
    LIST,
    app_of,
    keeps_its_word,
    new_customer,
    request_package,
)
from tests.inventory_api.stock import new_sku

# Those with a demo token; the operator, who only reads here, is in tests/test_access.py.
ROLES = ("admin", "clerk", "viewer", "integration", "agent")
ONE = f"{LIST}/{{request_id}}"
Answers = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Route:
    """A route, and what each role is answered, in the order of ROLES."""

    method: str
    path: str
    scope: str | None
    answers: Answers
    body: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def a_package() -> dict[str, Any]:
    return {"customer_id": new_customer()}


def an_item() -> dict[str, Any]:
    return {"sku": new_sku(), "name": "Thing"}


def a_movement() -> dict[str, Any]:
    return {"quantity": 1, "reason": "delivery"}


# From contract.md by hand: clerk has stock and packages, admin everything, viewer reads,
# integration has packages, agent reads them; to repair is admin's alone.
READS_PACKAGES = (200, 200, 200, 200, 200)
CREATES_PACKAGES, WRITES_PACKAGES = (201, 201, 403, 201, 403), (200, 200, 403, 200, 403)
READS_STOCK, WRITES_STOCK, CREATES_STOCK = (
    (200, 200, 200, 403, 403),
    (200, 200, 403, 403, 403),
    (201, 201, 403, 403, 403),
)
GUARDED = [
    Route("POST", LIST, "packages:write", CREATES_PACKAGES, a_package),
    Route("POST", BATCH, "packages:write", WRITES_PACKAGES, lambda: [a_package()]),
    Route("GET", LIST, "packages:read", READS_PACKAGES),
    Route("GET", ONE, "packages:read", READS_PACKAGES),
    Route("POST", f"{ONE}/{{move}}", "packages:write", WRITES_PACKAGES),
    Route(
        *("POST", f"{LIST}/erasures", "packages:erase", (200, 403, 403, 200, 403)),
        lambda: {"customer_ids": [new_customer()]},
    ),
    Route("GET", "/pick-list", "packages:read", READS_PACKAGES),
    Route("GET", "/items", "stock:read", READS_STOCK),
    Route("POST", "/items", "stock:write", CREATES_STOCK, an_item),
    Route("GET", "/items/{sku}", "stock:read", READS_STOCK),
    Route("PATCH", "/items/{sku}", "stock:write", WRITES_STOCK, lambda: {"name": "Mug"}),
    Route("GET", "/items/{sku}/movements", "stock:read", READS_STOCK),
    Route("POST", "/items/{sku}/movements", "stock:write", CREATES_STOCK, a_movement),
    Route("GET", "/kits", "stock:read", READS_STOCK),
    Route("PUT", "/kits/{package_type}", "stock:write", WRITES_STOCK, lambda: {"lines": []}),
    Route("GET", "/verify", "stock:read", READS_STOCK),
    Route("POST", "/verify/repair", "stock:repair", (200, 403, 403, 403, 403)),
    Route("GET", "/stats", "stock:read", READS_STOCK),
    Route("GET", "/audit", "audit:read", (200, 403, 403, 403, 403)),
    Route("GET", "/me", None, (200, 200, 200, 200, 200)),
]
PUBLIC = [
    Route("GET", path, None, (200, 200, 200, 200, 200))
    for path in (
        "/health",
        "/health/ready",
        "/metrics",
        *pages.PATHS,
    )
]
WRITING = [route for route in GUARDED if route.body is not None]
ALLOWED = [
    pytest.param(route, role, status, id=f"{role} {route}")
    for route in [*GUARDED, *PUBLIC]
    for role, status in zip(ROLES, route.answers, strict=True)
]


@pytest.fixture
async def request_id(shared_inventory: httpx.AsyncClient) -> str:
    """Give the id of a package request that can still be cancelled."""
    made = await request_package(shared_inventory)
    return str(made["request_id"])


async def send(
    inventory: httpx.AsyncClient, route: Route, token: str | None, request_id: str, **more: Any
) -> httpx.Response:
    """Send a request, a good one unless more is said."""
    path = route.path.format(
        request_id=request_id, move="cancel", sku="MUG-BLUE", package_type="empty"
    )
    if route.body is not None and not more:
        more = {"json": route.body()}
    request = httpx.Request(route.method, inventory.base_url.join(path), **more)
    # By hand, since the client would add the token that it was made with.
    if token is not None:
        request.headers.update(bearer(token))
    return await inventory.send(request)


async def test_the_table_names_every_route(shared_inventory: httpx.AsyncClient) -> None:
    def there_are() -> Iterator[tuple[str, str]]:
        for context in iter_route_contexts(app_of(shared_inventory).routes):
            for method in (context.methods or set()) - {"HEAD"}:
                yield method, context.path or ""

    assert sorted(there_are()) == sorted((route.method, route.path) for route in GUARDED + PUBLIC)


def test_the_table_names_every_role() -> None:
    assert set(Settings.roles) == {*ROLES, "operator"}


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(("route", "role", "status"), ALLOWED)
async def test_a_role_may_do_what_its_scopes_say(
    shared_inventory: httpx.AsyncClient, request_id: str, route: Route, role: str, status: int
) -> None:
    # So that a kit that is put is none that is new.
    await shared_inventory.put("/kits/empty", json={"lines": []})

    answer = await send(shared_inventory, route, f"{role}123", request_id)

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["type"] == "urn:problem:scope-missing"
        assert f"the scope {route.scope}" in answer.json()["detail"]


@pytest.mark.parametrize("token", [None, "operator123", "nobody", "ADMIN123"])
async def test_nobody_gets_past_a_guarded_route_and_all_hear_the_same(
    shared_inventory: httpx.AsyncClient, request_id: str, token: str | None
) -> None:
    for route in GUARDED:
        answer = await send(shared_inventory, route, token, request_id)

        assert answer.status_code == 401, route
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["type"] == "urn:problem:not-authenticated"
    for route in PUBLIC:
        assert (await send(shared_inventory, route, token, request_id)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"content": b"x" * (2**20 + 1), "headers": {"content-type": "application/json"}},
        {"json": {"unknown": 1}},
    ],
    ids=["no JSON", "no JSON type", "too large", "of the wrong kind"],
)
@pytest.mark.parametrize("route", WRITING, ids=str)
async def test_the_token_is_looked_at_before_the_body(
    shared_inventory: httpx.AsyncClient, request_id: str, route: Route, body: dict[str, Any]
) -> None:
    answers = [
        (await send(shared_inventory, route, token, request_id, **body)).status_code
        for token in ("unknown", "viewer123", "admin123")
    ]

    assert answers[:2] == [401, 403]
    assert answers[2] in {413, 415, 422}


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("packages:read", {f"GET {LIST}", f"GET {ONE}", "GET /pick-list"}),
        ("stock:repair", {"POST /verify/repair"}),
        ("stock:read", {str(route) for route in GUARDED if route.scope == "stock:read"}),
    ],
)
async def test_who_has_no_token_may_do_just_what_anonymous_scopes_say(
    settings: Settings, scope: str, allowed: set[str]
) -> None:
    opened = settings.model_copy(update={"anonymous_scopes": frozenset({scope})})
    async with running(create_app(opened)) as client:
        keeps_its_word(client)
        made = await client.post(LIST, json=a_package(), headers=bearer("admin123"))
        request_id = made.json()["request_id"]
        answers = {
            str(route): (await send(client, route, None, request_id)).status_code
            for route in GUARDED
        }

    assert {route for route, status in answers.items() if status == 200} == {*allowed, "GET /me"}
    assert {status for status in answers.values() if status != 200} == {401}

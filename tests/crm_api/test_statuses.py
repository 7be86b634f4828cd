"""What each route answers to those who may ask.

tests/test_access.py asks every route as every role, and as nobody.
"""

from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import numbered

# Ask on one engine: other tests look at what comes of it.
pytestmark = pytest.mark.engine("sqlite")

JANE = {"name": "Jane Doe", "email": "jane.by.ref@example.com"}
TICKET = {"customer_id": 1, "subject": "Where is it?", "description": "It was to come today."}
NOTE = {"body": "It comes tomorrow."}
BY_REF = "/api/customers/by-ref/shop-1"
# In this order: some need what those before them have made.
ROUTES: list[tuple[str, int, Any]] = [
    ("POST /api/customers", 201, numbered(1)),
    ("POST /api/customers/batch", 200, [numbered(2)]),
    ("GET /api/customers", 200, None),
    ("GET /api/customers/1", 200, None),
    ("PATCH /api/customers/1", 200, {"name": "Jane"}),
    (f"PUT {BY_REF}", 201, JANE),
    (f"PUT {BY_REF}", 200, JANE),
    (f"GET {BY_REF}", 200, None),
    ("GET /api/customers/1/tickets", 200, None),
    ("POST /api/tickets", 201, TICKET),
    ("GET /api/tickets", 200, None),
    ("GET /api/tickets/1", 200, None),
    ("PATCH /api/tickets/1", 200, {"priority": "low"}),
    ("POST /api/tickets/1/notes", 201, NOTE),
    ("POST /api/notes/1", 201, NOTE),
    ("GET /api/tickets/1/notes", 200, None),
    ("GET /api/tickets/1/history", 200, None),
    ("DELETE /api/tickets/1", 204, None),
    ("DELETE /api/customers/2", 204, None),
    ("GET /api/stats", 200, None),
    ("GET /api/events", 200, None),
    ("POST /api/tokens", 201, {"name": "web-shop", "role": "viewer"}),
    ("GET /api/tokens", 200, None),
    ("DELETE /api/tokens/1", 204, None),
    ("GET /api/audit", 200, None),
    ("GET /me", 200, None),
]


async def test_who_may_is_answered(shared_crm: httpx.AsyncClient) -> None:
    for route, status, body in ROUTES:
        method, path = route.split()
        more = {"json": body} if body else {}

        answer = await shared_crm.request(method, path, **more)

        assert answer.status_code == status, f"{route}: {answer.text}"


@pytest.mark.parametrize("key", ["1", "2", "999999", "no-uid", "x" * 100])
async def test_nobody_learns_which_customers_there_are(
    shared_crm: httpx.AsyncClient, key: str
) -> None:
    answer = await shared_crm.get(f"/api/customers/{key}", headers={"Authorization": ""})

    assert answer.status_code == 401


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

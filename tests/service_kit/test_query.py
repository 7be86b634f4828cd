"""A query holds what its route knows, each once; else it is refused, and says what was meant."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from service_kit.web.auth import GuardedRoute
from tests.conftest import SERVICES, running

ERRORS = {
    "shlef=1": {"shlef": "Unknown parameter; did you mean shelf?"},
    "Limit=1": {"Limit": "Unknown parameter; did you mean limit?"},
    "colour=red": {"colour": "Unknown parameter"},
    "limit=1&limit=1": {"limit": "Must be given once"},
    "limit=1&limit=2&shlef=1&shlef=1": {
        "limit": "Must be given once",
        "shlef": "Unknown parameter; did you mean shelf?",
    },
    "=": {"": "Unknown parameter"},
    "limit=x&curser=1": {"curser": "Unknown parameter; did you mean cursor?"},
}


@pytest.mark.parametrize(("query", "errors"), ERRORS.items(), ids=ERRORS)
async def test_what_a_route_does_not_know_is_named(
    client: httpx.AsyncClient, query: str, errors: dict[str, str]
) -> None:
    answers = [await client.get(f"{path}?{query}") for path in ("/api/boxes", "/boxes", "/boxes/")]

    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:problem:invalid-request"
        assert {error["loc"][1]: error["msg"] for error in answer.json()["errors"]} == errors
        assert {error["loc"][0] for error in answer.json()["errors"]} == {"query"}


@pytest.mark.parametrize("query", ["", "&&", "limit=1", "shelf=1&limit=1&cursor=aWQ6MQ"])
async def test_what_a_route_knows_is_taken(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/boxes?{query}")).status_code == 200


async def test_very_many_unknown_names_are_answered_in_few_words(client: httpx.AsyncClient) -> None:
    answer = await client.get("/boxes?" + "&".join(f"shel{number}" for number in range(2000)))

    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert "2000 errors" in answer.json()["detail"]


async def test_who_may_not_ask_is_told_nothing_of_what_there_is_to_ask(
    anyone: httpx.AsyncClient,
) -> None:
    assert (await anyone.get("/boxes?shlef=1")).status_code == 401


@pytest.mark.parametrize("name", SERVICES)
async def test_every_route_of_every_service_refuses_what_it_does_not_know(
    name: str, sqlite_template: Callable[[str], Path], tmp_path: Path
) -> None:
    service = SERVICES[name]
    url = f"sqlite:///{shutil.copy(sqlite_template(name), tmp_path)}"
    app = service.app(type(service.settings())(database_url=url))
    requests = [
        (method, re.sub(r"\{[^}]*\}", "1", route.path))
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    ]
    requests += [
        (method, path.removeprefix("/api")) for method, path in requests if path.startswith("/api/")
    ]

    async with running(app, token="admin123") as client:
        for method, path in requests:
            answer = await client.request(method, f"{path}?emial=1")
            assert answer.status_code == 422, (method, path)
            [error] = answer.json()["errors"]
            assert error["loc"] == ["query", "emial"]
            assert error["msg"].startswith("Unknown parameter")


@pytest.mark.parametrize("name", SERVICES)
def test_a_route_knows_the_parameters_that_its_description_shows(name: str) -> None:
    service = SERVICES[name]
    app = service.app(type(service.settings())(database_url="sqlite:///nowhere.db"))
    paths = app.openapi()["paths"]

    for route in app.routes:
        if not isinstance(route, GuardedRoute):
            continue  # the console, which has pages
        operations = paths.get(route.path_format, {})
        shown = {
            parameter["name"]
            for method in route.methods
            for parameter in operations.get(method.lower(), {}).get("parameters", [])
            if parameter["in"] == "query"
        }
        assert set(route.query_parameters) == shown, route.path

"""Who may do what: every route of every service, asked by every role and by those who are nobody.

What is expected stands in allowed.py by hand, as the contract has it. A request was let through
when it is refused for its query, which is read next: nothing is done, and nobody asks for its body.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from json import loads
from typing import Any

import httpx
import jwt
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import Connection, text

from service_kit.web import minting
from service_kit.web.auth import GuardedRoute
from service_kit.web.roles import ROLES
from tests.allowed import ANY_TOKEN, CONTRACT, FOR_ALL, NO_TOKEN, TABLE, asking, public_at, roles_at
from tests.conftest import SERVICES, bearer, copy_of_template, running
from tests.identity import CRM, INTROSPECTION, forward_to, issue, revoke
from tools import access_table

PLACE = re.compile(r"\{[^}]+\}")
THROUGH = "through"
ISSUER, AUDIENCE = "http://provider", "https://crmsys.example"
PROVIDERS_KEY = Ed25519PrivateKey.generate()


def configured(role: str, service: str) -> str:
    return f"{role}-of-{service}"


def settings_of(service: str, database_url: str) -> Any:
    """Make settings that accept tokens of all three kinds: configured, the CRM's, a provider's."""
    given: dict[str, Any] = {
        "database_url": database_url,
        "api_tokens": [(role, configured(role, service)) for role in roles_at(service)],
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_roles": [("staff", "admin")],
    }
    if service != "crm_api":
        given["token_introspection_url"] = INTROSPECTION
        given["token_introspection_token"] = configured("integration", "crm_api")
    if service == "integration_service":
        given["crm_api_url"], given["inventory_api_url"] = CRM, "http://inventory"
        given["crm_api_token"] = configured("integration", "crm_api")
        given["inventory_api_token"] = configured("integration", "inventory_api")
    return import_module(f"{service}.settings").Settings(**given)


async def ask(app: FastAPI, route: str, *authorization: str) -> tuple[int, Any]:
    """Send the head of a request, whose body nobody may want. Returns status and document."""
    method, path = route.split()
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": PLACE.sub("1", path),
        "raw_path": PLACE.sub("1", path).encode(),
        "query_string": b"no_such_parameter=1",
        "root_path": "",
        "headers": [
            *((b"content-length", b"9999999"), (b"content-type", b"text/plain")),
            *((b"authorization", value.encode("latin-1")) for value in authorization),
        ],
        "client": ("192.0.2.1", 1),
        "server": ("test", 80),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        pytest.fail(f"{route} asks for the body.")

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert scope["route"].path == path
    is_refusal = (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    assert is_refusal == (sent[0]["status"] == 401)
    return sent[0]["status"], loads(sent[1]["body"])


def is_through(status: int, document: Any) -> bool:
    if status != 422:
        return False
    assert document["errors"][0]["loc"] == ["query", "no_such_parameter"]
    return True


async def outcome(app: FastAPI, route: str, *authorization: str) -> str:
    """Tell what comes of a request: that it is let through, or why not."""
    status, document = await ask(app, route, *authorization)
    if is_through(status, document):
        return THROUGH
    del document["request_id"], document["instance"]
    return f"{status}: {document['detail']}" if status == 403 else str(document)


@dataclass
class Platform:
    """The three services and their clients; each is an admin's."""

    apps: dict[str, FastAPI]
    clients: dict[str, httpx.AsyncClient]

    async def outcome(self, service: str, route: str, token: str) -> str:
        return await outcome(self.apps[service], route, f"Bearer {token}")


@pytest.fixture(scope="module")
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[Platform]:
    apps: dict[str, FastAPI] = {}
    for service in SERVICES:
        url = copy_of_template(request, "sqlite", service)[1]
        app = import_module(f"{service}.app").create_app(settings_of(service, url))
        apps[service] = app
    key = jwt.algorithms.OKPAlgorithm.to_jwk(PROVIDERS_KEY.public_key(), as_dict=True)
    with respx.mock(assert_all_called=False) as network:
        network.route(host="crm").mock(side_effect=forward_to(apps["crm_api"]))
        network.route(host="inventory").mock(side_effect=forward_to(apps["inventory_api"]))
        network.get(f"{ISSUER}/.well-known/openid-configuration").respond(
            json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        )
        network.get(f"{ISSUER}/keys").respond(json={"keys": [{**key, "kid": "1"}]})
        async with AsyncExitStack() as exits:
            clients = {
                service: await exits.enter_async_context(
                    running(app, token=configured("admin", service))
                )
                for service, app in apps.items()
            }
            yield Platform(apps, clients)


@pytest.fixture(scope="module")
async def issued(platform: Platform) -> dict[str, str]:
    """Issue a token for each role."""
    crm = platform.clients["crm_api"]
    return {role: (await issue(crm, role))["token"] for role in CONTRACT}


def is_of_provider(**changes: Any) -> str:
    """Make an access token of the OpenID provider's, for an admin."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "jane",
        "roles": ["staff"],
        "exp": datetime.now(UTC) + timedelta(hours=1),
    }
    headers = {"typ": "at+jwt", "kid": "1"}
    return jwt.encode(claims | changes, PROVIDERS_KEY, algorithm="EdDSA", headers=headers)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_table_names_every_route_and_the_scope_it_asks_for(
    platform: Platform, service: str
) -> None:
    found: dict[str, set[str]] = {scope: set() for scope in TABLE[service]}
    for context in iter_route_contexts(platform.apps[service].routes):
        route = context.original_route
        if route.path in {"/console", "/console/{rest:path}"}:
            continue  # pages, which ask these routes: tests/console
        assert isinstance(route, GuardedRoute)
        scope = ", ".join(route.required) or (ANY_TOKEN if route.needs_token else NO_TOKEN)
        for method in (context.methods or set()) - {"HEAD"}:
            found.setdefault(scope, set()).add(f"{method} {context.path}")

    assert found == TABLE[service] | FOR_ALL | {NO_TOKEN: public_at(service)}


def test_each_role_has_the_scopes_of_the_contract() -> None:
    assert {role: set(scopes) for role, scopes in ROLES.items()} == CONTRACT


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_roles_that_may_do_something_there(service: str) -> None:
    roles = import_module(f"{service}.settings").Settings.roles

    assert {role: set(scopes) for role, scopes in roles.items()} == {
        role: CONTRACT[role] & TABLE[service].keys() for role in roles_at(service)
    }


def expected(role: str, scopes: set[str], asked: str) -> str:
    if asked == ANY_TOKEN or asked in scopes:
        return THROUGH
    if asked in CONTRACT[role]:
        return f"403: The token was issued without the scope {asked}, which its role {role} has."
    return f"403: The role {role} does not have the scope {asked}."


@pytest.mark.parametrize("service", SERVICES)
async def test_a_configured_token_may_do_what_its_role_may(
    platform: Platform, service: str
) -> None:
    for role in roles_at(service):
        for route, scope in asking(service):
            found = await platform.outcome(service, route, configured(role, service))
            assert found == expected(role, CONTRACT[role], scope), f"{route} by {role}"


@pytest.mark.parametrize("service", SERVICES)
async def test_an_issued_token_may_do_what_its_role_may_at_every_service(
    platform: Platform, issued: dict[str, str], service: str
) -> None:
    for role, token in issued.items():
        for route, scope in asking(service):
            found = await platform.outcome(service, route, token)
            assert found == expected(role, CONTRACT[role], scope), f"{route} by {role}"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_narrow_token_may_do_that_part_of_it(platform: Platform, service: str) -> None:
    for role in roles_at(service):
        for missing in CONTRACT[role] & TABLE[service].keys():
            scopes = CONTRACT[role] - {missing}
            new = await issue(platform.clients["crm_api"], role, scopes=sorted(scopes))
            for route, scope in asking(service):
                found = await platform.outcome(service, route, new["token"])
                assert found == expected(role, scopes, scope), f"{route} by {role} - {missing}"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_token_of_the_provider_may_do_what_its_role_may(
    platform: Platform, service: str
) -> None:
    token = is_of_provider()

    assert {await platform.outcome(service, route, token) for route, _ in asking(service)} == {
        THROUGH
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_a_caller_is_told_who_it_is_at_every_service(
    platform: Platform, service: str
) -> None:
    client = platform.clients[service]
    scopes = ["customers:read", "packages:read", "sync:read"]
    until = "2999-01-01T00:00:00Z"
    new = await issue(
        platform.clients["crm_api"],
        "agent",
        name=f"till at {service}",
        scopes=scopes,
        expires_at=until,
    )
    narrow = (await client.get("/me", headers=bearer(new["token"]))).json()
    own = (await client.get("/me")).json()

    assert narrow == {
        "name": f"till at {service}",
        "role": "agent",
        "scopes": [scope for scope in scopes if scope in TABLE[service]],
        "expires_at": until,
        "service": service,
    }
    assert own == {
        "name": "admin",
        "role": "admin",
        "scopes": sorted(TABLE[service]),
        "expires_at": None,
        "service": service,
    }


MINTED = minting.mint()
# Authorization headers of those who are nobody; {} is an admin's token of the service.
MALFORMED: dict[str, list[str]] = {
    "no header": [],
    "an empty header": [""],
    "a token alone": ["{}"],
    "another scheme": ["Basic {}"],
    "no token": ["Bearer"],
    "an empty token": ["Bearer "],
    "two spaces": ["Bearer  {}"],
    "a tab": ["Bearer\t{}"],
    "a space behind": ["Bearer {} "],
    "two tokens": ["Bearer {} {}"],
    "a list": ["Bearer {},{}"],
    "quotes": ['Bearer "{}"'],
    "a letter beyond ASCII": ["Bearer {}é"],
    "too long": ["Bearer " + "a" * 600],
    "two headers": ["Bearer {}", "Bearer {}"],
    "an unknown token": ["Bearer unknown"],
    "capitals": ["Bearer ADMIN-OF-CRM_API"],
    "more than a token": ["Bearer {}4"],
    "a token that was never issued": [f"Bearer {MINTED}"],
    "an issued token's start": [f"Bearer {MINTED[:-1]}"],
    "an issued token's checksum wrong": [f"Bearer {MINTED[:-6]}000000"],
}


# What all of them hear, so that nobody learns what was wrong.
NOBODY = str(
    {
        "type": "urn:problem:not-authenticated",
        "title": "Unauthorized",
        "status": 401,
        "detail": "Send a valid token as 'Authorization: Bearer <token>'.",
    }
)


async def is_nobody(platform: Platform, service: str, *authorization: str) -> None:
    for route, _ in asking(service):
        assert await outcome(platform.apps[service], route, *authorization) == NOBODY, route


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_gets_past_a_guarded_route(platform: Platform, service: str) -> None:
    admin = configured("admin", service)
    for headers in MALFORMED.values():
        await is_nobody(platform, service, *(value.replace("{}", admin) for value in headers))


async def expired(platform: Platform) -> str:
    crm = platform.clients["crm_api"]
    new = await issue(crm, "admin", expires_at="2999-01-01T00:00:00Z")

    def expire(db: Connection) -> None:
        past = {"past": "2020-01-01 00:00:00.000000", "id": new["id"]}
        db.execute(text("UPDATE tokens SET expires_at = :past WHERE id = :id"), past)

    await platform.apps["crm_api"].state.database.write(expire)
    return str(new["token"])


async def revoked(platform: Platform) -> str:
    crm = platform.clients["crm_api"]
    new = await issue(crm, "admin")
    await revoke(crm, new)
    return str(new["token"])


@pytest.mark.parametrize("service", SERVICES)
async def test_a_token_that_is_over_or_another_services_is_no_better_than_none(
    platform: Platform, service: str
) -> None:
    others = [configured("admin", other) for other in SERVICES if other != service]
    over = [await expired(platform), await revoked(platform)]
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    of_provider = [is_of_provider(exp=an_hour_ago), is_of_provider(aud="https://elsewhere")]

    for token in (*others, *over, *of_provider):
        await is_nobody(platform, service, f"Bearer {token}")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_public_route_answers_anybody(platform: Platform, service: str) -> None:
    for route in public_at(service):
        for headers in ([], ["Bearer unknown"], ["Basic x"]):
            assert is_through(*await ask(platform.apps[service], route, *headers)), route


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_scheme_may_be_written_in_any_case(platform: Platform, scheme: str) -> None:
    token = configured("admin", "crm_api")

    assert is_through(*await ask(platform.apps["crm_api"], "GET /api/tokens", f"{scheme} {token}"))


@pytest.mark.parametrize("service", SERVICES)
async def test_who_has_no_token_may_do_just_what_anonymous_scopes_say(
    platform: Platform, service: str
) -> None:
    create_app = import_module(f"{service}.app").create_app
    viewer = f"Bearer {configured('viewer', service)}"
    for opened in TABLE[service]:
        closed = platform.apps[service].state.settings
        app = create_app(closed.model_copy(update={"anonymous_scopes": frozenset({opened})}))
        for route, scope in asking(service):
            may = THROUGH if scope in {opened, ANY_TOKEN} else NOBODY
            assert await outcome(app, route) == may, f"{route} with {opened}"
            assert await outcome(app, route, "Bearer wrong") == NOBODY, "no better than none"
            assert await outcome(app, route, viewer) == expected(
                "viewer", CONTRACT["viewer"], scope
            ), "an opened scope is not for a token without it"


def test_the_documentation_shows_who_may_do_what() -> None:
    text = access_table.DOCUMENT.read_text()

    assert access_table.updated(text) == text, "run `python -m tools.access_table`"

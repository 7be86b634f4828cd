"""Access tokens of an OpenID provider: who gets in, who does not, and when its keys change."""

import asyncio
import itertools
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import respx
from fastapi import FastAPI

from crm_api.settings import SCOPES
from service_kit.process.environment import Refused
from service_kit.web import jwks, problems
from service_kit.web.roles import ROLES
from tests.conftest import SERVICES, NewDatabase, bearer, copy_of_template, running
from tests.oidc import (
    AUDIENCE,
    CLIENT,
    FORGERIES,
    SETTINGS,
    Forge,
    Key,
    Provider,
    claims_of,
    ec_key,
    ed_key,
    rsa_key,
)

pytestmark = pytest.mark.engine("sqlite")

Company = tuple[Provider, dict[str, httpx.AsyncClient]]
_NUMBERS = itertools.count(1)
# What a reader may ask each service for.
READ = {
    "crm_api": "/api/customers",
    "inventory_api": "/package-requests",
    "integration_service": "/status",
}


@pytest.fixture(scope="module")
def network() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as router:
        router.route(host="localhost").mock(side_effect=httpx.ConnectError)  # where the CRM is not
        yield router


@pytest.fixture(scope="module")
async def company(
    network: respx.MockRouter, request: pytest.FixtureRequest
) -> AsyncIterator[Company]:
    """Give a provider, and a client of each service, all of which accept its tokens."""
    provider = Provider().serve(network)
    async with AsyncExitStack() as stack:
        clients = {}
        for name in SERVICES:
            app = app_for(provider, name, copy_of_template(request, "sqlite", name)[1])
            clients[name] = await stack.enter_async_context(running(app))
        yield provider, clients


@pytest.fixture
def provider(network: respx.MockRouter) -> Provider:
    """Give a provider that nobody has asked yet."""
    return Provider(f"https://sign-in-{next(_NUMBERS)}.example.com").serve(network)


@pytest.fixture
async def inventory(
    provider: Provider, new_database: NewDatabase
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an Inventory that has not asked its provider anything yet."""
    app = app_for(provider, "inventory_api", new_database("inventory_api"))
    async with running(app) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_logged_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each test's first failure logged, however many others were a moment ago."""
    monkeypatch.setattr(problems, "_logged_at", {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the clock by which keys get old; it stands still."""
    fake = SimpleNamespace(now=1000.0, monotonic=lambda: fake.now)
    monkeypatch.setattr(jwks, "time", fake)
    return fake


def app_for(provider: Provider, name: str, url: str, **more: Any) -> FastAPI:
    settings = import_module(f"{name}.settings").Settings(
        database_url=url, oidc_issuer=provider.issuer, **(SETTINGS | more)
    )
    app: FastAPI = import_module(f"{name}.app").create_app(settings)
    return app


async def who(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/me", headers=bearer(token))


async def test_all_three_services_accept_a_providers_token(company: Company) -> None:
    provider, clients = company
    token = provider.token()
    expires_at = datetime.fromtimestamp(claims_of(token)["exp"], UTC)
    for name, client in clients.items():
        answer = await who(client, token)

        assert answer.status_code == 200, name
        found = answer.json()
        assert (found["name"], found["role"], found["service"]) == ("ann", "admin", name)
        assert found["expires_at"] == f"{expires_at:%FT%TZ}"
        read = await client.get(READ[name], headers=bearer(token))
        assert read.status_code == 200


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forgery_is_refused_by_all_and_hears_what_nobody_hears(
    company: Company, forge: Forge
) -> None:
    provider, clients = company
    forged = forge(provider.token(), provider.keys[0])
    for name, client in clients.items():
        answer = await client.get(READ[name], headers=bearer(forged))

        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["detail"] == "Send a valid token as 'Authorization: Bearer <token>'."


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({"typ": "application/at+jwt"}, {}),
        ({}, {"aud": ["another-api", AUDIENCE]}),
        ({}, {"client_id": None, "azp": CLIENT}),
        ({"kid": None}, {}),
        ({"jku": "https://evil.example.com/keys"}, {}),
        ({}, {"exp": 10**18}),
        ({}, {"exp": "4000000000"}),
    ],
    ids=[
        *("JWT", "media type", "two audiences", "azp", "the only key", "jku is ignored"),
        *("for ever", "an expiry as text"),
    ],
)
async def test_what_providers_do_differently_is_accepted(
    company: Company, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    provider, clients = company
    await who(clients["crm_api"], provider.token())  # it has fetched the keys
    looks = provider.looks

    assert (await who(clients["crm_api"], provider.token(None, header, **claims))).is_success
    assert provider.looks == looks


@pytest.mark.parametrize(
    ("claim", "value", "role"),
    [
        ("/realm_access/roles", {"realm_access": {"roles": ["warehouse", "support"]}}, "agent"),
        ("/realm_access/roles", {"realm_access": {"roles": "staff on-call"}}, "operator"),
        ("/realm_access/roles", {"realm_access": {"roles": []}}, "none"),
        ("/realm_access/roles", {"realm_access": ["support"]}, "none"),
        ("/realm_access/roles", {"realm_access": {"roles": {"support": True}}}, "none"),
        ("/realm_access/roles", {"realm_access": {"roles": [["support"], 1, None]}}, "none"),
        ("/a~1b/0/~0", {"a/b": [{"~": ["auditors"]}]}, "viewer"),
        ("/a/1", {"a": ["auditors"]}, "none"),
        ("https://example.com/roles", {"https://example.com/roles": ["auditors"]}, "viewer"),
        ("roles", {"roles": ["Support"]}, "none"),
    ],
)
async def test_the_first_role_that_the_claim_names_counts(
    provider: Provider, new_database: NewDatabase, claim: str, value: dict[str, Any], role: str
) -> None:
    url = new_database("crm_api")
    async with running(app_for(provider, "crm_api", url, oidc_role_claim=claim)) as client:
        token = provider.token(**value)
        found = (await who(client, token)).json()
        listed = await client.get("/api/customers", headers=bearer(token))

    assert found["role"] == role
    assert set(found["scopes"]) == ROLES.get(role, frozenset()) & SCOPES
    assert listed.status_code == (200 if role != "none" else 403)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "ann"),
        ({"preferred_username": None, "email": "ann@example.com"}, "ann@example.com"),
        ({"preferred_username": "", "email": "ann@example.com"}, "ann@example.com"),
        (
            {"preferred_username": None, "email": "ann@example.com", "email_verified": False},
            "f3a1-ann",
        ),
        ({"preferred_username": None}, "f3a1-ann"),
        ({"preferred_username": "Admin"}, "f3a1-ann"),
        ({"preferred_username": "anonymous"}, "f3a1-ann"),
        ({"preferred_username": "ann\nroot"}, "f3a1-ann"),
        ({"preferred_username": ["ann"]}, "f3a1-ann"),
        ({"preferred_username": "a" * 300}, "a" * 100),
        ({"preferred_username": None, "sub": "s" * 120}, "s" * 100),
        ({"preferred_username": None, "sub": ""}, sha256(b"").hexdigest()),
        ({"preferred_username": None, "sub": "a\nb"}, sha256(b"a\nb").hexdigest()),
    ],
)
async def test_a_person_is_shown_by_a_name_that_nobody_else_has(
    company: Company, claims: dict[str, Any], name: str
) -> None:
    provider, clients = company

    assert (await who(clients["crm_api"], provider.token(**claims))).json()["name"] == name


@pytest.mark.parametrize("key", [ec_key("e"), ed_key("d"), rsa_key("r")], ids=lambda key: key.kid)
async def test_each_kind_of_key_works(
    inventory: httpx.AsyncClient, provider: Provider, key: Key
) -> None:
    provider.keys = [rsa_key("first"), key]

    assert (await who(inventory, provider.token(key))).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"use": None, "key_ops": ["sign"]},
        {"use": None, "key_ops": "verify"},
        {"alg": "RS512"},
        {"kid": None},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"n": None},
        {"n": "!"},
        {"kty": ["RSA"]},
    ],
    ids=str,
)
async def test_a_key_that_is_not_for_this_is_not_used(
    inventory: httpx.AsyncClient, provider: Provider, changes: dict[str, Any]
) -> None:
    """The first key in the set is a good one, so that the set itself is never at fault."""
    key = rsa_key("second")
    provider.more_jwks = [key.public_jwk() | changes]
    if None in changes.values():
        [unset] = [name for name, value in changes.items() if value is None]
        provider.more_jwks[0].pop(unset)

    assert (await who(inventory, provider.token(key))).status_code == 401
    assert (await who(inventory, provider.token())).status_code == 200


async def test_a_short_rsa_key_is_not_used(
    inventory: httpx.AsyncClient, provider: Provider
) -> None:
    provider.keys.append(rsa_key("short", 1024))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library remarks on it when it signs
        short = provider.token(provider.keys[1])

    assert (await who(inventory, short)).status_code == 401
    assert (await who(inventory, provider.token())).status_code == 200


async def test_a_new_key_is_found_without_a_restart(
    inventory: httpx.AsyncClient, provider: Provider, clock: SimpleNamespace
) -> None:
    old, new = provider.keys[0], rsa_key("second")
    assert (await who(inventory, provider.token(old))).status_code == 200
    provider.keys = [old, new]
    clock.now += jwks.PAUSE_SECONDS

    assert (await who(inventory, provider.token(new))).status_code == 200
    assert (await who(inventory, provider.token(old))).status_code == 200


async def test_a_key_that_is_gone_is_refused_once_keys_were_fetched_again(
    inventory: httpx.AsyncClient, provider: Provider, clock: SimpleNamespace
) -> None:
    old = provider.keys[0]
    assert (await who(inventory, provider.token(old))).status_code == 200
    provider.keys = [rsa_key("second")]
    clock.now += jwks.REFRESH_SECONDS
    assert (await who(inventory, provider.token(old))).status_code == 200
    await until_quiet()
    assert provider.looks == 2, "they are not older yet"
    clock.now += 1
    assert (await who(inventory, provider.token(old))).status_code == 200, "nobody waits for it"
    await until_quiet()

    assert (await who(inventory, provider.token(old))).status_code == 401


async def test_unknown_key_ids_make_no_flood_of_questions(
    inventory: httpx.AsyncClient, provider: Provider, clock: SimpleNamespace
) -> None:
    forged = [provider.token(rsa_key("stranger"), {"kid": f"no-{n}"}) for n in range(20)]
    statuses = [(await who(inventory, token)).status_code for token in forged]

    assert set(statuses) == {401}
    assert provider.looks == 2, "the discovery document and the keys, once"
    clock.now += jwks.PAUSE_SECONDS
    await asyncio.gather(*(who(inventory, token) for token in forged))
    assert provider.looks == 4


async def test_known_keys_go_on_while_the_provider_is_away_and_unknown_ones_wait(
    inventory: httpx.AsyncClient,
    provider: Provider,
    clock: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    known, unknown = provider.keys[0], rsa_key("second")
    assert (await who(inventory, provider.token(known))).status_code == 200
    provider.is_away = True
    for _ in range(12):
        clock.now += 300
        assert (await who(inventory, provider.token(known))).status_code == 200
        answer = await who(inventory, provider.token(unknown))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["type"] == "urn:problem:identity-unavailable"
        await until_quiet()
    assert "nobody is there" in caplog.text
    provider.is_away = False
    provider.keys.append(unknown)
    clock.now += jwks.PAUSE_SECONDS

    assert (await who(inventory, provider.token(unknown))).status_code == 200
    assert (await who(inventory, provider.token(known))).status_code == 200


async def test_keys_are_not_believed_for_ever(
    inventory: httpx.AsyncClient, provider: Provider, clock: SimpleNamespace
) -> None:
    assert (await who(inventory, provider.token())).status_code == 200
    provider.is_away = True
    clock.now += jwks.KEPT_SECONDS + 1

    assert (await who(inventory, provider.token())).status_code == 503


async def test_a_failure_is_not_asked_about_again_at_once(
    inventory: httpx.AsyncClient, provider: Provider, clock: SimpleNamespace
) -> None:
    provider.is_away = True
    for _ in range(5):
        assert (await who(inventory, provider.token())).status_code == 503

    assert provider.looks == 1


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://sign-in.example.com/realms/other"},
        {"jwks_uri": "http://elsewhere.example.com/keys"},
        {"jwks_uri": "not an address"},
        {"jwks_uri": None},
        {"jwks_uri": "https://sign-in.example.com:0x/"},
    ],
    ids=str,
)
async def test_a_discovery_document_that_is_not_the_issuers_is_not_believed(
    inventory: httpx.AsyncClient, provider: Provider, discovery: dict[str, Any]
) -> None:
    genuine = provider.discovery()
    provider.discovery = lambda: genuine | discovery  # type: ignore[method-assign]

    assert (await who(inventory, provider.token())).status_code == 503


async def test_what_is_wrong_with_a_token_is_logged_and_the_token_is_not(
    inventory: httpx.AsyncClient, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = provider.token(aud="another-api")
    await who(inventory, token)

    assert "A JWT is refused: Audience doesn't match" in caplog.text
    assert token not in caplog.text
    assert token.split(".")[2] not in caplog.text


async def test_an_idempotency_key_is_the_persons_and_not_the_tokens(
    company: Company,
) -> None:
    provider, clients = company
    crm = clients["crm_api"]
    body = {"name": "Jane Doe", "email": "jane.doe@example.com"}

    async def create(**claims: Any) -> httpx.Response:
        headers = bearer(provider.token(**claims)) | {"Idempotency-Key": "k"}
        return await crm.post("/api/customers", json=body, headers=headers)

    first, later, other = (
        await create(jti="1"),
        await create(jti="2", preferred_username="ann.b"),
        await create(sub="f3a1-bob"),
    )

    assert first.status_code == later.status_code == 201
    assert "idempotent-replayed" not in first.headers
    assert later.headers["idempotent-replayed"] == "true"
    assert other.status_code == 409, "a key of their own, so the address is taken"


async def until_quiet() -> None:
    """Let what nobody waits for end."""
    while tasks := [task for task in asyncio.all_tasks() if task.get_name() == "jwks"]:
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_role_that_there_is_not_is_refused_at_the_start(tmp_path: Path) -> None:
    provider, url = Provider(), f"sqlite:///{tmp_path}/nowhere.db"

    with pytest.raises(Refused, match="OIDC_ROLES: no role agnet, anonymous; there are viewer"):
        app_for(provider, "crm_api", url, oidc_roles="a=agnet,b=admin,c=anonymous")

"""The three services beside a certified OpenID provider that nobody here wrote."""

import base64
import hashlib
import json
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service_kit.web import jwks
from tests.conftest import SERVICES, NewDatabase, bearer, running
from tests.oidc import CLIENT, FORGERIES, SETTINGS, Key, claims_of, header_of, rsa_key, sign

pytestmark = pytest.mark.engine("sqlite")

SECRET = "a-secret-of-the-tests"
PUBLIC = "http://127.0.0.1:9"
SIGNED_IN = "http://127.0.0.1:9/signed-in"  # nobody is there: the code is read from the redirect


class RealProvider:
    """A process of the provider, which can go away and come back with other keys."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self.issuer = ""

    def start(self, *keys: Key) -> None:
        """Start it with the first key to sign with; at the address that it had before."""
        port = [str(httpx.URL(self.issuer).port)] if self.issuer else []
        self._process = subprocess.Popen(
            [*self._command, *port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        json.dump({"keys": [key.private_jwk() for key in keys]}, self._process.stdin)
        self._process.stdin.close()
        for line in self._process.stdout:
            if line.startswith("issuer "):
                self.issuer = line.split()[1]
                return
        pytest.fail("The provider did not start.")

    def stop(self) -> None:
        if self._process is not None:
            with self._process as process:  # which closes what is still open of it, and waits
                process.terminate()
            self._process = None

    def token_of_client(self, resource: str = "https://crmsys.example.com/") -> str:
        """Have a token for the client itself."""
        return self._token(grant_type="client_credentials", resource=resource)["access_token"]

    def sign_in(self, name: str) -> dict[str, str]:
        """Sign in as a person, by the code flow with PKCE. Returns the tokens."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "client_id": CLIENT,
            "response_type": "code",
            "scope": "openid profile",
            "redirect_uri": SIGNED_IN,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        with httpx.Client(timeout=10) as browser:
            address = httpx.URL(f"{self.issuer}/auth", params=asked)
            code = httpx.URL(self.sign_in_at(browser, str(address), name)).params["code"]
        return self._token(
            grant_type="authorization_code",
            code=code,
            redirect_uri=SIGNED_IN,
            code_verifier=verifier,
        )

    def sign_in_at(self, browser: httpx.Client, address: str, name: str) -> str:
        """Go where a client has sent the browser, and sign in. Returns where that leads."""
        shown = browser.get(address)
        for prompt in ("login", "consent"):
            form = {"prompt": prompt, "login": name, "password": "any"}
            answer = browser.post(self._at(shown), data=form)
            shown = browser.get(self._at(answer))
        return str(shown.headers["location"])

    def _at(self, answer: httpx.Response) -> httpx.URL:
        return httpx.URL(self.issuer).join(answer.headers["location"])

    def _token(self, **form: str) -> dict[str, str]:
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=(CLIENT, SECRET), timeout=10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
def provider(node: Callable[[str], list[str]]) -> Iterator[RealProvider]:
    provider = RealProvider(node("oidc.mjs"))
    provider.start(rsa_key("first"))
    yield provider
    provider.stop()


@pytest.fixture
async def services(
    provider: RealProvider, new_database: NewDatabase
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        clients = {}
        for name in SERVICES:
            given: dict[str, Any] = {"database_url": new_database(name), **SETTINGS}
            settings = import_module(f"{name}.settings").Settings(
                oidc_issuer=provider.issuer, **given
            )
            app = import_module(f"{name}.app").create_app(settings)
            clients[name] = await stack.enter_async_context(running(app))
        yield clients


async def who(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/me", headers=bearer(token))


async def test_a_person_who_signs_in_is_known_to_all_three(
    provider: RealProvider, services: dict[str, httpx.AsyncClient]
) -> None:
    token = provider.sign_in("ann")["access_token"]
    for name, client in services.items():
        found = (await who(client, token)).json()
        assert (found["name"], found["role"], found["service"]) == ("ann", "admin", name)
    clerk = provider.sign_in("bob")["access_token"]
    items = await services["inventory_api"].get("/items", headers=bearer(clerk))
    customers = await services["crm_api"].get("/api/customers", headers=bearer(clerk))

    assert (items.status_code, customers.status_code) == (200, 403)


async def test_a_client_has_a_token_of_its_own(
    provider: RealProvider, services: dict[str, httpx.AsyncClient]
) -> None:
    found = (await who(services["integration_service"], provider.token_of_client())).json()

    assert (found["name"], found["role"]) == (CLIENT, "operator")


async def test_tokens_for_others_are_refused(
    provider: RealProvider, services: dict[str, httpx.AsyncClient]
) -> None:
    tokens = {
        "an ID token": provider.sign_in("ann")["id_token"],
        "a token for another API": provider.token_of_client("https://another.example.com/"),
    }
    for token in tokens.values():
        for client in services.values():
            assert (await who(client, token)).status_code == 401


async def test_each_forgery_of_a_genuine_token_is_refused_by_all(
    provider: RealProvider, services: dict[str, httpx.AsyncClient]
) -> None:
    token, key = provider.sign_in("ann")["access_token"], rsa_key("first")
    again = sign(key, header_of(token), claims_of(token))
    for client in services.values():
        assert (await who(client, again)).status_code == 200, "the key is the provider's"
    for name, forge in FORGERIES.items():
        assert await statuses(services, forge(token, key)) == [401, 401, 401], name


async def test_keys_change_and_the_provider_is_away_for_an_hour(
    provider: RealProvider,
    services: dict[str, httpx.AsyncClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(jwks, "time", clock)
    before = provider.token_of_client()
    assert await statuses(services, before) == [200, 200, 200]
    provider.stop()
    for _ in range(12):
        clock.now += 300
        assert await statuses(services, before) == [200, 200, 200], "its key is known"
        unknown = sign(rsa_key("second"), header_of(before) | {"kid": "second"}, claims_of(before))
        assert await statuses(services, unknown) == [503, 503, 503], "nothing is let in"
    provider.start(rsa_key("second"), rsa_key("first"))
    clock.now += jwks.PAUSE_SECONDS
    after = provider.token_of_client()

    assert header_of(after)["kid"] == "second"
    assert await statuses(services, after) == [200, 200, 200]
    assert await statuses(services, before) == [200, 200, 200]


async def statuses(services: dict[str, httpx.AsyncClient], token: str) -> list[int]:
    return [(await who(client, token)).status_code for client in services.values()]


async def test_a_person_signs_in_to_the_console(
    provider: RealProvider, new_database: NewDatabase
) -> None:
    settings = import_module("crm_api.settings").Settings(
        database_url=new_database("crm_api"),
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        public_url=PUBLIC,
        **SETTINGS,
    )
    app = import_module("crm_api.app").create_app(settings)
    async with running(app) as browser:
        begun = await browser.get("/console/sign-in/provider?next=/customers")
        with httpx.Client(timeout=10) as person:
            returned = provider.sign_in_at(person, begun.headers["location"], "ann")
        back = returned.removeprefix(PUBLIC)
        assert back.startswith("/console/signed-in?")

        signed_in = await browser.get(back)

        assert signed_in.headers["location"] == "/console/customers"
        assert "ann" in (await browser.get("/console/customers")).text
        assert (await browser.get(back)).status_code == 401, "a code is good once"

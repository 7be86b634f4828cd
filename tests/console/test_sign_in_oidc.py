"""Signing in with an OpenID provider; tests/node/test_oidc.py does so with a certified one."""

import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import respx
from pydantic import ValidationError

from console import oidc
from crm_api.settings import Settings
from tests.console.conftest import opened, text_of
from tests.oidc import SETTINGS, Provider, sign

pytestmark = pytest.mark.engine("sqlite")

CLIENT, SECRET, PUBLIC = "console", "s/ecret", "https://crm.example.com"
BEGIN = "/console/sign-in/provider?next=/customers/1"


@dataclass
class SignInProvider(Provider):
    """The double of a provider, at which people sign in too."""

    id_claims: dict[str, Any] = field(default_factory=dict)
    access_claims: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    nonce: str = ""

    def discovery(self) -> dict[str, Any]:
        return {
            **super().discovery(),
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
        }

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_away or not request.url.path.endswith("/token"):
            return super()._answer(request)
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        self.asked.append({**form, "authorization": request.headers.get("authorization", "")})
        claims = {"iss": self.issuer, "aud": CLIENT, "nonce": self.nonce, "exp": time.time() + 60}
        key = self.keys[0]
        id_token = sign(key, {"kid": key.kid}, {**claims, **self.id_claims})
        access = self.token(client_id=CLIENT, **self.access_claims)
        return httpx.Response(200, json={"access_token": access, "id_token": id_token})


@pytest.fixture
def provider() -> Iterator[SignInProvider]:
    with respx.mock(assert_all_called=False) as router:
        provider = SignInProvider()
        provider.serve(router)
        yield provider


@pytest.fixture
def oidc_settings(settings: Settings, provider: SignInProvider) -> Settings:
    known = Settings(
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        public_url=PUBLIC,
        seed_demo_data=True,
        **SETTINGS,
    )
    return known.model_copy(update={"database_url": settings.database_url})


@pytest.fixture
async def browser(oidc_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(oidc_settings, "https") as client:
        yield client


async def begin(browser: httpx.AsyncClient, provider: SignInProvider) -> dict[str, str]:
    """Go to the provider. Returns what it is asked."""
    answer = await browser.get(BEGIN)
    assert answer.status_code == 303, answer.text
    address = httpx.URL(answer.headers["location"])
    assert str(address).startswith(f"{provider.issuer}/auth?")
    provider.nonce = address.params["nonce"]
    return dict(address.params)


async def come_back(browser: httpx.AsyncClient, **query: str) -> httpx.Response:
    return await browser.get("/console/signed-in", params={"code": "the-code", **query})


async def test_a_person_signs_in_and_is_where_they_were_going(
    browser: httpx.AsyncClient, provider: SignInProvider
) -> None:
    page = await browser.get("/console/sign-in?next=/customers/1")
    assert 'href="/console/sign-in/provider?next=/customers/1"' in page.text.replace("%2F", "/")
    asked = await begin(browser, provider)

    answer = await come_back(browser, state=asked["state"], iss=provider.issuer)

    assert answer.headers["location"] == "/console/customers/1"
    shown = text_of(await browser.get(answer.headers["location"]))
    assert "ann" in shown
    assert "admin" in shown
    assert asked["redirect_uri"] == f"{PUBLIC}/console/signed-in"
    assert asked["scope"] == "openid profile"
    [sent] = provider.asked
    digest = hashlib.sha256(sent["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (challenge, "S256")
    assert (sent["code"], sent["redirect_uri"]) == ("the-code", asked["redirect_uri"])
    credentials = base64.b64decode(sent["authorization"].removeprefix("Basic ")).decode()
    assert credentials == "console:s%2Fecret"


async def test_the_session_ends_with_the_providers_token(
    browser: httpx.AsyncClient, provider: SignInProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await begin(browser, provider)

    answer = await come_back(browser, state=asked["state"])

    [session] = [c for c in answer.headers.get_list("set-cookie") if "__Host-crmsys=" in c]
    age = re.search(r"Max-Age=(\d+)", session)
    assert age is not None
    assert 500 < int(age[1]) <= 600


async def test_an_attempt_belongs_to_the_browser_that_began_it(
    browser: httpx.AsyncClient, provider: SignInProvider
) -> None:
    asked = await begin(browser, provider)
    [cookie] = [one for one in browser.cookies.jar if one.name.endswith("-sign-in")]
    assert cookie.name == "__Host-crmsys-sign-in"
    assert cookie.secure

    refused = await come_back(browser, state="another")
    assert refused.status_code == 401
    assert "another browser" in text_of(refused)
    # A second try has no attempt any more.
    assert (await come_back(browser, state=asked["state"])).status_code == 401
    for value in ("", "nonsense", "W10=", "bnVsbA=="):
        browser.cookies.set("__Host-crmsys-sign-in", value)
        assert (await come_back(browser, state="")).status_code == 401
    assert provider.asked == []


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"nonce": "another"}, "not for this sign-in"),
        ({"nonce": None}, "not for this sign-in"),
        ({"aud": "another"}, "not for this sign-in"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "not for this sign-in"),
        ({"iss": "https://another.example.com"}, "not for this sign-in"),
        ({"exp": 1}, "not for this sign-in"),
        ({"exp": "never"}, "not for this sign-in"),
    ],
)
async def test_an_id_token_for_something_else_signs_nobody_in(
    browser: httpx.AsyncClient, provider: SignInProvider, claims: dict[str, Any], word: str
) -> None:
    provider.id_claims = claims
    asked = await begin(browser, provider)

    answer = await come_back(browser, state=asked["state"])

    assert answer.status_code == 401
    assert word in text_of(answer)
    assert (await browser.get("/console")).status_code == 303


async def test_an_access_token_that_is_not_for_us_signs_nobody_in(
    browser: httpx.AsyncClient, provider: SignInProvider
) -> None:
    provider.access_claims = {"aud": "another-api"}
    asked = await begin(browser, provider)

    answer = await come_back(browser, state=asked["state"])

    assert answer.status_code == 401
    assert "do not accept the provider's token" in text_of(answer)


@pytest.mark.parametrize(
    "query",
    [
        {"iss": "https://another.example.com"},
        {"code": "", "error": "access_denied", "error_description": "<script>"},
    ],
)
async def test_what_the_provider_refuses_signs_nobody_in(
    browser: httpx.AsyncClient, provider: SignInProvider, query: dict[str, str]
) -> None:
    asked = await begin(browser, provider)

    answer = await come_back(browser, state=asked["state"], **query)

    assert answer.status_code == 401
    assert "<script>" not in answer.text
    assert provider.asked == []


async def test_a_provider_that_is_away_is_said(
    browser: httpx.AsyncClient, provider: SignInProvider
) -> None:
    provider.is_away = True
    answer = await browser.get(BEGIN)
    assert answer.status_code == 503
    assert "does not answer as it should" in text_of(answer)

    provider.is_away = False
    asked = await begin(browser, provider)
    provider.is_away = True
    assert (await come_back(browser, state=asked["state"])).status_code == 401


async def test_a_provider_under_another_name_is_refused(
    browser: httpx.AsyncClient, provider: SignInProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SignInProvider,
        "discovery",
        lambda self: {
            "issuer": "https://another.example.com",
            "jwks_uri": "x",
            "authorization_endpoint": "https://another.example.com/auth",
            "token_endpoint": "x",
        },
    )

    assert (await browser.get(BEGIN)).status_code == 503


async def test_what_the_provider_says_of_itself_is_asked_for_again_later(
    browser: httpx.AsyncClient, provider: SignInProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(browser, provider)
    await begin(browser, provider)
    assert provider.looks == 1

    monkeypatch.setattr(oidc, "REFRESH_SECONDS", 0.0)
    await begin(browser, provider)

    assert provider.looks == 2


async def test_signing_in_never_leads_elsewhere(
    browser: httpx.AsyncClient, provider: SignInProvider
) -> None:
    answer = await browser.get("/console/sign-in/provider?next=https://evil.example.com")
    address = httpx.URL(answer.headers["location"])
    provider.nonce = address.params["nonce"]

    done = await come_back(browser, state=address.params["state"])

    assert done.headers["location"] == "/console"


async def test_production_begins_no_sign_in_over_http(oidc_settings: Settings) -> None:
    production = {"environment": "production", "allowed_hosts": ("test",)}
    async with opened(oidc_settings.model_copy(update=production)) as browser:
        assert (await browser.get(BEGIN)).status_code == 403
        assert (await come_back(browser, state="x")).status_code == 403


async def test_without_a_client_there_is_no_such_page(settings: Settings) -> None:
    async with opened(settings) as browser:
        assert (await browser.get(BEGIN)).status_code == 404
        assert (await come_back(browser)).status_code == 404
        assert "company" not in text_of(await browser.get("/console/sign-in"))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"oidc_client_secret": SECRET}, "OIDC_CLIENT_ID"),
        ({"oidc_client_id": CLIENT}, "OIDC_ISSUER and PUBLIC_URL"),
        ({"oidc_client_id": CLIENT, "public_url": PUBLIC}, "OIDC_ISSUER and PUBLIC_URL"),
    ],
)
def test_half_a_client_is_refused(given: dict[str, str], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        Settings(**given)

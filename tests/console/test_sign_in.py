"""Signing in, what a session is, and what ends it."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Connection, text

from console.sessions import key_of, open_session
from console.site import DONE
from crm_api.commands import main
from crm_api.sessions import service
from crm_api.settings import Settings
from crm_api.tokens import known
from crm_api.tokens.schemas import TokenNew
from service_kit.process import clock
from tests.console.conftest import (
    OWN_PAGE,
    admin_calls,
    app_of,
    opened,
    send,
    sign_in,
    text_of,
)

SECRET = "of-this-test-" + "0123456789" * 3


async def test_a_token_signs_in_and_leads_to_where_one_was_going(
    browser: httpx.AsyncClient,
) -> None:
    sent_away = await browser.get("/console/customers?q=jane")
    assert sent_away.headers["location"] == "/console/sign-in?next=%2Fcustomers%3Fq%3Djane"

    answer = await sign_in(browser, token="admin123", after="/customers?q=jane")

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/customers?q=jane")
    assert "Jane Doe" in text_of(await browser.get("/console/customers"))


@pytest.mark.engine("sqlite")
async def test_a_token_that_nobody_knows_is_refused(browser: httpx.AsyncClient) -> None:
    for token in ("wrong", "with space", "ünknown", "x" * 9000):
        answer = await sign_in(browser, token=token)

        assert answer.status_code == 401, token
        assert "set-cookie" not in answer.headers
        assert token not in answer.text


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize("after", ["//evil.test", "https://evil.test", "/\\evil.test", "/\r\nX: y"])
async def test_signing_in_never_leads_elsewhere(browser: httpx.AsyncClient, after: str) -> None:
    answer = await sign_in(browser, after=after)

    assert answer.headers["location"].startswith("/console")


@pytest.mark.engine("sqlite")
async def test_over_http_the_cookie_is_plain_and_scripts_do_not_see_it(
    browser: httpx.AsyncClient,
) -> None:
    cookie = (await sign_in(browser)).headers["set-cookie"]

    name, *attributes = cookie.split("; ")
    assert name.startswith("crmsys=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(attributes)
    assert "Secure" not in attributes
    assert "Domain" not in cookie


@pytest.mark.engine("sqlite")
async def test_over_https_no_other_host_can_set_the_cookie(settings: Settings) -> None:
    async with opened(settings, "https") as browser:
        cookie = (await sign_in(browser)).headers["set-cookie"]

        name, *attributes = cookie.split("; ")
        assert name.startswith("__Host-crmsys=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(attributes)
        assert "Domain" not in cookie
        assert (await browser.get("/console")).status_code == 200


async def test_a_copy_of_the_database_opens_no_session(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)
    cookie = browser.cookies["crmsys"]

    def everything(db: Connection) -> list[object]:
        return [
            value for row in db.execute(text("SELECT * FROM console_sessions")) for value in row
        ]

    stored = await app_of(browser).state.database.read(everything)

    for secret in (cookie, "admin123"):
        assert not any(secret in str(value) for value in stored)
        assert not any(secret.encode() in bytes(v) for v in stored if isinstance(v, bytes))
    session = await _stored(browser, cookie)
    assert open_session("another", session) is None
    opened_session = open_session(cookie, session)
    assert opened_session is not None
    assert opened_session.token == "admin123"
    # What is stored signs nobody in.
    browser.cookies.set("crmsys", session.key.hex())
    assert (await browser.get("/console")).status_code == 303


async def test_a_session_ends_within_five_seconds_of_its_tokens_revocation(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await _issue(browser, "maria", "agent")
    await sign_in(browser, token=issued["token"])
    assert "maria" in text_of(await browser.get("/console"))

    await admin_calls(browser, "DELETE", f"/api/tokens/{issued['id']}")

    assert known.MAX_AGE_SECONDS <= 5.0  # in other processes
    assert (await browser.get("/console")).status_code == 303
    assert await _stored(browser, browser.cookies["crmsys"]) is None


async def test_a_session_is_no_longer_than_its_token_nor_than_twelve_hours(
    browser: httpx.AsyncClient,
) -> None:
    now = datetime.now(UTC)
    short = await _issue(browser, "short", "agent", now + timedelta(hours=1))
    long = await _issue(browser, "long", "agent", now + timedelta(days=9))

    for token, most in ((short, timedelta(hours=1)), (long, timedelta(hours=12))):
        await sign_in(browser, token=token["token"])
        session = await _stored(browser, browser.cookies["crmsys"])
        assert session is not None
        assert most - timedelta(minutes=1) < session.expires_at - now < most + timedelta(minutes=1)


async def test_a_session_that_has_expired_is_gone(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_in(browser)
    later = clock.now() + timedelta(hours=12, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)

    assert (await browser.get("/console")).status_code == 303
    # Whoever signs in next has it deleted.
    await sign_in(browser)
    assert await _count(browser) == 1


async def test_signing_out_ends_this_session_alone(settings: Settings) -> None:
    async with opened(settings) as browser, _second(browser) as other:
        await sign_in(browser)
        await sign_in(other)

        answer = await send(browser, "/console/sign-out")

        assert answer.headers["location"] == "/console/sign-in?done=signed-out"
        assert DONE["signed-out"] in text_of(await browser.get(answer.headers["location"]))
        assert (await browser.get("/console")).status_code == 303
        assert (await other.get("/console")).status_code == 200


async def test_signing_out_everywhere_ends_all_of_a_name(settings: Settings) -> None:
    async with opened(settings) as browser, _second(browser) as other, _second(browser) as agent:
        await sign_in(browser)
        await sign_in(other)
        await sign_in(agent, "agent")

        await send(browser, "/console/sign-out-everywhere")

        assert (await other.get("/console")).status_code == 303
        assert (await agent.get("/console")).status_code == 200


async def test_sessions_are_in_the_audit(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, "agent")
    await send(browser, "/console/sign-out")

    entries = await admin_calls(browser, "GET", "/api/audit?actor=agent")

    assert [(one["action"], one["role"]) for one in entries] == [
        ("session.opened", "agent"),
        ("session.ended", "agent"),
    ]


async def test_a_link_signs_in_once_and_a_preview_does_not_spend_it(
    browser: httpx.AsyncClient,
) -> None:
    code = await _link(browser)
    path = f"/console/link?code={code}"

    for _ in range(3):
        preview = await browser.get(path)
        assert preview.status_code == 200
        assert "Sign in as agent" in text_of(preview)
        assert preview.headers["referrer-policy"] == "no-referrer"
    spent = await send(browser, "/console/link", {"code": code})
    again = await send(browser, "/console/link", {"code": code})

    assert spent.headers["location"] == "/console"
    assert (await browser.get("/console")).status_code == 200
    assert again.status_code == 410
    assert (await browser.get(path)).status_code == 410
    [token] = await admin_calls(browser, "GET", "/api/tokens")
    assert token["name"] == "console-link:maria"
    assert token["role"] == "agent"
    end = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["created_at"])
    assert timedelta(minutes=59) < end <= timedelta(hours=1)


async def test_a_link_is_good_for_ten_minutes(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await _link(browser)
    later = clock.now() + timedelta(minutes=10, seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)

    assert (await browser.get(f"/console/link?code={secret}")).status_code == 410
    assert (await send(browser, "/console/link", {"code": secret})).status_code == 410


async def test_a_links_secret_is_not_in_the_database(browser: httpx.AsyncClient) -> None:
    secret = await _link(browser)

    def everything(db: Connection) -> list[object]:
        return [value for row in db.execute(text("SELECT * FROM console_links")) for value in row]

    stored = await app_of(browser).state.database.read(everything)

    assert stored
    assert not any(secret in str(value) for value in stored)


async def test_the_command_prints_a_link_that_works(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    monkeypatch.setenv("PUBLIC_URL", "https://crm.example.com/")
    # In a thread: the command has a loop of its own.
    import asyncio

    call = ["console-link", "--role", "agent", "--for", "maria"]
    assert await asyncio.to_thread(main, call) == 0

    address = capsys.readouterr().out.strip()
    assert address.startswith("https://crm.example.com/console/link?code=")
    async with opened(settings) as browser:
        code = address.partition("=")[2]
        answer = await send(browser, "/console/link", {"code": code})
        assert answer.headers["location"] == "/console"


@pytest.mark.engine("sqlite")
def test_the_command_refuses_what_gives_no_link(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)

    assert main(["console-link", "--role", "pilot"]) == 2
    assert "role" in capsys.readouterr().err.lower()
    monkeypatch.setenv("CONSOLE", "false")
    assert main(["console-link", "--role", "agent"]) == 2
    assert "CONSOLE" in capsys.readouterr().err


@pytest.mark.engine("sqlite")
async def test_production_signs_nobody_in_over_http(settings: Settings) -> None:
    production = settings.model_copy(
        update={
            "environment": "production",
            "api_tokens": Settings(api_tokens=f"admin:{SECRET}").api_tokens,
            "allowed_hosts": ("test",),
        }
    )
    async with opened(production) as browser:
        assert "https:// only" in text_of(await browser.get("/console/sign-in"))
        secret = await _link(browser)
        assert (await sign_in(browser, token=SECRET)).status_code == 403
        assert (await send(browser, "/console/link", {"code": secret})).status_code == 403

        browser.base_url = httpx.URL("https://test")
        page = await browser.get("/console/sign-in")
        assert "In development" not in text_of(page)
        assert (await sign_in(browser, "admin")).status_code == 422
        assert (await sign_in(browser, token=SECRET)).status_code == 303


@pytest.mark.engine("sqlite")
async def test_failed_attempts_are_limited_by_address(settings: Settings) -> None:
    async with opened(settings) as browser:
        transport = httpx.ASGITransport(app_of(browser), client=("192.0.2.1", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as guesser:
            for _ in range(3):
                assert (await sign_in(guesser)).status_code == 303  # not an attempt that failed
            seen = [(await sign_in(guesser, token=f"guess{n}")).status_code for n in range(11)]
            assert seen == [401] * 10 + [429]
            assert (await sign_in(guesser)).status_code == 429
        assert (await sign_in(browser)).status_code == 303


@pytest.mark.engine("sqlite")
async def test_what_was_typed_outlives_the_session(browser: httpx.AsyncClient) -> None:
    form = {"name": "Ada <b>", "company": "first line\nsecond line"}

    answer = await send(browser, "/console/customers/1/edit", form)

    assert answer.status_code == 401
    assert 'action="/console/customers/1/edit"' in answer.text
    assert 'value="Ada &lt;b&gt;"' in answer.text
    assert "first line\nsecond line</textarea>" in answer.text


@pytest.mark.engine("sqlite")
async def test_a_part_of_a_page_leads_to_signing_in(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/console", headers={"HX-Request": "true"})

    assert (answer.status_code, answer.headers["hx-redirect"]) == (
        401,
        "/console/sign-in?next=%2F",
    )


@pytest.mark.engine("sqlite")
async def test_the_apis_never_read_cookies(browser: httpx.AsyncClient) -> None:
    await sign_in(browser)

    assert (await browser.get("/api/customers/1")).status_code == 401
    assert (await browser.post("/api/customers", json={}, headers=OWN_PAGE)).status_code == 401


async def _issue(
    browser: httpx.AsyncClient, name: str, role: str, end: datetime | None = None
) -> dict[str, str]:
    body = {"name": name, "role": role, "expires_at": end and end.isoformat()}
    issued: dict[str, str] = await admin_calls(browser, "POST", "/api/tokens", json=body)
    return issued


async def _link(browser: httpx.AsyncClient) -> str:
    new = TokenNew(name="console-link:maria", role="agent")
    return str(await app_of(browser).state.database.write(service.make_link, new))


async def _stored(browser: httpx.AsyncClient, cookie: str) -> service.store.Session | None:
    database = app_of(browser).state.database
    found: service.store.Session | None = await database.read(
        service.store.find, key_of(cookie), clock.now()
    )
    return found


async def _count(browser: httpx.AsyncClient) -> int:
    def count(db: Connection) -> int:
        return int(db.execute(text("SELECT count(*) FROM console_sessions")).scalar_one())

    return int(await app_of(browser).state.database.read(count))


def _second(browser: httpx.AsyncClient) -> httpx.AsyncClient:
    """Another browser at the same console."""
    return httpx.AsyncClient(transport=browser._transport, base_url=browser.base_url)

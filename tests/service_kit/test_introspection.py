"""A service that asks the CRM whose token it is: how often, what it believes, and what if not.

The service is Inventory, the CRM is the real one; only the network between them is the tests' own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from crm_api.app import create_app as create_crm
from crm_api.settings import Settings as CrmSettings
from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.process import clock, rates
from service_kit.web import introspection, minting, problems
from service_kit.web.introspection import BELIEVED_SECONDS
from service_kit.web.rate_limits import FAILURES
from tests.conftest import bearer, copy_of_template, running
from tests.identity import INTROSPECTION, CrmLink, issue, revoke

LIST = "/package-requests"
WORKS, REFUSED, MAY_NOT, TOO_MANY, UNAVAILABLE = 200, 401, 403, 429, 503
ALMOST = BELIEVED_SECONDS - 0.001


class Time:
    """The time as the code under test sees it; it passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    passing = Time()
    monkeypatch.setattr(introspection, "time", passing)
    monkeypatch.setattr(rates, "time", passing)
    monkeypatch.setattr(problems, "_logged_at", {})
    return passing


@pytest.fixture(scope="module")
async def crm(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    url = copy_of_template(request, "sqlite", "crm_api")[1]
    settings = CrmSettings(database_url=url, seed_demo_data=False)
    async with running(create_crm(settings), token="admin123") as client:
        yield client


@pytest.fixture
def link(crm: httpx.AsyncClient) -> Iterator[CrmLink]:
    link = CrmLink(crm.app)  # type: ignore[attr-defined]
    with respx.mock(assert_all_called=False) as router:
        router.post(INTROSPECTION).mock(side_effect=link)
        yield link


@pytest.fixture(scope="module")
def read_settings(request: pytest.FixtureRequest, one_tls_context: None) -> Settings:
    url = copy_of_template(request, "sqlite", "inventory_api")[1]
    return Settings(database_url=url, seed_demo_data=False, token_introspection_url=INTROSPECTION)


@pytest.fixture
async def inventory(read_settings: Settings, link: CrmLink) -> AsyncIterator[httpx.AsyncClient]:
    """An Inventory that has asked nothing yet."""
    async with running(create_app(read_settings)) as client:
        yield client


def from_address(inventory: httpx.AsyncClient, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(inventory.app, client=(address, 1))  # type: ignore[attr-defined]
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def status(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get(LIST, headers=bearer(token))).status_code


async def test_one_question_serves_all_requests_of_five_seconds(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    token = (await issue(crm, "clerk"))["token"]
    asked = []
    for seconds in (0.0, ALMOST, 0.001, ALMOST, 0.001):
        time.now += seconds
        assert {await status(inventory, token) for _ in range(3)} == {WORKS}
        asked.append(link.count())

    assert asked == [1, 0, 1, 0, 1]


async def test_an_answer_is_as_old_as_its_question(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    def take_a_second() -> None:
        time.now += 1

    link.on_answer = take_a_second
    token = (await issue(crm, "clerk"))["token"]
    asked = []
    for seconds in (0.0, ALMOST - 1, 0.001):
        time.now += seconds
        assert await status(inventory, token) == WORKS
        asked.append(link.count())

    assert asked == [1, 0, 1]


async def test_refusals_are_believed_as_long(
    inventory: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    token = minting.mint()
    asked = []
    for seconds in (0.0, ALMOST, 0.001):
        time.now += seconds
        assert {await status(inventory, token) for _ in range(3)} == {REFUSED}
        asked.append(link.count())

    assert asked == [1, 0, 1]


async def test_a_revoked_token_is_refused_when_what_was_believed_is_over(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    issued = await issue(crm, "clerk")
    assert await status(inventory, issued["token"]) == WORKS
    await revoke(crm, issued)

    time.now += ALMOST
    assert await status(inventory, issued["token"]) == WORKS
    time.now += 0.001
    assert await status(inventory, issued["token"]) == REFUSED


async def test_a_token_that_was_revoked_before_the_crm_went_down_does_not_outlive_it(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    known, refused = await issue(crm, "clerk"), await issue(crm, "clerk")
    assert await status(inventory, known["token"]) == WORKS
    for issued in (known, refused):
        await revoke(crm, issued)
    assert await status(inventory, refused["token"]) == REFUSED
    link.fault = httpx.ConnectError("refused")

    time.now += ALMOST
    assert await status(inventory, refused["token"]) == REFUSED, "it is known to be revoked"
    time.now += 0.001
    assert await status(inventory, known["token"]) == UNAVAILABLE
    assert await status(inventory, refused["token"]) == UNAVAILABLE


async def test_known_tokens_go_on_while_the_crm_is_down_and_all_do_when_it_is_back(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    known, unknown = [(await issue(crm, "clerk"))["token"] for _ in range(2)]
    assert await status(inventory, known) == WORKS
    link.fault = httpx.ConnectError("refused")

    time.now += ALMOST
    assert [await status(inventory, token) for token in (known, unknown)] == [WORKS, UNAVAILABLE]
    time.now += 0.001
    assert [await status(inventory, token) for token in (known, unknown)] == [UNAVAILABLE] * 2
    link.fault = None
    assert [await status(inventory, token) for token in (known, unknown)] == [WORKS] * 2


def answers(status_code: int, **body: Any) -> httpx.Response:
    return httpx.Response(status_code, **body)


ACTIVE = {"active": True, "username": "x", "role": "clerk", "scope": "stock:read", "sub": "token:1"}
FAULTS = {
    "nobody listens": httpx.ConnectError("refused"),
    "the connection ends": httpx.RemoteProtocolError("closed"),
    "no answer comes": httpx.ReadTimeout("late"),
    "a bug": answers(500),
    "its database is down": answers(503),
    "too many questions": answers(429),
    "another service": answers(404),
    "a redirect": answers(307, headers={"location": "http://elsewhere/"}),
    "a proxy's page": answers(200, html="<h1>Welcome</h1>"),
    "nothing": answers(200),
    "no object": answers(200, json=[]),
    "another object": answers(200, json={"ok": True}),
    "nobody's token": answers(200, json={"active": True, "role": "admin", "scope": "stock:read"}),
    "no such role": answers(200, json=ACTIVE | {"role": ""}),
    "no such time": answers(200, json=ACTIVE | {"exp": -1}),
    "another time": answers(200, json=ACTIVE | {"exp": "soon"}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_crm_that_does_not_answer_makes_it_a_503_and_the_log_says_why(
    inventory: httpx.AsyncClient,
    link: CrmLink,
    caplog: pytest.LogCaptureFixture,
    fault: Exception | httpx.Response,
) -> None:
    caplog.set_level("DEBUG")
    link.fault = fault
    token = minting.mint()

    answer = await inventory.get(LIST, headers=bearer(token))

    assert answer.status_code == UNAVAILABLE
    assert answer.json()["type"] == "urn:problem:identity-unavailable"
    assert answer.headers["retry-after"] == "1"
    [line] = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert line.startswith("Requests are answered 503: Nobody can tell at the moment whose token")
    assert INTROSPECTION in line
    assert token[10:] not in caplog.text + answer.text


@pytest.mark.parametrize(
    ("own_token", "told"), [("nobody's", "status 401"), ("viewer123", "status 403")]
)
async def test_the_log_names_the_setting_when_the_crm_refuses_the_service_itself(
    read_settings: Settings,
    link: CrmLink,
    caplog: pytest.LogCaptureFixture,
    own_token: str,
    told: str,
) -> None:
    changed = read_settings.model_copy(update={"token_introspection_token": SecretStr(own_token)})
    async with running(create_app(changed)) as inventory:
        assert await status(inventory, minting.mint()) == UNAVAILABLE

    [line] = [one for one in caplog.messages if INTROSPECTION in one]
    assert line.endswith(f"{told}; check TOKEN_INTROSPECTION_TOKEN")
    assert own_token not in caplog.text


async def test_a_question_that_hangs_is_given_up(
    inventory: httpx.AsyncClient, link: CrmLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "ASK_SECONDS", 0.01)
    link.open.clear()

    answer = await inventory.get(LIST, headers=bearer(minting.mint()))

    assert answer.status_code == UNAVAILABLE
    assert answer.json()["type"] == "urn:problem:identity-unavailable"


async def test_one_question_is_on_its_way_for_all_who_show_the_same_token(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink
) -> None:
    token = (await issue(crm, "clerk"))["token"]
    link.open.clear()
    callers = [asyncio.create_task(status(inventory, token)) for _ in range(5)]
    await link.arrived(1)

    callers[0].cancel()  # whose request began the question
    await asyncio.gather(callers[0], return_exceptions=True)
    link.open.set()

    assert await asyncio.gather(*callers[1:], return_exceptions=True) == [WORKS] * 4
    assert await status(inventory, token) == WORKS
    assert link.count() == 1


async def test_all_who_wait_for_a_question_that_fails_are_told_so(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    token = minting.mint()
    link.fault = httpx.ConnectError("refused")
    link.open.clear()
    callers = [asyncio.create_task(status(inventory, token)) for _ in range(3)]
    await link.arrived(1)
    link.open.set()

    assert await asyncio.gather(*callers) == [UNAVAILABLE] * 3
    assert link.count() == 1


async def test_a_stop_leaves_no_question_behind(read_settings: Settings, link: CrmLink) -> None:
    link.open.clear()
    async with running(create_app(read_settings)) as inventory:
        caller = asyncio.create_task(status(inventory, minting.mint()))
        await link.arrived(1)

    await asyncio.gather(caller, return_exceptions=True)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "introspection"] == []


async def test_nobody_is_asked_about_what_can_be_no_token(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    token = minting.mint()
    wrong = [token[:-1], token + "0", token[4:], token.upper(), token[:-6] + "000000", "clerk"]

    assert [await status(inventory, one) for one in wrong] == [REFUSED] * len(wrong)
    assert link.count() == 0


async def test_whoever_invents_tokens_may_ask_sixty_times_and_harms_nobody_else(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    known, unknown = [(await issue(crm, "clerk"))["token"] for _ in range(2)]
    async with (
        from_address(inventory, "192.0.2.1") as guessing,
        from_address(inventory, "192.0.2.2") as elsewhere,
    ):
        assert await status(guessing, known) == WORKS
        time.now += BELIEVED_SECONDS
        invented = [minting.mint() for _ in range(FAILURES.number)]
        assert [await status(guessing, token) for token in invented] == [REFUSED] * 60
        link.count()
        refused = await guessing.get(LIST, headers=bearer(minting.mint()))

        assert refused.status_code == TOO_MANY
        assert refused.json()["type"] == "urn:problem:too-many-requests"
        assert refused.headers["retry-after"] == "1"
        assert await status(guessing, invented[0]) == REFUSED, "that is known"
        assert await status(guessing, unknown) == TOO_MANY
        assert link.count() == 0
        assert await status(guessing, known) == WORKS, "though it has to be asked about again"
        assert await status(elsewhere, unknown) == WORKS
        time.now += BELIEVED_SECONDS
        assert [await status(guessing, minting.mint()) for _ in range(6)] == [REFUSED] * 5 + [429]


async def test_who_invents_many_at_once_may_ask_no_more_often(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    link.open.clear()
    async with from_address(inventory, "192.0.2.1") as guessing:
        callers = [asyncio.create_task(status(guessing, minting.mint())) for _ in range(70)]
        await link.arrived(FAILURES.number)
        link.open.set()
        found = sorted(await asyncio.gather(*callers))

    assert found == [REFUSED] * 60 + [TOO_MANY] * 10
    assert link.count() == FAILURES.number


async def test_who_hangs_up_has_asked_all_the_same(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    async with from_address(inventory, "192.0.2.1") as guessing:
        for _ in range(FAILURES.number):
            link.open.clear()
            caller = asyncio.create_task(status(guessing, minting.mint()))
            await link.arrived(1)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            link.open.set()

        assert await status(guessing, minting.mint()) == TOO_MANY


@pytest.mark.parametrize("are_valid", [True, False], ids=["valid", "unknown while it is down"])
async def test_only_tokens_that_are_invalid_count(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, are_valid: bool
) -> None:
    tokens = [(await issue(crm, "clerk"))["token"] for _ in range(4)]
    async with from_address(inventory, "192.0.2.1") as office:
        for _ in range(FAILURES.number - 2):
            assert await status(office, minting.mint()) == REFUSED
        if not are_valid:
            link.fault = httpx.ConnectError("refused")
            assert {await status(office, token) for token in tokens} == {UNAVAILABLE}
            link.fault = None

        assert [await status(office, token) for token in tokens] == [WORKS] * 4


async def test_what_is_remembered_is_bounded_and_refusals_drive_out_no_token(
    inventory: httpx.AsyncClient,
    crm: httpx.AsyncClient,
    link: CrmLink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(introspection, "REMEMBERED", 2)
    first, second, third = [(await issue(crm, "clerk"))["token"] for _ in range(3)]
    invented = [minting.mint() for _ in range(3)]
    for token in (first, second, *invented):
        await status(inventory, token)
    link.count()

    assert [await status(inventory, token) for token in (first, second)] == [WORKS] * 2
    assert [await status(inventory, token) for token in invented[1:]] == [REFUSED] * 2
    assert link.count() == 0
    assert await status(inventory, invented[0]) == REFUSED
    assert link.count() == 1, "it made room for the third"
    assert [await status(inventory, token) for token in (third, second)] == [WORKS] * 2
    assert link.count() == 1
    assert await status(inventory, first) == WORKS
    assert link.count() == 1, "it made room for the third"


async def test_configured_tokens_need_no_crm(inventory: httpx.AsyncClient, link: CrmLink) -> None:
    link.fault = httpx.ConnectError("refused")

    for role in ("viewer", "agent", "clerk", "integration", "admin"):
        assert await status(inventory, f"{role}123") == WORKS
    assert link.count() == 0


async def test_a_token_is_refused_from_the_instant_it_expires(
    inventory: httpx.AsyncClient,
    crm: httpx.AsyncClient,
    link: CrmLink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    issued = await issue(crm, "clerk", expires_at=clock.rfc3339(now + timedelta(hours=1)))
    found = []
    for seconds in (0, 3599, 3600):
        at = now + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "now", lambda at=at: at)
        found.append((await status(inventory, issued["token"]), link.count()))

    assert found == [(WORKS, 1), (WORKS, 0), (REFUSED, 0)]


async def test_a_token_may_last_to_the_end_of_the_calendar(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink
) -> None:
    last = (await issue(crm, "clerk", expires_at="9999-12-31T23:59:59.999999Z"))["token"]
    assert await status(inventory, last) == WORKS

    link.fault = answers(200, json=ACTIVE | {"scope": "packages:read", "exp": 10**20})
    assert await status(inventory, minting.mint()) == WORKS


async def test_a_role_that_is_unknown_here_may_do_nothing(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    link.fault = answers(200, json=ACTIVE | {"role": "auditor", "scope": "packages:read"})
    token = minting.mint()

    refused = await inventory.get(LIST, headers=bearer(token))
    me = (await inventory.get("/me", headers=bearer(token))).json()

    assert refused.status_code == MAY_NOT
    assert refused.json()["detail"] == "The role auditor does not have the scope packages:read."
    assert (me["role"], me["scopes"]) == ("auditor", [])


async def test_the_scopes_of_an_answer_are_never_more_than_its_role_has(
    inventory: httpx.AsyncClient, link: CrmLink
) -> None:
    link.fault = answers(
        200, json=ACTIVE | {"role": "viewer", "scope": "packages:read packages:write stock:repair"}
    )
    token = minting.mint()

    assert await status(inventory, token) == WORKS
    for path in (LIST, "/verify/repair"):
        assert (await inventory.post(path, headers=bearer(token))).status_code == MAY_NOT
    me = (await inventory.get("/me", headers=bearer(token))).json()
    assert me["scopes"] == ["packages:read"]

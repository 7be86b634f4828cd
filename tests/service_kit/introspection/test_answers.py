"""A service that asks the CRM whose token it is: how often, what it believes, and what if not."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.process import clock
from service_kit.web import introspection, minting
from tests.conftest import bearer, running
from tests.identity import INTROSPECTION, CrmLink, issue, revoke
from tests.service_kit.introspection.conftest import (
    ALMOST,
    LIST,
    MAY_NOT,
    REFUSED,
    UNAVAILABLE,
    WORKS,
    Time,
    status,
)


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
    time.now += introspection.PAUSE_SECONDS
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


async def test_after_a_failure_nobody_waits_for_the_next_one(
    inventory: httpx.AsyncClient, crm: httpx.AsyncClient, link: CrmLink, time: Time
) -> None:
    issued = await issue(crm, "viewer")
    link.fault = httpx.ConnectError("nobody is there")
    assert await status(inventory, issued["token"]) == UNAVAILABLE
    asked = link.asked
    time.now += introspection.PAUSE_SECONDS - 0.001
    assert await status(inventory, issued["token"]) == UNAVAILABLE
    assert link.asked == asked
    link.fault = None
    time.now += 0.001

    assert await status(inventory, issued["token"]) == WORKS

"""Whoever invents tokens reaches neither the CRM nor what is remembered of those in use."""

import asyncio

import httpx
import pytest

from service_kit.web import introspection, minting
from service_kit.web.introspection import BELIEVED_SECONDS
from service_kit.web.rate_limits import FAILURES
from tests.conftest import bearer
from tests.identity import CrmLink, issue
from tests.service_kit.introspection.conftest import (
    LIST,
    REFUSED,
    TOO_MANY,
    UNAVAILABLE,
    WORKS,
    Time,
    from_address,
    status,
)


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
    inventory: httpx.AsyncClient,
    crm: httpx.AsyncClient,
    link: CrmLink,
    monkeypatch: pytest.MonkeyPatch,
    are_valid: bool,
) -> None:
    monkeypatch.setattr(introspection, "PAUSE_SECONDS", 0.0)
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

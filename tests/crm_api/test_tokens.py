"""Tokens that an admin issues: shown once, stored as a hash, refused as soon as they are over."""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from crm_api.app import create_app
from crm_api.demo import SEEDER
from crm_api.settings import Settings
from crm_api.tokens import known, store
from crm_api.tokens.schemas import TokenOut
from crm_api.transfer.importing import IMPORTER
from service_kit.database import DatabaseUnavailable
from service_kit.process import clock
from service_kit.web import minting
from tests.conftest import bearer, running
from tests.crm_api.conftest import (
    all_there_is,
    app_of,
    change_database,
    keeps_its_word,
    numbered,
)
from tests.statements import before_each_statement

TOKENS = "/api/tokens"
WORKS, REFUSED = 200, 401
NUMBERS = itertools.count()


async def issue(crm: httpx.AsyncClient, role: str = "viewer", **more: Any) -> dict[str, Any]:
    name = f"shop-{next(NUMBERS)}"
    answer = await crm.post(TOKENS, json={"name": name, "role": role, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def use(crm: httpx.AsyncClient, issued: dict[str, Any]) -> int:
    return (await crm.get("/api/customers", headers=bearer(issued["token"]))).status_code


async def listed(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await crm.get(TOKENS)).json())


@pytest.fixture
def asked() -> Iterator[Callable[[], int]]:
    """Count the statements about tokens that were sent since the last look, in this process."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if "FROM tokens" in statement or statement.startswith("UPDATE tokens"):
            seen.append(statement)

    def since() -> int:
        number = len(seen)
        seen.clear()
        return number

    with before_each_statement(note):
        yield since


@pytest.fixture
def _slowly_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_AGE_SECONDS", 3600.0)
    monkeypatch.setattr(known, "GATHER_SECONDS", 3600.0)


@pytest.fixture
def _forgotten_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(known, "GATHER_SECONDS", 0.0)


async def test_a_token_is_shown_once_and_stored_nowhere(crm: httpx.AsyncClient) -> None:
    answer = await crm.post(
        TOKENS,
        json={"name": "web-shop", "role": "viewer", "expires_at": "2999-01-01T01:00:00+01:00"},
        headers={"Idempotency-Key": "1"},
    )
    issued = answer.json()
    token = issued.pop("token")

    assert re.fullmatch(r"crm_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", token)
    assert answer.headers["cache-control"] == "no-store"
    assert issued["expires_at"] == "2999-01-01T00:00:00Z"
    assert token.startswith(issued["prefix"])
    assert len(issued["prefix"]) == 10
    assert await listed(crm) == [issued]
    assert token[10:].lower() not in await all_there_is(crm)


async def test_a_token_may_do_what_its_role_may_and_its_name_is_written_down(
    crm: httpx.AsyncClient,
) -> None:
    shop = await issue(crm, "agent", name="web-shop")
    till = await issue(crm, "viewer", name="till")

    created = await crm.post("/api/customers", json=numbered(1), headers=bearer(shop["token"]))
    refused = await crm.post("/api/customers", json=numbered(2), headers=bearer(till["token"]))

    assert (created.status_code, refused.status_code) == (201, 403)
    [entry] = (await crm.get("/api/audit", params={"actor": "web-shop"})).json()
    assert (entry["action"], entry["subject"]) == ("customer.created", created.json()["uid"])


async def test_issuing_and_revoking_are_in_the_audit(crm: httpx.AsyncClient) -> None:
    issued = await issue(crm)
    for _ in range(2):
        await crm.delete(f"{TOKENS}/{issued['id']}")

    found = (await crm.get("/api/audit")).json()

    assert [(one["action"], one["actor"], one["subject"]) for one in found] == [
        ("token.issued", "admin", str(issued["id"])),
        ("token.revoked", "admin", str(issued["id"])),
    ]


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_a_revoked_token_is_refused_at_once_where_it_was_revoked(
    crm: httpx.AsyncClient,
) -> None:
    issued, other = await issue(crm), await issue(crm)
    before = [await use(crm, one) for one in (issued, other)]

    answers = [await crm.delete(f"{TOKENS}/{issued['id']}") for _ in range(2)]
    after = [await use(crm, one) for one in (issued, other)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert (before, after) == ([WORKS, WORKS], [REFUSED, WORKS])
    [revoked, still_good] = await listed(crm)
    assert revoked["revoked_at"] is not None
    assert still_good["revoked_at"] is None
    assert (await crm.delete(f"{TOKENS}/99")).status_code == 404


@pytest.mark.usefixtures("_forgotten_at_once")
@pytest.mark.parametrize(
    "change",
    [
        "revoked_at = '2020-01-01 00:00:00.000000'",
        "expires_at = '2020-01-01 00:00:00.000000'",
        "role = 'a later role'",
    ],
)
async def test_what_another_process_has_changed_counts_here_too(
    crm: httpx.AsyncClient, change: str
) -> None:
    issued = await issue(crm)
    assert await use(crm, issued) == WORKS

    await change_database(crm, f"UPDATE tokens SET {change}")  # noqa: S608

    assert await use(crm, issued) == REFUSED


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_a_remembered_token_is_refused_from_the_instant_it_expires(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    issued = await issue(crm, expires_at=clock.rfc3339(now + timedelta(hours=1)))
    answers = []
    for seconds in (0, 3599, 3600, 3601):
        later = now + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "now", lambda later=later: later)
        answers.append(await use(crm, issued))

    assert answers == [WORKS, WORKS, REFUSED, REFUSED]


async def test_a_token_that_would_expire_at_once_is_not_issued(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    new = {"name": "shop", "role": "viewer", "expires_at": clock.rfc3339(now)}

    assert (await crm.post(TOKENS, json=new)).status_code == 422
    assert await listed(crm) == []


async def test_a_token_is_as_old_as_the_look_that_found_it_began(
    crm: httpx.AsyncClient, asked: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def find_slowly(db: Connection, digest: bytes) -> TokenOut | None:
        nonlocal now
        found = find(db, digest)
        now += known.MAX_AGE_SECONDS
        return found

    find = store.find
    monkeypatch.setattr(store, "find", find_slowly)
    monkeypatch.setattr(known, "GATHER_SECONDS", 3600.0)
    monkeypatch.setattr(known, "time", SimpleNamespace(monotonic=lambda: now))
    issued = await issue(crm)
    asked()

    assert [await use(crm, issued), asked()] == [WORKS, 1]
    assert [await use(crm, issued), asked()] == [WORKS, 1]


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_a_token_in_use_costs_no_look_at_the_database(
    crm: httpx.AsyncClient, asked: Callable[[], int]
) -> None:
    issued = await issue(crm)
    asked()

    assert {await use(crm, issued) for _ in range(20)} == {WORKS}

    assert asked() == 1


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_a_guess_is_refused_before_the_database_is_asked(
    crm: httpx.AsyncClient, asked: Callable[[], int]
) -> None:
    good = (await issue(crm))["token"]
    asked()
    guesses = [good[:-1] + ("a" if good[-1] != "a" else "b"), good[:-1], good + "a", good[4:]]

    assert {await use(crm, {"token": guess}) for guess in guesses} == {REFUSED}
    assert asked() == 0
    assert await use(crm, {"token": minting.mint()}) == REFUSED
    assert asked() == 1, "only the database knows that this one was never issued"


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_more_tokens_than_are_remembered_all_work(
    crm: httpx.AsyncClient, asked: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "REMEMBERED", 2)
    issued = [await issue(crm) for _ in range(3)]
    asked()

    assert {await use(crm, one) for _ in range(3) for one in issued} == {WORKS}
    assert asked() == 9, "with room for two of three in turn none is ever found"
    assert {await use(crm, issued[-1]) for _ in range(5)} == {WORKS}
    for _ in range(5):
        assert await use(crm, {"token": minting.mint()}) == REFUSED
    assert asked() == 5
    assert await use(crm, issued[-1]) == WORKS
    assert asked() == 0, "unknown tokens drive nothing out"


async def last_used(crm: httpx.AsyncClient) -> str | None:
    [token] = await listed(crm)
    found: str | None = token["last_used_at"]
    return found


@pytest.mark.usefixtures("_forgotten_at_once")
async def test_the_last_use_is_written_down_about_once_a_minute(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    seen = []
    issued = await issue(crm)
    for seconds in (0, 30, 59, 61, 90):
        at = now + timedelta(seconds=seconds)
        monkeypatch.setattr(clock, "now", lambda at=at: at)
        assert await use(crm, issued) == WORKS
        await settled()
        seen.append(await last_used(crm))

    first, second = clock.rfc3339(now), clock.rfc3339(now + timedelta(seconds=61))
    assert seen == [first, first, first, second, second]


async def test_a_use_that_is_written_late_leaves_a_later_one(crm: httpx.AsyncClient) -> None:
    issued = await issue(crm)
    early = clock.now()
    late = early + timedelta(minutes=5)

    for at in (late, early):
        await app_of(crm).state.database.write(store.note_uses, {issued["id"]: at})

    assert await last_used(crm) == clock.rfc3339(late)


async def settled() -> None:
    """Wait until no use of a token is on its way to the database."""
    for task in asyncio.all_tasks():
        if task.get_name() == "token-uses":
            await task


@pytest.mark.usefixtures("_slowly_forgotten")
async def test_uses_that_are_not_written_yet_are_when_the_service_stops(
    settings: Settings,
) -> None:
    async with running(create_app(settings), token="admin123") as crm:
        assert await use(crm, await issue(crm)) == WORKS
        assert await last_used(crm) is None
    async with running(create_app(settings), token="admin123") as crm:
        assert await last_used(crm) is not None


@pytest.mark.usefixtures("_forgotten_at_once")
@pytest.mark.parametrize(
    ("error", "logged"),
    [(DatabaseUnavailable("No room."), "WARNING"), (ZeroDivisionError(), "ERROR")],
    ids=["the database is away", "a bug"],
)
async def test_nothing_comes_of_an_error_in_writing_down_a_use(
    crm: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    logged: str,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    issued = await issue(crm)
    with monkeypatch.context() as broken:
        broken.setattr(store, "note_uses", fail)
        assert await use(crm, issued) == WORKS
        await settled()
    assert [(one.levelname, await last_used(crm)) for one in caplog.records] == [(logged, None)]
    assert await use(crm, issued) == WORKS
    await settled()

    assert await last_used(crm) is not None


async def test_the_same_request_again_issues_nothing_and_can_not_show_the_token(
    crm: httpx.AsyncClient,
) -> None:
    new = {"name": "web-shop", "role": "viewer"}
    key = {"Idempotency-Key": "once"}

    first = await crm.post(TOKENS, json=new, headers=key)
    again = await crm.post(TOKENS, json=new, headers=key)
    other = await crm.post(TOKENS, json={**new, "role": "admin"}, headers=key)

    assert [answer.status_code for answer in (first, again, other)] == [201, 201, 422]
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {**first.json(), "token": None}
    assert len(await listed(crm)) == 1


async def test_callers_racing_with_one_key_are_shown_one_token(crm: httpx.AsyncClient) -> None:
    new = {"name": "web-shop", "role": "viewer"}
    answers = await asyncio.gather(
        *(crm.post(TOKENS, json=new, headers={"Idempotency-Key": "race"}) for _ in range(8))
    )

    shown = [answer.json().get("token") for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len([token for token in shown if token]) == 1
    assert len(await listed(crm)) == 1


async def test_a_token_that_replaces_another_does_not_answer_for_its_keys(
    crm: httpx.AsyncClient,
) -> None:
    old, new = await issue(crm, "agent"), await issue(crm, "agent")
    key = {"Idempotency-Key": "across"}

    with_old = await crm.post(
        "/api/customers", json=numbered(1), headers=bearer(old["token"]) | key
    )
    await crm.delete(f"{TOKENS}/{old['id']}")
    with_new = await crm.post(
        "/api/customers", json=numbered(1), headers=bearer(new["token"]) | key
    )

    assert (with_old.status_code, with_new.status_code) == (201, 409)
    assert with_new.json()["type"] == "urn:problem:email-taken"


async def test_a_name_is_one_tokens_alone_for_ever(crm: httpx.AsyncClient) -> None:
    first = await issue(crm, name="web-shop")
    same = {"name": " web-shop", "role": "agent"}
    while_valid = await crm.post(TOKENS, json=same)
    await crm.delete(f"{TOKENS}/{first['id']}")
    once_revoked = await crm.post(TOKENS, json=same)
    other = await issue(crm, name="web-shop-2")

    for answer in (while_valid, once_revoked):
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:problem:token-name-taken"
        assert "web-shop" not in answer.text
    assert [one["id"] for one in await listed(crm)] == [first["id"], other["id"]]
    entries = (await crm.get("/api/audit", params={"action": "token.issued"})).json()
    assert [entry["subject"] for entry in entries] == [str(first["id"]), str(other["id"])]


async def test_of_many_who_want_a_name_at_once_one_gets_it(crm: httpx.AsyncClient) -> None:
    wanted = [crm.post(TOKENS, json={"name": "web-shop", "role": "agent"}) for _ in range(8)]

    answers = await asyncio.gather(*wanted)

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert len(await listed(crm)) == 1


async def test_one_way_to_write_a_name_is_as_good_as_another(crm: httpx.AsyncClient) -> None:
    composed = await issue(crm, name="caf\u00e9")
    answer = await crm.post(TOKENS, json={"name": "cafe\u0301", "role": "agent"})

    assert composed["name"] == "caf\u00e9"
    assert answer.status_code == 409


@pytest.mark.parametrize(
    "change",
    [
        {"role": "king"},
        {"role": "anonymous"},
        {"role": ""},
        {"role": None},
        {"role": ["admin"]},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"name": "Admin"},
        {"name": "integration"},
        {"name": "command-line"},
        {"name": SEEDER.name},
        {"name": IMPORTER.name},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"expires_at": "soon"},
        {"expires_at": 10**30},
        {"scopes": ["tokens:manage"]},
        {"token": "crm_mine"},
    ],
    ids=ascii,
)
async def test_a_token_that_makes_no_sense_is_refused(
    shared_crm: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    before = await listed(shared_crm)

    answer = await shared_crm.post(TOKENS, json={"name": "shop", "role": "viewer", **change})

    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)
    assert await listed(shared_crm) == before


async def test_pages_lead_to_every_token_in_both_orders(crm: httpx.AsyncClient) -> None:
    ids = [(await issue(crm))["id"] for _ in range(5)]
    found = []
    for order in ("id", "-id"):
        answer = await crm.get(TOKENS, params={"limit": 2, "sort": order})
        found.append(answer.json())
        while "next" in answer.links:
            answer = await crm.get(answer.links["next"]["url"])
            found[-1] += answer.json()

    assert [[token["id"] for token in one] for one in found] == [ids, ids[::-1]]


async def test_tokens_are_in_no_log_line(
    crm: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    issued = await issue(crm)
    await use(crm, issued)
    await crm.delete(f"{TOKENS}/{issued['id']}")
    await use(crm, issued)

    assert f"The token with the id {issued['id']} is revoked" in caplog.text
    assert issued["token"][10:] not in caplog.text


async def test_an_admin_by_an_issued_token_may_issue_and_revoke_even_its_own(
    settings: Settings,
) -> None:
    async with running(create_app(settings)) as anyone:
        crm = keeps_its_word(anyone)
        demo = bearer("admin123")
        new = {"name": "maria", "role": "admin"}
        own = (await crm.post(TOKENS, json=new, headers=demo)).json()
        headers = bearer(own["token"])
        answers = [
            await crm.post(TOKENS, json={"name": "x", "role": "viewer"}, headers=headers),
            await crm.delete(f"{TOKENS}/{own['id']}", headers=headers),
            await crm.delete(f"{TOKENS}/{own['id']}", headers=headers),
            await crm.get(TOKENS, headers=demo),
        ]

    assert [answer.status_code for answer in answers] == [201, 204, 401, 200]


def test_tokens_differ_and_carry_256_bits() -> None:
    minted = {minting.mint() for _ in range(1000)}

    assert len(minted) == 1000
    assert all(minting.is_wellformed(token) for token in minted)
    assert 62**43 > 2**256


@given(st.integers(4, 52), st.sampled_from("059AZaz"))
def test_no_token_with_a_wrong_letter_passes_for_one(place: int, letter: str) -> None:
    token = minting.mint()
    wrong = token[:place] + letter + token[place + 1 :]

    assert minting.is_wellformed(wrong) == (wrong == token)


@pytest.mark.parametrize(
    "text", ["", "crm_", "crm_" + "0" * 49, "CRM_" + "0" * 49, "é" * 53, "crm_" + "٣" * 49]
)
def test_other_text_is_no_token(text: str) -> None:
    assert not minting.is_wellformed(text)

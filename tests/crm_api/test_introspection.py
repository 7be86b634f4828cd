"""Whose token is it? RFC 7662, for the services that accept the CRM's tokens."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from crm_api.tokens import known
from service_kit.process import clock
from service_kit.process.rates import Rate
from service_kit.web import minting
from tests.conftest import bearer, running
from tests.crm_api.conftest import change_from_outside, keeps_its_word
from tests.identity import TOKENS, issue, revoke

INTROSPECT = f"{TOKENS}/introspect"
INACTIVE = {"active": False}


async def ask(crm: httpx.AsyncClient, token: str) -> dict[str, Any]:
    answer = await crm.post(INTROSPECT, data={"token": token}, headers=bearer("integration123"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_token_is_told_with_what_it_may_do_on_the_whole_platform(
    crm: httpx.AsyncClient,
) -> None:
    until = "2999-01-01T00:00:00Z"
    clerk = await issue(crm, "clerk", name="stock-room")
    till = await issue(crm, "viewer", name="till", scopes=["stock:read"], expires_at=until)

    assert await ask(crm, clerk["token"]) == {
        "active": True,
        "username": "stock-room",
        "role": "clerk",
        "scope": "packages:read packages:write stock:read stock:write",
        "token_type": "Bearer",
        "sub": f"token:{clerk['id']}",
    }
    assert await ask(crm, till["token"]) == {
        "active": True,
        "username": "till",
        "role": "viewer",
        "scope": "stock:read",
        "token_type": "Bearer",
        "sub": f"token:{till['id']}",
        "exp": int(datetime(2999, 1, 1, tzinfo=UTC).timestamp()),
    }


@pytest.mark.engine("sqlite")
async def test_only_tokens_that_were_issued_are_told_about(settings: Settings) -> None:
    configured = minting.mint()
    tokens = [("admin", "an-admin"), ("viewer", configured), ("integration", "integration123")]
    changed = Settings.model_validate({**settings.model_dump(), "api_tokens": tokens})
    async with running(create_app(changed), token="an-admin") as anyone:
        crm = keeps_its_word(anyone)
        assert (await crm.get("/me", headers=bearer(configured))).json()["role"] == "viewer"
        found = [
            await ask(crm, token)
            for token in (configured, "an-admin", "integration123", minting.mint(), "crm_0", "é\0")
        ]

    assert found == [INACTIVE] * 6


async def test_what_is_over_is_told_at_once_whatever_is_remembered(
    crm: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "MAX_AGE_SECONDS", 3600.0)
    by_another, here, expired = [
        await issue(crm, "viewer", expires_at="2999-01-01T00:00:00Z") for _ in range(3)
    ]
    for one in (by_another, here, expired):
        assert (await crm.get("/me", headers=bearer(one["token"]))).status_code == 200
        assert (await ask(crm, one["token"]))["active"] is True

    past = "'2020-01-01 00:00:00.000000'"
    change_from_outside(
        settings.database_url,
        f"UPDATE tokens SET revoked_at = {past} WHERE id = {by_another['id']}",  # noqa: S608
        f"UPDATE tokens SET expires_at = {past} WHERE id = {expired['id']}",  # noqa: S608
    )
    await revoke(crm, here)

    for one in (by_another, here, expired):
        assert await ask(crm, one["token"]) == INACTIVE


FORM = "application/x-www-form-urlencoded"


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (FORM, b"token=crm_0", 200),
        (f"{FORM}; charset=UTF-8", b"token=crm_0&token_type_hint=access_token", 200),
        (FORM.upper(), b"token=crm_0", 200),
        (FORM, b"token=%00", 200),
        (FORM, b"", 422),
        (FORM, b"token=", 422),
        (FORM, b"other=crm_0", 422),
        (FORM, b"token=crm_0&token=crm_1", 422),
        (FORM, b"token=crm_0&token=crm_0", 422),
        (FORM, b"token=\xff", 422),
        (FORM, b"token=crm_0" + b"&a=1" * 10, 422),
        (FORM, b"token=" + b"x" * 2**20, 413),
        ("application/json", b'{"token": "crm_0"}', 415),
        ("multipart/form-data", b"token=crm_0", 415),
        ("text/plain", b"token=crm_0", 415),
        (None, b"token=crm_0", 415),
    ],
)
async def test_a_question_is_a_form_with_one_token(
    shared_crm: httpx.AsyncClient, kind: str | None, body: bytes, status: int
) -> None:
    headers = {"content-type": kind} if kind else {}

    answer = await shared_crm.post(INTROSPECT, content=body, headers=headers)

    assert answer.status_code == status
    if status == 200:
        assert answer.json() == INACTIVE
    if status == 422:
        assert answer.json()["errors"] == [{"loc": ["body", "token"], "msg": "must be there once"}]


@pytest.mark.parametrize(("field", "most"), [("token", 8_192), ("token_type_hint", 100)])
async def test_a_field_of_the_form_has_at_most_so_many_characters(
    shared_crm: httpx.AsyncClient, field: str, most: int
) -> None:
    longest = {"token": "crm_0", field: "x" * most}
    answer = await shared_crm.post(INTROSPECT, data=longest)
    refusal = await shared_crm.post(INTROSPECT, data={**longest, field: "x" * (most + 1)})

    assert (answer.status_code, answer.json()) == (200, INACTIVE)
    assert refusal.status_code == 422
    assert refusal.json()["errors"] == [
        {"loc": ["body", field], "msg": f"must have at most {most} characters"}
    ]


@pytest.mark.engine("sqlite")
async def test_a_token_in_the_address_is_refused(shared_crm: httpx.AsyncClient) -> None:
    """Addresses are in the logs of proxies."""
    answer = await shared_crm.post(f"{INTROSPECT}?token=crm_0", data={"token": "crm_0"})

    assert answer.status_code == 422


@pytest.mark.engine("sqlite")
async def test_a_token_that_was_asked_about_is_in_no_log_line_and_was_used(
    crm: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(known, "GATHER_SECONDS", 0.0)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    issued = await issue(crm, "clerk")

    await ask(crm, issued["token"])
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "token-uses"))
    [listed] = (await crm.get(TOKENS)).json()
    await revoke(crm, issued)
    await ask(crm, issued["token"])

    assert listed["last_used_at"] == clock.rfc3339(now)
    assert f"The token with the id {issued['id']} is revoked" in caplog.text
    assert issued["token"][10:] not in caplog.text


@pytest.mark.engine("sqlite")
async def test_a_question_changes_nothing_that_the_audit_tells_of(crm: httpx.AsyncClient) -> None:
    issued = await issue(crm, "clerk")
    before = (await crm.get("/api/audit")).json()

    await ask(crm, issued["token"])

    assert (await crm.get("/api/audit")).json() == before


@pytest.mark.engine("sqlite")
async def test_a_service_may_ask_however_often_and_nobody_else(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit": Rate(1, 3600)})
    async with running(create_app(limited)) as crm:
        keeps_its_word(crm)
        asked = {"data": {"token": "crm_0"}}
        answers = {
            role: [
                (await crm.post(INTROSPECT, headers=bearer(f"{role}123"), **asked)).status_code
                for _ in range(4)
            ]
            for role in ("integration", "viewer")
        }

    assert answers == {"integration": [200] * 4, "viewer": [403, 403, 429, 429]}

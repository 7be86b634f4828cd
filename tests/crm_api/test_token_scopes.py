"""Tokens that may do a part of what their role may, and nobody grants more than he has."""

from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import change_database, keeps_its_word, run
from tests.identity import TOKENS, issue

# Ask on one engine: how scopes are stored is asked on both by the first test alone.
SQLITE = pytest.mark.engine("sqlite")


async def test_a_token_keeps_the_scopes_that_it_was_issued_with(crm: httpx.AsyncClient) -> None:
    narrow = await issue(crm, "agent", scopes=["tickets:read", "customers:read", "tickets:read"])
    whole = await issue(crm, "agent")
    listed = (await crm.get(TOKENS)).json()
    me = [
        (await crm.get("/me", headers=bearer(one["token"]))).json()["scopes"]
        for one in (narrow, whole)
    ]

    assert narrow["scopes"] == ["customers:read", "tickets:read"], "each once"
    assert whole["scopes"] is None, "those of later releases too"
    assert [one["scopes"] for one in listed] == [["customers:read", "tickets:read"], None]
    assert me[0] == ["customers:read", "tickets:read"]
    assert len(me[1]) == 5


@SQLITE
@pytest.mark.parametrize(
    "scopes",
    [
        ["customers:delete"],
        ["customers:read", "customers:delete"],
        ["customers"],
        ["*"],
        [""],
        ["customers:read tickets:read"],
        ["x" * 41],
        [None],
        [],
        "customers:read",
        {},
        ["customers:read"] * 99,
    ],
    ids=str,
)
async def test_scopes_that_the_role_lacks_are_refused(
    shared_crm: httpx.AsyncClient, scopes: Any
) -> None:
    new = {"name": "web-shop", "role": "agent", "scopes": scopes}

    answer = await shared_crm.post(TOKENS, json=new)

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:problem:invalid-request")
    assert answer.json()["errors"]


@SQLITE
async def test_nobody_grants_more_than_he_has(crm: httpx.AsyncClient) -> None:
    """An admin's token that is narrow would else make itself a whole one."""
    own = ["tokens:manage", "customers:read", "packages:read"]
    narrow = bearer((await issue(crm, "admin", scopes=own))["token"])
    asked: list[tuple[dict[str, Any], int]] = [
        ({"role": "admin", "scopes": own}, 201),
        ({"role": "admin", "scopes": ["tokens:manage"]}, 201),
        ({"role": "viewer", "scopes": ["customers:read"]}, 201),
        ({"role": "admin"}, 403),
        ({"role": "admin", "scopes": [*own, "audit:read"]}, 403),
        ({"role": "viewer"}, 403),
        ({"role": "clerk", "scopes": ["stock:read"]}, 403),
    ]
    for number, (new, status) in enumerate(asked):
        answer = await crm.post(TOKENS, json={"name": f"n{number}", **new}, headers=narrow)

        assert answer.status_code == status, new
        if status == 403:
            assert answer.json()["type"] == "urn:problem:scope-missing"
            assert answer.json()["detail"].startswith("You can't grant what you may not do: ")
            assert "tokens:manage" not in answer.json()["detail"]
    assert len((await crm.get(TOKENS)).json()) == 4


@SQLITE
async def test_a_scope_that_its_role_has_lost_is_no_longer_the_tokens(
    crm: httpx.AsyncClient,
) -> None:
    issued = await issue(crm, "viewer", scopes=["customers:read"])
    await change_database(
        crm, """UPDATE tokens SET scopes = '["customers:read", "customers:write", "unheard-of"]'"""
    )

    me = (await crm.get("/me", headers=bearer(issued["token"]))).json()

    assert me["scopes"] == ["customers:read"]


@SQLITE
@pytest.mark.usefixtures("log_as_before")
async def test_the_command_issues_narrow_tokens_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    arguments = ("create-token", "web-shop", "--role", "agent", "--scopes")

    refused = [await run(*arguments, scopes) for scopes in ("", "customers:delete", ",")]
    said = capsys.readouterr()
    assert await run(*arguments, "tickets:read, customers:read") == 0

    assert refused == [2, 2, 2]
    assert said.out == ""
    assert "the role agent does not have customers:delete" in said.err
    token = capsys.readouterr().out.strip()
    async with running(create_app(settings), token=token) as anyone:
        crm = keeps_its_word(anyone)
        assert (await crm.get("/me")).json()["scopes"] == ["customers:read", "tickets:read"]
        assert (await crm.post("/api/tickets", json={})).status_code == 403


@SQLITE
async def test_a_token_outlives_no_token_that_it_is_issued_with(crm: httpx.AsyncClient) -> None:
    end = "2098-12-31T00:00:00Z"
    manager = await issue(crm, "admin", expires_at=end)
    headers = bearer(manager["token"])

    async def ask(name: str, **more: str) -> int:
        new = {"name": name, "role": "viewer", **more}
        return (await crm.post(TOKENS, json=new, headers=headers)).status_code

    assert await ask("for-ever") == 422
    assert await ask("longer", expires_at="2098-12-31T00:00:01Z") == 422
    assert await ask("as-long", expires_at=end) == 201

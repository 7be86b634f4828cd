"""`create-token`: a token on the command line, for when nobody has one yet."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import run

pytestmark = pytest.mark.usefixtures("log_as_before")


async def test_it_prints_a_token_that_works_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)

    code = await run("create-token", "web-shop", "--role", "agent", "--expires-in", "30")

    out, err = capsys.readouterr()
    assert code == 0
    assert re.fullmatch(r"crm_\w{49}\n", out)
    assert out.strip() not in err
    async with running(create_app(settings), token="admin123") as crm:
        used = await crm.get("/api/customers", headers=bearer(out.strip()))
        [token] = (await crm.get("/api/tokens")).json()
        [entry] = (await crm.get("/api/audit")).json()
    assert used.status_code == 200
    assert (token["name"], token["role"]) == ("web-shop", "agent")
    good_for = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < good_for <= timedelta(days=30)
    assert (entry["action"], entry["actor"]) == ("token.issued", "command-line")
    assert entry["request_id"]


async def test_it_works_on_a_database_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/new/crm.db"
    monkeypatch.setenv("DATABASE_URL", url)

    assert await run("create-token", "maria", "--role", "admin") == 0

    out = capsys.readouterr().out
    settings = Settings(database_url=url, environment="production", admin_token="of-this-test")
    async with running(create_app(settings), token=out.strip()) as crm:
        [token] = (await crm.get("/api/tokens")).json()
    assert (token["name"], token["expires_at"]) == ("maria", None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["web-shop"], "--role"),
        (["--role", "agent"], "NAME"),
        (["web-shop", "--role", "king"], "ROLE"),
        (["", "--role", "agent"], "NAME"),
        (["admin", "--role", "viewer"], "NAME"),
        (["web-shop", "--role", "agent", "--expires-in", "0"], "--expires-in"),
        (["web-shop", "--role", "agent", "--expires-in", "9" * 30], "--expires-in"),
        (["web-shop", "--role", "agent", "--expires-in", "soon"], "--expires-in"),
        (["web-shop", "--role", "agent", "--expires-at", "soon"], "EXPIRES_AT"),
        (["web-shop", "--role", "agent", "--expires-at", "2999-01-01T00:00:00"], "EXPIRES_AT"),
        (["web-shop", "--role", "agent", "--expires-at", "2020-01-01T00:00:00Z"], "expired"),
        (
            [
                *("web-shop", "--role", "agent"),
                *("--expires-in", "1", "--expires-at", "2999-01-01T00:00:00Z"),
            ],
            "--expires-at",
        ),
    ],
    ids=str,
)
async def test_a_call_that_makes_no_sense_is_refused_with_its_reason(
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/crm.db")

    assert await run("create-token", *arguments) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert reason in said.err


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"ENVIRONMENT": "production"}, "API_TOKENS or ADMIN_TOKEN"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/crm"}, "database"),
        ({"DATABASE_URL": "sqlite:////proc/no/such/folder.db"}, "database"),
    ],
    ids=str,
)
async def test_an_environment_that_no_service_starts_in_is_refused(
    environment: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert await run("create-token", "web-shop", "--role", "agent") == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert reason in said.err

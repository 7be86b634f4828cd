"""What the console takes from its environment where it runs by itself."""

from typing import Any

import pytest
from sqlalchemy import inspect

from console.__main__ import SERVICE
from console.standalone.settings import Settings
from console.standalone.tables import metadata
from service_kit.database.sqlite.connect import sqlite_engine
from service_kit.process import cli
from service_kit.process.environment import Refused

PRODUCTION = {"ENVIRONMENT": "production", "ALLOWED_HOSTS": "console.example.com"}


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return Settings.from_environment()


def test_by_default_it_looks_for_a_crm_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch)

    assert found.crm_api_url == "http://localhost:8000"
    assert (found.inventory_api_url, found.integration_api_url) == (None, None)
    assert found.port == 8003


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"ENVIRONMENT": "production"}, "set ALLOWED_HOSTS"),
        ({"API_TOKENS": "admin:secret"}, "none of"),
        ({"ADMIN_TOKEN": "secret"}, "unset ADMIN_TOKEN"),
        ({"ANONYMOUS_SCOPES": "customers:read"}, "no scope"),
        ({"OIDC_ISSUER": "https://id.example.com"}, "go together"),
        ({"OIDC_CLIENT_ID": "console"}, "go together"),
        ({"OIDC_CLIENT_SECRET": "secret"}, "says nothing without OIDC_CLIENT_ID"),
        ({"OIDC_AUDIENCE": "crmsys"}, "the services check tokens"),
        ({"OIDC_SCOPES": "profile"}, "openid must be among them"),
        ({"CRM_API_URL": "crm"}, "CRM_API_URL"),
    ],
)
def test_what_would_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        read(monkeypatch, **given)


def test_people_sign_in_at_a_provider_with_three_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "OIDC_ISSUER": "https://id.example.com",
        "OIDC_CLIENT_ID": "console",
        "PUBLIC_URL": "https://console.example.com",
    }

    app = SERVICE.app(read(monkeypatch, **PRODUCTION, **given))

    config = app.state.console.site.config
    assert config.oidc.redirect_uri == "https://console.example.com/console/signed-in"
    assert config.demo_tokens == {}, "production has no buttons"


def test_migrations_make_the_table_that_it_uses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'console.db'}")

    assert cli.main(SERVICE, ["migrate"]) == 0

    engine = sqlite_engine(tmp_path / "console.db")
    [table] = metadata.tables.values()
    with engine.connect() as db:
        columns = inspect(db).get_columns(table.name)
        indexes = inspect(db).get_indexes(table.name)
    engine.dispose()
    assert [column["name"] for column in columns] == [column.name for column in table.columns]
    assert {index["name"] for index in indexes} >= {index.name for index in table.indexes}

"""What the integration refuses to start with, and that it says which variable to change."""

from pathlib import Path

import pytest

from integration_service.routes.definitions import WELCOME
from integration_service.routes.file import default_text
from integration_service.settings import Settings
from service_kit.process.cli import Service
from service_kit.process.environment import Refused
from tests.integration_service.routes.writing import WEBHOOK

SERVICE = Service("integration_service", 8002)
PRODUCTION = {
    "ENVIRONMENT": "production",
    "API_TOKENS": "admin:own-admin-token",
    "CRM_API_TOKEN": "crm_own",
    "INVENTORY_API_TOKEN": "inventory-own",
}


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = SERVICE.settings()
    assert isinstance(settings, Settings)
    return settings


def test_in_development_nothing_needs_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)

    assert settings.port == 8002
    assert settings.crm_api_url == "http://localhost:8000"
    assert settings.inventory_api_url == "http://localhost:8001"
    assert settings.crm_token == settings.inventory_token == "integration123"
    assert settings.polling_interval_seconds == settings.long_poll_seconds == 10
    assert settings.start_from == "beginning"
    assert {role for role, _ in settings.tokens()} == {"admin", "agent", "viewer"}


def test_production_starts_with_tokens_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **PRODUCTION)

    assert settings.crm_token == "crm_own"
    assert settings.inventory_token == "inventory-own"
    assert settings.tokens() == [("admin", "own-admin-token")]


@pytest.mark.parametrize("variable", ["CRM_API_TOKEN", "INVENTORY_API_TOKEN"])
@pytest.mark.parametrize(
    "value", ["", "integration123", "admin123", "agent123", "Admin123", "INTEGRATION123"]
)
def test_production_does_not_start_without_a_token_for_each_link(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(Refused, match=f"set {variable}: production starts with no demo token"):
        read(monkeypatch, **(PRODUCTION | {variable: value}))


def test_production_names_each_short_token(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **(PRODUCTION | {"CRM_API_TOKEN": "x" * 32}))

    [told] = settings.deprecations()
    assert told.startswith(
        "Tokens with fewer than 32 characters: API_TOKENS (entry 1, admin), INVENTORY_API_TOKEN."
    )


@pytest.mark.parametrize("tokens", ["", "admin:admin123", "viewer:viewer123"])
def test_production_does_not_start_with_demo_tokens_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tokens: str
) -> None:
    with pytest.raises(Refused, match="API_TOKENS"):
        read(monkeypatch, **(PRODUCTION | {"API_TOKENS": tokens}))


@pytest.mark.parametrize("variable", ["CRM_API_TOKEN", "INVENTORY_API_TOKEN"])
@pytest.mark.parametrize("value", ["s3cr3t token", "s3cr3t\n", "s3cr3t,more", "sécret", "=s3cr3t"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(Refused, match=variable) as refused:
        read(monkeypatch, **{variable: value})

    assert "cret" not in str(refused.value)


BAD_ADDRESSES = [
    "localhost:8000",
    "ftp://localhost",
    "http:",
    "http://",
    "http:///path",
    "http://:8000",
    "http://localhost:many",
    "http://localhost:0",
    "http://localhost:65536",
    "http://localhost:99999",
    "http://local host",
    "http://localhost\t",
    "http://[::1",
    "http://user:s3cr3t@localhost",
    "http://localhost/?token=s3cr3t",
    "http://localhost/#top",
    "http://café",
    "//localhost",
    "None",
]


@pytest.mark.parametrize("variable", ["CRM_API_URL", "INVENTORY_API_URL"])
@pytest.mark.parametrize("value", BAD_ADDRESSES, ids=ascii)
def test_an_address_that_can_not_be_called_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(Refused, match=f"{variable}: it must be an http:// or https://") as refused:
        read(monkeypatch, **{variable: value})

    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "http://crm_api:8000",
        "https://crm.example.com",
        "http://127.0.0.1:1",
        "http://[::1]:65535",
        "https://example.com/behind/a-path/",
    ],
)
def test_an_address_may_have_a_port_and_a_path(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert read(monkeypatch, CRM_API_URL=value).crm_api_url == value.rstrip("/")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POLLING_INTERVAL_SECONDS", "0"),
        ("POLLING_INTERVAL_SECONDS", "-1"),
        ("POLLING_INTERVAL_SECONDS", "3601"),
        ("POLLING_INTERVAL_SECONDS", "nan"),
        ("POLLING_INTERVAL_SECONDS", "inf"),
        ("POLLING_INTERVAL_SECONDS", "often"),
        ("LONG_POLL_SECONDS", "-1"),
        ("LONG_POLL_SECONDS", "26"),
        ("LONG_POLL_SECONDS", "nan"),
        ("START_FROM", "today"),
        ("DELIVERY_CONCURRENCY", "1"),
        ("DELIVERY_CONCURRENCY", "65"),
        ("BATCH_SIZE", "0"),
        ("BATCH_SIZE", "501"),
        ("LEASE_SECONDS", "0.5"),
        ("DATABASE_URL", "mysql://localhost/ledger"),
        ("API_TOKENS", "clerk:x"),
        ("ANONYMOUS_SCOPES", "customers:create"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    with pytest.raises(Refused, match=variable):
        read(monkeypatch, **{variable: value})


def test_without_a_file_there_is_the_built_in_route(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).read_routes() == (WELCOME,)


def test_a_file_of_routes_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(default_text() + WEBHOOK)

    settings = read(monkeypatch, ROUTES_FILE=str(path), WEB_SHOP_SECRET="x")

    assert [route.name for route in settings.read_routes()] == ["welcome-package", "web-shop"]


def test_a_file_of_routes_with_mistakes_is_refused_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(WEBHOOK.replace("name", "nmae") + "start_from = 1.5\n")

    with pytest.raises(Refused) as refused:
        read(monkeypatch, ROUTES_FILE=str(path))

    heading, *told = str(refused.value).splitlines()
    assert heading == "ROUTES_FILE can't be used:"
    assert [line.partition(": ")[0] for line in told] == [f"{path}:{n}" for n in (1, 2, 7)]


def test_a_secret_that_a_route_names_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(WEBHOOK)
    monkeypatch.setenv("ROUTES_FILE", str(path))

    with pytest.raises(Refused, match=f"{path}:6: route web-shop: secret: WEB_SHOP_SECRET is not"):
        Settings.from_environment(tmp_path)

    (tmp_path / "web_shop_secret").write_text("x")
    Settings.from_environment(tmp_path)


def test_where_routes_start_is_said_in_one_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(default_text())

    with pytest.raises(Refused, match="START_FROM is the built-in route's: unset it"):
        read(monkeypatch, ROUTES_FILE=str(path), START_FROM="now")


def test_authorities_that_are_not_there_are_refused_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "no-such.pem"
    read(monkeypatch, SSL_CERT_FILE=str(path))

    with pytest.raises(Refused, match=f"SSL_CERT_FILE: {path} can't be read: No such file"):
        read(monkeypatch, CRM_API_URL="https://crm.example.com")

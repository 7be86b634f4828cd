"""Every setting of .env.example, written into `.env`, is what a service of Compose has."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.make_secrets import new_certificate
from tests.conftest import ROOT
from tests.images.engine import attempt, run

PROJECT = "crmsys-test-settings"
COMPOSE = ["docker", "compose", "-p", PROJECT]
SERVICES = ["crm_api", "inventory_api", "integration_service"]
TOKEN = "a-token-of-this-test-with-forty-letters-1"
# Other than the defaults, where there is another.
VALUES = {
    "ENVIRONMENT": "development",
    "WORKERS": "2",
    "LOG_LEVEL": "DEBUG",
    "LOG_FORMAT": "json",
    "DATABASE_URL": "postgresql://crm@pool.example.com/crm",
    "DATABASE_POOL_SIZE": "7",
    "DATABASE_DIRECT_URL": "postgresql://crm@db.example.com/crm",
    "SNAPSHOTS": "1",
    "RETENTION_SNAPSHOTS_DAYS": "30",
    "RETENTION_AUDIT_DAYS": "31",
    "API_TOKENS": f"admin:{TOKEN}",
    "ADMIN_TOKEN": f"{TOKEN}2",
    "ANONYMOUS_SCOPES": "audit:read",
    "ALLOWED_HOSTS": "desk.example.com",
    "OIDC_ISSUER": "https://sign-in.example.com",
    "OIDC_AUDIENCE": "crmsys",
    "OIDC_ROLE_CLAIM": "groups",
    "OIDC_ROLES": "staff=viewer",
    "CORS_ORIGINS": "https://app.example.com",
    "RATE_LIMIT": "600/minute",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example.com:4318",
    "FORWARDED_ALLOW_IPS": "192.0.2.1",
    "CA_FILE": "ca.pem",
    "SEED_DEMO_DATA": "false",
    "AUDIT_READS": "true",
    "TOKEN_INTROSPECTION_URL": "http://crm.example.com/api/tokens/introspect",
    "TOKEN_INTROSPECTION_TOKEN": f"{TOKEN}3",
    "SLA_TARGETS": "urgent=2h/5h,high=4h/1d,normal=8h/3d,low=1d/7d",
    "CSV_FILE_PATH": "customers.csv",
    "IMPORT_MAX_BYTES": "2048",
    "RETENTION_FEED_DAYS": "32",
    "CONSOLE": "false",
    "INTEGRATION_API_URL": "http://integration.example.com",
    "PUBLIC_URL": "https://crm.example.com",
    "OIDC_CLIENT_ID": "console",
    "OIDC_CLIENT_SECRET": f"{TOKEN}4",
    "OIDC_SCOPES": "openid",
    "CRM_API_URL": "http://crm.example.com",
    "CRM_API_TOKEN": f"{TOKEN}5",
    "INVENTORY_API_URL": "http://inventory.example.com",
    "INVENTORY_API_TOKEN": f"{TOKEN}6",
    "POLLING_INTERVAL_SECONDS": "3",
    "LONG_POLL_SECONDS": "4",
    "START_FROM": "beginning",
    "ROUTES_FILE": "routes.toml",
    "WEBHOOK_ALLOW_PRIVATE": "true",
    "DELIVERY_CONCURRENCY": "3",
    "RETENTION_ATTEMPTS_DAYS": "33",
    "BATCH_SIZE": "50",
    "LEASE_SECONDS": "20",
    "RECONCILE_INTERVAL_SECONDS": "60",
}
# As under `make run`: the address of the container is its own, and CRM_PORT is this machine's port.
OWN = {"HOST", "PORT"}
# Loads the settings, and shows what they were made of; and the start of each file that one names.
LOOK = """
import json, os, sys
from importlib import import_module
from pathlib import Path
settings = import_module(sys.argv[1] + ".settings").Settings
found = settings.from_environment()
given = {name.upper(): os.environ.get(name.upper()) for name in settings.model_fields}
files = {name: Path(given[name]).read_text() for name in sys.argv[2:] if given.get(name)}
print(json.dumps([given, files]))
"""
FILES = ("CA_FILE", "CSV_FILE_PATH", "ROUTES_FILE")


@pytest.fixture(scope="module")
def root(clone: Path) -> Iterator[Path]:
    lines = [f"{name}={value}" for name, value in VALUES.items()]
    (clone / ".env").write_text("\n".join(lines))
    (clone / "ca.pem").write_text(new_certificate("DNS:example.com")["tls_ca"])
    (clone / "customers.csv").write_text("name,email\nJane Doe,jane@example.com\n")
    default = [sys.executable, "-m", "integration_service", "routes", "default"]
    (clone / "routes.toml").write_bytes(subprocess.check_output(default, cwd=ROOT))
    try:
        yield clone
    finally:
        run(*COMPOSE, "down", "--volumes", "--remove-orphans", cwd=clone)
        for name in (".env", "ca.pem", "customers.csv", "routes.toml"):
            (clone / name).unlink()


def test_the_values_are_of_every_setting_there_is() -> None:
    named = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert set(VALUES) == named - OWN


@pytest.mark.parametrize("service", SERVICES)
def test_each_reaches_the_service_that_has_it(root: Path, service: str) -> None:
    once = ["run", "--build", "--rm", "--no-deps", "-T", service]
    told = run(*COMPOSE, *once, "python", "-c", LOOK, service, *FILES, cwd=root, seconds=500)
    given, files = json.loads(told.splitlines()[-1])

    for name in OWN:
        given.pop(name)
    hosts = given.pop("ALLOWED_HOSTS").split(",")
    assert hosts[-2:] == [service, VALUES["ALLOWED_HOSTS"]]
    for name, text in files.items():
        assert text == (root / VALUES[name]).read_text()
        given.pop(name)
    assert given == {name: VALUES[name] for name in given}


def test_a_file_is_imported_from_standard_input_and_by_its_variable(root: Path) -> None:
    command = ["run", "--rm", "--no-deps", "-T", "crm_api", "sh", "-c"]
    crm = "python -m crm_api"
    both = f"{crm} migrate && {crm} import-customers - && {crm} import-customers"
    told = run(
        *COMPOSE,
        *(*command, both),
        cwd=root,
        stdin="name,email\nJohn Smith,john@example.com\n",
        LOG_FORMAT="text",
        DATABASE_URL="sqlite:///data/other.db",
        DATABASE_DIRECT_URL="",
    )

    assert [line[:10] for line in told.splitlines() if "already there" in line] == [
        "1 created,"
    ] * 2


def test_a_profile_that_leaves_the_services_on_their_files_is_refused(root: Path) -> None:
    done = attempt(*COMPOSE, "--profile", "postgres", "up", "--no-color", cwd=root)

    assert done.returncode != 0
    assert '"set-COMPOSE_PROFILES-to-postgres" didn\'t complete successfully' in done.stderr
    assert "leaves the services on SQLite: set COMPOSE_PROFILES=postgres" in done.stderr
    assert run(*COMPOSE, "ps", "--quiet", cwd=root) == ""

"""What a service has not loaded when it has started and answered: it would cost time and memory."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

# What sends traces, migrates a schema, speaks to PostgreSQL; and the ORM.
UNUSED = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "google.protobuf",
    "requests",
    "urllib3",
    "alembic",
    "asyncpg",
    "service_kit.database.postgres.database",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm",
)
SERVE = """
import asyncio, sys
import httpx
from service_kit.process.cli import Service

name, *paths = sys.argv[1:]
service = Service(name, 0)
settings = service.settings()
service.migrations().upgrade(settings.database_url)
app = service.app(settings)

async def serve():
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        for path in paths:
            assert (await client.get("http://test" + path, headers=headers)).status_code == 200

asyncio.run(serve())
print(*sys.modules)
"""


def modules_after(script: str, *arguments: str, **variables: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={"PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


@pytest.fixture
def loaded_by(service: str, new_database: Callable[[str], str]) -> Callable[..., set[str]]:
    """Start a service on an empty database and ask it. Returns which of UNUSED are loaded."""
    url = new_database(service)
    return lambda *paths: modules_after(SERVE, service, *paths, DATABASE_URL=url) & set(UNUSED)


# What a service loads itself, it loads on either engine.
@pytest.mark.long
@pytest.mark.parametrize(
    ("engine", "service"),
    [
        ("sqlite", "crm_api"),
        ("sqlite", "inventory_api"),
        ("sqlite", "integration_service"),
        ("postgresql", "crm_api"),
    ],
    indirect=["engine"],
)
def test_what_a_start_and_an_answer_do_not_need(
    loaded_by: Callable[..., set[str]], engine: str
) -> None:
    postgresql = {
        "asyncpg",
        "service_kit.database.postgres.database",
        "sqlalchemy.dialects.postgresql",
        "sqlalchemy.orm",  # SQLAlchemy's asyncio extension comes with it
    }
    needed = postgresql if engine == "postgresql" else set()
    assert loaded_by("/health/ready", "/openapi.json") == needed

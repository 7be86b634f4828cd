"""What a service has not loaded when it has started and answered: it would cost time and memory."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What sends traces, migrates a schema, speaks to PostgreSQL, writes metrics.
UNUSED = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "google.protobuf",
    "requests",
    "urllib3",
    "alembic",
    "asyncpg",
    "service_kit.database.postgres",
    "prometheus_client",
)
SERVE = """
import asyncio, sys
import httpx
from service_kit.commands import Service

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


@pytest.fixture(params=["crm_api", "inventory_api", "integration_service"])
def loaded_by(
    request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Callable[[str], Path]
) -> Callable[..., set[str]]:
    """Start a service on a migrated SQLite file and ask it. Returns which of UNUSED are loaded."""
    shutil.copy(sqlite_template(request.param), tmp_path / "own.db")

    def loaded(*paths: str) -> set[str]:
        ended = subprocess.run(
            [sys.executable, "-c", SERVE, request.param, *paths],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "DATABASE_URL": "sqlite:///own.db"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return set(UNUSED) & set(ended.stdout.split())

    return loaded


def test_what_a_start_on_sqlite_and_an_answer_do_not_need(
    loaded_by: Callable[..., set[str]],
) -> None:
    assert loaded_by("/health/ready", "/openapi.json") == set()


def test_what_writes_metrics_is_loaded_when_they_are_asked_for(
    loaded_by: Callable[..., set[str]],
) -> None:
    assert loaded_by("/health/ready", "/metrics") == {"prometheus_client"}

"""What Inventory deletes when it is old; the rows themselves are tested with the kit."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Connection, text

from inventory_api.commands import main
from tests.inventory_api.conftest import app_of, request_package

pytestmark = pytest.mark.usefixtures("log_as_before")


async def test_old_entries_of_the_audit_go_and_packages_stay(
    inventory: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await request_package(inventory)
    entries = (await inventory.get("/audit")).json()
    packages = (await inventory.get("/package-requests")).json()
    at = datetime.now(UTC) - timedelta(days=366)
    aged = f"UPDATE audit_entries SET at = '{at:%Y-%m-%d %H:%M:%S.%f}' WHERE id = 1"  # noqa: S608

    def age(db: Connection) -> None:
        db.execute(text(aged))

    await app_of(inventory).state.database.write(age)
    monkeypatch.setenv("DATABASE_URL", app_of(inventory).state.settings.database_url)
    capsys.readouterr()

    assert await asyncio.to_thread(main, ["prune"]) == 0

    assert "audit entries: 1 deleted\nstored answers: 0 deleted\n" in capsys.readouterr().out
    assert (await inventory.get("/audit")).json() == entries[1:]
    assert (await inventory.get("/package-requests")).json() == packages

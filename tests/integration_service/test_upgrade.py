"""A ledger of an older version: its erasures, which only blanked names, are applied once more."""

import shutil
from pathlib import Path

import pytest

from integration_service.settings import Settings
from service_kit.database import open_database
from service_kit.database.migrations import Migrations
from tests.conftest import SERVICES, NewDatabase
from tests.crm_api.conftest import change_from_outside
from tests.integration_service.conftest import FakeClock, Integration
from tests.integration_service.doubles import CrmDouble, InventoryDouble

DELIVERY = (
    "INSERT INTO deliveries (customer_uid, sequence, state, attempt_count, next_attempt_at,"
    " down_seconds_before, created_at, updated_at, dismissed_at)"
    " VALUES ('{uid}', 1, '{state}', 0, {due}, 0, {at}, {at}, {dismissed})"
)
ERASURE = "INSERT INTO erasures (customer_uid, created_at, done_at) VALUES ('{uid}', {at}, {done})"


@pytest.fixture
def upgraded(engine: str, new_database: NewDatabase, tmp_path: Path) -> str:
    """Give the URL of a ledger that was made and filled by an older version."""
    url = f"sqlite:///{tmp_path}/old.db"
    if engine == "postgresql":
        url = new_database("integration_service")
        change_from_outside(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    older = tmp_path / "migrations"
    older.mkdir()
    for path in SERVICES["integration_service"].migrations().folder.glob("000[1-7]_*.py"):
        shutil.copy(path, older)
    Migrations("integration_service", older).upgrade(url)
    noon = "'2026-01-05 12:00:00.000000'"
    at = noon if engine == "sqlite" else f"TIMESTAMP WITH TIME ZONE {noon}"
    none = "NULL"
    change_from_outside(
        url,
        *[
            DELIVERY.format(uid=uid, state=state, due=due, at=at, dismissed=dismissed)
            for uid, state, due, dismissed in (
                ("done", "delivered", none, none),
                ("waits", "pending", at, none),
                ("late", "delivered", none, none),
                ("ann", "pending", at, none),
                ("bob", "skipped", none, none),
                ("cid", "skipped", none, at),
            )
        ],
        *[
            ERASURE.format(uid=uid, at=at, done=done)
            for uid, done in (("done", at), ("waits", none), ("late", none))
        ],
    )

    SERVICES["integration_service"].migrations().upgrade(url)
    return url


async def test_its_erasures_are_applied_again_and_nothing_more_is_sent(
    upgraded: str, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    database = open_database(upgraded)
    await database.open()
    settings = Settings(
        database_url=upgraded, crm_api_url="http://crm", inventory_api_url="http://inventory"
    )
    integration = await Integration(settings, database, clock).start()
    await integration.work()
    await integration.erase()
    rows = await integration.rows()
    await integration.die()
    await database.close()
    assert inventory.batches == [["ann"]]
    assert inventory.erasures == [["done", "waits", "late"]]
    assert {uid: (row.state, row.skip_reason) for uid, row in rows.items()} == {
        "done": ("undone", None),
        "waits": ("undone", None),
        "late": ("undone", None),
        "ann": ("delivered", None),
        "bob": ("skipped", "unwanted"),
        "cid": ("skipped", "dismissed"),
    }

"""A database of an older version: whom it had blanked is known as erased from then on."""

import shutil
from pathlib import Path

import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from service_kit.database.migrations import Migrations
from tests.conftest import SERVICES, NewDatabase, running
from tests.crm_api.conftest import change_from_outside
from tests.inventory_api.conftest import LIST
from tests.inventory_api.stock import find_faults

REQUEST = (
    "INSERT INTO package_requests (request_id, customer_id, package_type, occurrence, status,"
    " version, erased_at, created_at, updated_at)"
    " VALUES ('{n}', '{customer}', 'welcome_package', {n}, 'pending', 1, {erased}, {at}, {at})"
)


@pytest.fixture
def upgraded(engine: str, new_database: NewDatabase, tmp_path: Path) -> str:
    """Give the URL of a database that was made and filled by an older version."""
    url = f"sqlite:///{tmp_path}/old.db"
    if engine == "postgresql":
        url = new_database("inventory_api")
        change_from_outside(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    older = tmp_path / "migrations"
    older.mkdir()
    for path in SERVICES["inventory_api"].migrations().folder.glob("000[12]_*.py"):
        shutil.copy(path, older)
    Migrations("inventory_api", older).upgrade(url)
    noon = "'2026-01-05 12:00:00.000000'"
    at = noon if engine == "sqlite" else f"TIMESTAMP WITH TIME ZONE {noon}"
    change_from_outside(
        url,
        *[
            REQUEST.format(n=n, customer=customer, erased=erased, at=at)
            for n, customer, erased in ((1, "jane", at), (2, "jane", at), (3, "john", "NULL"))
        ],
    )

    SERVICES["inventory_api"].migrations().upgrade(url)
    return url


async def test_whom_it_had_blanked_gets_no_other_package(upgraded: str) -> None:
    app = create_app(Settings(database_url=upgraded, seed_demo_data=False))
    async with running(app, token="admin123") as inventory:
        answers = [
            (await inventory.post(LIST, json={"customer_id": one, "occurrence": 9})).status_code
            for one in ("jane", "john")
        ]
        told = await inventory.post(f"{LIST}/erasures", json={"customer_ids": ["jane"]})
        listed = (await inventory.get(LIST)).json()
        assert await find_faults(inventory) == []

    assert answers == [410, 201]
    assert told.json()["erased"] == 2
    assert [(one["customer_id"], one["status"]) for one in listed] == [
        ("jane", "cancelled"),
        ("jane", "cancelled"),
        ("john", "pending"),
        ("john", "pending"),
    ]

"""A ledger of an older version: what it has, it keeps, and nobody gets a second package."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from integration_service.deliveries import store
from integration_service.settings import Settings
from service_kit.database import open_database
from service_kit.database.migrations import Migrations
from tests.conftest import SERVICES, NewDatabase
from tests.crm_api.conftest import change_from_outside
from tests.integration_service.conftest import FakeClock, Integration, change
from tests.integration_service.doubles import CrmDouble, InventoryDouble

DELIVERY = (
    "INSERT INTO deliveries (customer_uid, sequence, state, attempt_count, next_attempt_at,"
    " down_seconds_before, created_at, updated_at, dismissed_at)"
    " VALUES ('{uid}', 1, '{state}', 0, {due}, 0, {at}, {at}, {dismissed})"
)
ERASURE = "INSERT INTO erasures (customer_uid, created_at, done_at) VALUES ('{uid}', {at}, {done})"
SENT = "'019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c'"
# Of the version before deliveries had a route.
LATER_DELIVERY = (
    "INSERT INTO deliveries (customer_uid, customer_name, sequence, state, attempt_count,"
    " next_attempt_at, tried_seconds_before, created_at, updated_at, request_id)"
    " VALUES ('{uid}', '{uid}', 1, '{state}', 1, {due}, 0, {at}, {at}, {request})"
)
ANOTHER_ROUTE = (
    "INSERT INTO deliveries (route, subject, sequence, state, attempt_count,"
    " tried_seconds_before, created_at, updated_at)"
    " VALUES ('web-shop', 'sent', 1, 'skipped', 0, 0, {at}, {at})"
)
ATTEMPT = (
    "INSERT INTO attempts (delivery_id, at, status, duration_ms)"
    " SELECT id, {at}, 201, 1.5 FROM deliveries WHERE customer_uid = 'sent'"
)
# Of the version before webhooks: very many, in every state that there was.
NUMBER = 100_000
STATES = ("pending", "retrying", "dead", "skipped", "undone")
MANY = f"""
INSERT INTO deliveries (route, subject, occurrence, customer_name, sequence, state, attempt_count,
    next_attempt_at, never_claimed, tried_seconds_before, created_at, updated_at, skip_reason)
WITH RECURSIVE numbers (n, kind) AS (
    SELECT 1, 1 UNION ALL SELECT n + 1, (n + 1) % 500 FROM numbers WHERE n < {NUMBER}
), named AS (
    SELECT n, CASE kind {" ".join(f"WHEN {n} THEN '{state}'" for n, state in enumerate(STATES))}
        ELSE 'delivered' END AS state FROM numbers
)
SELECT 'welcome-package', 'customer-' || n, 1, 'Jane', n, state,
    CASE state WHEN 'pending' THEN 0 ELSE 1 END,
    CASE WHEN state IN ('pending', 'retrying') THEN {{at}} END,
    state = 'pending', 0, {{at}}, {{at}}, CASE state WHEN 'skipped' THEN 'unwanted' END
FROM named
"""  # noqa: S608 (of this file alone)


@pytest.fixture
def noon(engine: str) -> str:
    noon = "'2026-01-05 12:00:00.000000'"
    return noon if engine == "sqlite" else f"TIMESTAMP WITH TIME ZONE {noon}"


def old_ledger(
    engine: str, new_database: NewDatabase, folder: Path, newest: str, *statements: str
) -> str:
    """Make a ledger by the migrations of an older version, fill it, and upgrade it."""
    url = f"sqlite:///{folder}/old.db"
    if engine == "postgresql":
        url = new_database("integration_service")
        change_from_outside(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    older = folder / "migrations"
    older.mkdir()
    for path in SERVICES["integration_service"].migrations().folder.glob("*.py"):
        if path.name[:4] <= newest:
            shutil.copy(path, older)
    Migrations("integration_service", older).upgrade(url)
    change_from_outside(url, *statements)
    SERVICES["integration_service"].migrations().upgrade(url)
    return url


@pytest.fixture
def upgraded(engine: str, new_database: NewDatabase, tmp_path: Path, noon: str) -> str:
    """Give the URL of a ledger whose erasures were applied by a version that blanked names."""
    at, none = noon, "NULL"
    return old_ledger(
        engine,
        new_database,
        tmp_path,
        "0007",
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


@asynccontextmanager
async def started(url: str, clock: FakeClock) -> AsyncIterator[Integration]:
    database = open_database(url)
    await database.open()
    settings = Settings(
        database_url=url, crm_api_url="http://crm", inventory_api_url="http://inventory"
    )
    integration = await Integration(settings, database, clock).start()
    yield integration
    await integration.die()
    await database.close()


async def test_its_erasures_are_applied_again_and_nothing_more_is_sent(
    upgraded: str, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    async with started(upgraded, clock) as integration:
        await integration.work()
        await integration.erase()
        rows = await integration.rows()
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


@pytest.fixture
def before_routes(engine: str, new_database: NewDatabase, tmp_path: Path, noon: str) -> str:
    """Give the URL of a ledger whose deliveries had no route yet."""
    return old_ledger(
        engine,
        new_database,
        tmp_path,
        "0010",
        LATER_DELIVERY.format(uid="sent", state="delivered", due="NULL", at=noon, request=SENT),
        LATER_DELIVERY.format(uid="waits", state="retrying", due=noon, at=noon, request="NULL"),
        ATTEMPT.format(at=noon),
    )


async def test_its_deliveries_are_those_of_the_welcome_route_and_nobody_gets_a_second_package(
    before_routes: str,
    noon: str,
    crm: CrmDouble,
    inventory: InventoryDouble,
    clock: FakeClock,
) -> None:
    crm.register("sent", "waits", "new")

    async with started(before_routes, clock) as integration:
        await integration.work()
        rows = await integration.rows()
        sent = await integration.delivery("sent")
        await integration.database.write(change, ANOTHER_ROUTE.format(at=noon))
        with pytest.raises(IntegrityError):
            await integration.database.write(change, ANOTHER_ROUTE.format(at=noon))

    asked = [item for request in inventory.requests for item in json.loads(request.content)]
    identities = {(one["customer_id"], one["package_type"], one["occurrence"]) for one in asked}
    assert identities == {("waits", "welcome_package", 1), ("new", "welcome_package", 1)}
    assert len(asked) == 2
    assert {(row.route, row.occurrence) for row in rows.values()} == {("welcome-package", 1)}
    assert {uid: row.state for uid, row in rows.items()} == dict.fromkeys(
        ("sent", "waits", "new"), "delivered"
    )
    assert sent.request_id == SENT.strip("'")
    assert [(one.status, one.duration_ms) for one in sent.attempts] == [(201, 1.5)]


@pytest.fixture
def before_webhooks(engine: str, new_database: NewDatabase, tmp_path: Path, noon: str) -> str:
    """Give the URL of a large ledger that was made before there were webhooks."""
    return old_ledger(engine, new_database, tmp_path, "0014", MANY.format(at=noon))


async def counted(integration: Integration) -> dict[str, int]:
    return await integration.database.read(store.counts)


async def test_a_large_ledger_keeps_every_state_and_only_what_is_owed_is_sent(
    before_webhooks: str, crm: CrmDouble, inventory: InventoryDouble, clock: FakeClock
) -> None:
    of_each = NUMBER // 500
    # The feed is read from its beginning once more, so it reports customers in every state again.
    crm.register(*(f"customer-{number}" for number in range(1, 1001)), "new")

    async with started(before_webhooks, clock) as integration:
        before = await counted(integration)
        await integration.work()
        after = await counted(integration)

    assert before == {**dict.fromkeys(STATES, of_each), "delivered": NUMBER - 5 * of_each}
    owed = [f"customer-{n}" for n in range(1, NUMBER + 1) if n % 500 in {0, 1}]
    assert sorted(inventory.owners) == sorted([*owed, "new"])
    assert sum(map(len, inventory.batches)) == len(owed) + 1
    kept = dict.fromkeys(("dead", "skipped", "undone"), of_each)
    assert after == {**kept, "delivered": NUMBER - 3 * of_each + 1}

"""Everything that 0.3.0 has written is there after the upgrade, and the platform goes on from it.

The rows are 0.3.0's own: `fill.py` tells how they were had. They are the same on both engines.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, select

from tests.conftest import SERVICES, bearer
from tests.service_kit.test_migrations import look
from tests.sweeps import ENGINES
from tests.system.processes import Nursery, until
from tests.system.stack import Stack
from tests.upgrades.conftest import NEWEST

Rows = dict[str, list[dict[str, Any]]]

# Columns by another name since then.
RENAMED = {
    ("deliveries", "customer_uid"): "subject",
    ("deliveries", "down_seconds_before"): "tried_seconds_before",
    ("links", "down_seconds"): "tried_seconds",
}
# What no longer is, or is meant to differ: the tests below say how.
CHANGED = {
    ("deliveries", "next_attempt_at"),
    ("erasures", "done_at"),
    ("links", "stands_since"),
    ("tokens", "name"),
}
# Answers to repeated requests: no key of 0.3.0 is found any more.
EMPTIED = {"idempotency_keys"}
MADE_ANEW = {"alembic_version", "schema_release"}


def everything(db: Connection) -> Rows:
    """Read all tables, but for the search's."""
    there = MetaData()
    there.reflect(db, only=lambda name, _: "_search" not in name and name not in MADE_ANEW)
    return {name: rows_of(db, table) for name, table in there.tables.items()}


def rows_of(db: Connection, table: Table) -> list[dict[str, Any]]:
    found = db.execute(select(table).order_by(*table.primary_key)).mappings()
    return [dict(row) for row in found]


def as_of_now(rows: Rows) -> Rows:
    """Give rows of 0.3.0 as they are to be found after the upgrade."""
    return {
        table: [
            {
                RENAMED.get((table, name), name): value
                for name, value in row.items()
                if (table, name) not in CHANGED
            }
            for row in found
        ]
        for table, found in rows.items()
        if table not in EMPTIED
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_row_is_kept(service: str, of_0_3_0: dict[str, str]) -> None:
    url = of_0_3_0[service]
    before = look(url, everything)

    assert SERVICES[service].migrations().upgrade(url) == NEWEST[service]

    after = look(url, everything)
    expected = as_of_now(before)
    found = {
        table: [{name: row[name] for name in rows[0]} for row in after[table]]
        for table, rows in expected.items()
        if rows
    }
    assert found == {table: rows for table, rows in expected.items() if rows}
    assert sum(map(len, found.values())) > 20
    assert [after[table] for table in EMPTIED & after.keys()] in ([], [[]])


@pytest.fixture
def stack(nursery: Nursery, of_0_3_0: dict[str, str], tmp_path: Path) -> Iterator[Stack]:
    """Three services of today on what 0.3.0 has left, not yet started."""
    with Stack(tmp_path, nursery, of_0_3_0.__getitem__) as stack:
        yield stack


def states(stack: Stack) -> dict[str, list[str]]:
    """Return the names or reasons of the welcome deliveries, by their state."""
    query = "SELECT state, coalesce(skip_reason, customer_name, 'erased') FROM deliveries"
    found: dict[str, list[str]] = {}
    for state, whose in stack.integration.rows(f"{query} ORDER BY id"):
        found.setdefault(state, []).append(whose)
    return found


def people_find_what_they_had(stack: Stack) -> None:
    def get(url: str, path: str) -> Any:
        answer = stack.client.get(f"{url}{path}", headers=bearer("admin123"))
        assert answer.status_code == 200, answer.text
        return answer.json()

    crm, inventory, integration = (server.url for server in stack.servers)
    [searched] = get(crm, "/api/customers?q=doe's")
    assert (searched["name"], searched["external_ref"]) == ("Customer 1", "shop-1")
    tickets = get(crm, "/api/customers/1/tickets")
    assert [ticket["status"] for ticket in tickets] == ["closed", "open", "open"]
    assert len(get(crm, "/api/tickets/1/history")) == 3
    assert [note["body"] for note in get(crm, "/api/tickets/1/notes")] == ["We send another."]
    # Of two tokens with one name the older one keeps it.
    tokens = get(crm, "/api/tokens")
    assert {token["name"] for token in tokens} == {"shop", "shop #2", "till"}
    assert len(get(crm, "/api/audit?limit=100")) > 20
    assert get(inventory, "/verify")["balanced"]
    statuses = {package["status"] for package in get(inventory, "/package-requests")}
    assert statuses >= {"packed", "shipped", "delivered", "cancelled", "returned"}
    first = get(integration, f"/deliveries/{searched['uid']}")
    assert (first["state"], len(first["attempts"])) == ("delivered", 1)
    assert get(integration, "/reconcile")["last"]["state"] == "finished"


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_the_platform_goes_on_and_nothing_is_missing_or_double(stack: Stack) -> None:
    before = stack.inventory.rows("SELECT request_id, customer_id FROM package_requests")
    [(unread,)] = stack.crm.rows("SELECT uid FROM customers ORDER BY id DESC LIMIT 1")

    # The integration last: its comparison with the others begins at once, and they migrate first.
    for server in stack.servers:
        server.restart()
    stack.wait_until_quiet()
    until(lambda: "undone" in states(stack), "erasures are applied again")
    stack.add_customers(2)
    stack.wait_until_quiet()

    found = states(stack)
    names = [f"Customer {n}" for n in (1, 4, 6, 7, 8, 9, 11, 12, 13)]
    assert found == {
        # 11 had failed, 12 was owed, and of 13 the feed had told nobody yet.
        "delivered": [*names, "Jane Doe", "Jane Doe"],
        "undone": ["erased", "erased"],
        "dead": ["Customer 2"],
        "skipped": ["dismissed", "unwanted"],
    }
    verdict = stack.verdict()
    [(unwanted,)] = stack.crm.rows("SELECT uid FROM customers WHERE email = 'paper@example.com'")
    assert verdict.missing == [unwanted]
    assert (verdict.double, verdict.phantom, verdict.lost) == ([], [], [])
    assert (verdict.damage, verdict.bugs) == ([], [])
    assert not [fault for fault in verdict.feed if "holes" in fault or "order" in fault]
    after = stack.inventory.rows("SELECT request_id, customer_id FROM package_requests")
    assert set(before) < set(after)
    assert unread in {customer for _, customer in after}
    people_find_what_they_had(stack)

"""The counts of a dashboard."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from crm_api.stats import store
from crm_api.stats.schemas import Stats
from service_kit.process import clock
from tests.crm_api.conftest import (
    app_of,
    change_database,
    change_from_outside,
    interrupted,
    read_feed,
    register,
    register_from_outside,
    take_positions_back,
)
from tests.statements import statements

NO_STATUS = dict.fromkeys(["open", "in_progress", "pending", "on_hold", "resolved", "closed"], 0)
NO_PRIORITY = dict.fromkeys(["low", "normal", "high", "urgent"], 0)


async def stats(crm: httpx.AsyncClient) -> dict[str, Any]:
    answer = await crm.get("/api/stats")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def open_ticket(crm: httpx.AsyncClient, priority: str) -> None:
    ticket = {"customer_id": 1, "subject": "Help", "description": "", "priority": priority}
    assert (await crm.post("/api/tickets", json=ticket)).status_code == 201


async def test_an_empty_crm_counts_nothing(crm: httpx.AsyncClient) -> None:
    assert await stats(crm) == {
        "customers": 0,
        "tickets": {
            "total": 0,
            "by_status": NO_STATUS,
            "by_priority": NO_PRIORITY,
            "overdue": 0,
        },
        "feed_head": 0,
    }


async def test_customers_and_tickets_are_counted(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2, 3)
    await crm.delete("/api/customers/3")
    for priority in ("low", "low", "urgent"):
        await open_ticket(crm, priority)
    await crm.patch("/api/tickets/2", json={"status": "closed"})
    await change_database(crm, "UPDATE tickets SET due_at = created_at WHERE id = 3")

    found = await stats(crm)

    assert found["customers"] == 2
    assert found["tickets"] == {
        "total": 3,
        "by_status": {**NO_STATUS, "open": 2, "closed": 1},
        "by_priority": {**NO_PRIORITY, "low": 2, "urgent": 1},
        "overdue": 1,
    }


async def test_a_ticket_is_overdue_from_the_instant_at_which_it_is_due(
    crm: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(crm, 1)
    await open_ticket(crm, "low")
    due_at = datetime(2020, 1, 1, tzinfo=UTC)
    await change_database(crm, "UPDATE tickets SET due_at = '2020-01-01 00:00:00.000000'")

    for now, overdue in ((due_at - timedelta.resolution, 0), (due_at, 1)):
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        listed = await crm.get("/api/tickets", params={"overdue": True})
        assert len(listed.json()) == (await stats(crm))["tickets"]["overdue"] == overdue


async def test_the_feed_head_is_the_one_that_a_reader_finds(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    take_positions_back(crm, behind=1)
    before = (await stats(crm))["feed_head"]
    page = await read_feed(crm)
    await register(crm, 3)

    assert before == page["head_position"] == 2
    assert (await stats(crm))["feed_head"] == 3


async def test_what_comes_and_goes_while_it_counts_is_counted_as_before_or_after(
    crm: httpx.AsyncClient,
) -> None:
    database, url = app_of(crm).state.database, app_of(crm).state.settings.database_url
    with statements() as sent:
        await database.scan(store.count)

    for step in range(len(sent)):
        await register(crm, 2 * step)
        take_positions_back(crm, behind=2 * step)
        head = (await stats(crm))["feed_head"]

        def come_and_go(number: int = 2 * step + 1) -> None:
            register_from_outside(url, number)  # which numbers all events
            change_from_outside(url, "UPDATE customers SET erased_at = created_at")

        def count(db: Connection, step: int = step, happen: Any = come_and_go) -> Stats:
            with interrupted(db, step, happen):
                return store.count(db)

        found = await database.scan(count)

        assert found.customers in {0, 1}
        assert found.feed_head in {head, head + 1}


async def waiting(crm: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await crm.get("/api/stats/tickets", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_tickets_that_need_a_person_are_counted(crm: httpx.AsyncClient) -> None:
    assert await waiting(crm) == {"unassigned": 0, "overdue": 0, "assigned": None}
    await register(crm, 1)
    for _ in range(6):
        await open_ticket(crm, "normal")
    for number, change in (
        (1, {"assignee": "maria"}),
        (2, {"assignee": "maria", "status": "on_hold"}),
        (3, {"assignee": "maria", "status": "resolved"}),
        (4, {"assignee": "paul"}),
        (5, {"status": "closed"}),
    ):
        assert (await crm.patch(f"/api/tickets/{number}", json=change)).status_code == 200
    await change_database(crm, "UPDATE tickets SET due_at = created_at WHERE id IN (1, 6)")

    assert await waiting(crm) == {"unassigned": 1, "overdue": 2, "assigned": None}
    assert await waiting(crm, assignee="maria") == {"unassigned": 1, "overdue": 2, "assigned": 2}
    assert (await waiting(crm, assignee="nobody else"))["assigned"] == 0


@pytest.mark.engine("sqlite")
async def test_what_needs_a_person_is_counted_without_looking_at_the_rest(
    crm: httpx.AsyncClient,
) -> None:
    with statements() as sent:
        await waiting(crm, assignee="maria")
    [statement] = sent

    def plan(db: Connection) -> list[str]:
        given = ("x",) * statement.count("?")
        return [row.detail for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]

    found = [step for step in await app_of(crm).state.database.read(plan) if "tickets" in step]
    assert len(found) == 3
    assert all(step.startswith("SEARCH tickets USING COVERING INDEX") for step in found), found

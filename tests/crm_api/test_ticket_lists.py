"""Lists of tickets: what each filter leaves, in which order, and what a page costs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, insert, select

from crm_api.tickets.lifecycle import PRIORITIES, STATUSES
from crm_api.tickets.models import ticket_tags, tickets
from service_kit.process import clock
from service_kit.web.paging import encode_cursor
from tests.crm_api.conftest import app_of, register
from tests.statements import statements

NOW = datetime.now(UTC)
NUMBER = 90
Row = dict[str, Any]


def made(number: int) -> Row:
    """Make a ticket in which every field has several values, and a deadline has ties and gaps."""
    due_at = None if number % 3 == 0 else NOW + timedelta(hours=number % 7 - 3.5)
    return {
        "id": number,
        "uid": clock.new_id(),
        "customer_id": number % 2 + 1,
        "subject": f"Parcel {number}",
        "description": "It came open." if number % 5 else "It is lost.",
        "status": STATUSES[number % len(STATUSES)],
        "priority": PRIORITIES[number % len(PRIORITIES)],
        "assignee": (None, "maria", "paul")[number // 6 % 3],
        "version": 1,
        "created_at": NOW - timedelta(days=NUMBER - number),
        "updated_at": NOW,
        "due_at": due_at,
    }


ROWS = [made(number) for number in range(1, NUMBER + 1)]


def tagged(row: Row) -> bool:
    return row["id"] % 4 == 0


@pytest.fixture(scope="module")
async def desk(shared_crm: httpx.AsyncClient) -> httpx.AsyncClient:
    """The CRM with two customers and ninety tickets, and none of those for demonstration."""

    def fill(db: Connection) -> None:
        for table in ("ticket_tags", "notes", "ticket_history", "tickets", "ticket_search"):
            db.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608
        db.execute(insert(tickets), ROWS)
        db.execute(
            insert(ticket_tags),
            [{"ticket_id": row["id"], "tag": "late"} for row in ROWS if tagged(row)],
        )

    await app_of(shared_crm).state.database.write(fill)
    return shared_crm


def is_late(row: Row) -> bool:
    return row["due_at"] is not None and row["due_at"] <= NOW


FILTERS: dict[str, Callable[[Row], bool]] = {
    "": lambda row: True,
    "status=open": lambda row: row["status"] == "open",
    "status=open&status=closed&status=open": lambda row: row["status"] in {"open", "closed"},
    "priority=urgent": lambda row: row["priority"] == "urgent",
    "status=pending&priority=low": lambda row: (
        (row["status"], row["priority"]) == ("pending", "low")
    ),
    "assignee=maria": lambda row: row["assignee"] == "maria",
    "assignee=none": lambda row: row["assignee"] is None,
    "assignee=none&status=open&status=on_hold": lambda row: (
        row["assignee"] is None and row["status"] in {"open", "on_hold"}
    ),
    "assignee=nobody": lambda row: False,
    "tag=late": tagged,
    "tag=late&status=open": lambda row: tagged(row) and row["status"] == "open",
    "customer_id=2": lambda row: row["customer_id"] == 2,
    "customer_id=2&status=open&status=closed": lambda row: (
        row["customer_id"] == 2 and row["status"] in {"open", "closed"}
    ),
    "overdue=true": is_late,
    "overdue=false": lambda row: not is_late(row),
    "overdue=true&status=open&assignee=paul": lambda row: (
        is_late(row) and (row["status"], row["assignee"]) == ("open", "paul")
    ),
    "created_after=AT": lambda row: row["created_at"] > ROWS[29]["created_at"],
    "created_before=AT": lambda row: row["created_at"] < ROWS[29]["created_at"],
}
ORDERS: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row["id"],
    "-id": lambda row: -row["id"],
    "due": lambda row: (row["due_at"] is None, row["due_at"] or NOW, row["id"]),
}


async def pages(desk: httpx.AsyncClient, query: str, limit: int) -> list[list[int]]:
    answer = await desk.get(f"/api/tickets?{query}&limit={limit}")
    found = [answer]
    while "next" in answer.links:
        answer = await desk.get(answer.links["next"]["url"])
        found.append(answer)
    assert {answer.status_code for answer in found} == {200}, answer.text
    return [[ticket["id"] for ticket in answer.json()] for answer in found]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("query", FILTERS)
async def test_pages_show_what_a_filter_leaves_once_and_in_order(
    desk: httpx.AsyncClient, query: str, order: str
) -> None:
    wanted = [row["id"] for row in sorted(filter(FILTERS[query], ROWS), key=ORDERS[order])]
    query = query.replace("AT", f"{ROWS[29]['created_at']:%Y-%m-%dT%H:%M:%S.%fZ}")

    found = await pages(desk, f"{query}&sort={order}", limit=7)

    assert [number for page in found for number in page] == wanted
    assert [len(page) for page in found[:-1]] == [7] * (len(found) - 1)


async def test_nothing_overdue_comes_behind_what_has_no_deadline(desk: httpx.AsyncClient) -> None:
    cursor = encode_cursor(".3", "due")

    assert await pages(desk, f"sort=due&overdue=true&cursor={cursor}", limit=7) == [[]]


async def test_a_page_that_ends_with_the_list_leads_nowhere(desk: httpx.AsyncClient) -> None:
    assert len(await pages(desk, "sort=due", limit=NUMBER)) == 1
    assert len(await pages(desk, "status=open&status=closed", limit=30)) == 1


@pytest.mark.parametrize(
    "query",
    [
        "status=new",
        "status=",
        "status=open,closed",
        "&".join(["status=open"] * 7),
        "sort=-due",
        "include=notes",
        "priority=low&priority=high",
        "created_after=yesterday",
    ],
)
@pytest.mark.engine("sqlite")
async def test_a_mistyped_filter_is_refused(desk: httpx.AsyncClient, query: str) -> None:
    assert (await desk.get(f"/api/tickets?{query}")).status_code == 422


@pytest.mark.parametrize(
    ("order", "cursor"),
    [
        ("id", encode_cursor(".3", "due")),
        ("id", encode_cursor("3.3", "id")),
        ("due", encode_cursor("3", "id")),
        ("due", encode_cursor("3", "due")),
        ("due", encode_cursor("-3.3", "due")),
        ("due", encode_cursor("3.", "due")),
        ("due", encode_cursor("999999999999999999.3", "due")),
        ("due", encode_cursor("1." + "9" * 19, "due")),
    ],
)
@pytest.mark.engine("sqlite")
async def test_a_cursor_of_another_list_is_refused(
    desk: httpx.AsyncClient, order: str, cursor: str
) -> None:
    answer = await desk.get("/api/tickets", params={"sort": order, "cursor": cursor})

    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "cursor"])


# What the console's lists of tickets ask for.
ASKED = [
    "sort=due",
    "sort=due&status=open&status=in_progress&assignee=maria",
    "sort=due&status=open&status=in_progress&assignee=none",
    "sort=due&overdue=true&status=open",
    "status=open&status=pending&sort=-id",
    "priority=urgent",
    "status=open&priority=urgent&sort=-id",
]


@pytest.mark.parametrize("query", ASKED)
@pytest.mark.engine("sqlite")  # PostgreSQL's planner chooses by how many rows there are
async def test_no_page_walks_the_table_or_sorts_what_a_status_has(
    desk: httpx.AsyncClient, query: str
) -> None:
    with statements() as sent:
        assert (await desk.get(f"/api/tickets?{query}&limit=7")).status_code == 200
    [statement] = sent

    def plan(db: Connection) -> list[tuple[int, str]]:
        given = (1,) * statement.count("?")
        rows = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
        return [(row.parent, row.detail) for row in rows]

    found = await app_of(desk).state.database.read(plan)
    by_index = {parent for parent, step in found if "INDEX ix_tickets_" in step}
    sorted_parts = {parent for parent, step in found if "TEMP B-TREE" in step}
    assert by_index, found
    assert not by_index & sorted_parts, found
    assert not [step for _, step in found if step.startswith("SCAN tickets")], found


async def test_postgres_takes_the_order_of_the_unassigned_from_an_index(
    desk: httpx.AsyncClient, engine: str
) -> None:
    if engine != "postgresql":
        return
    part = (
        select(tickets.c.id)
        .where(tickets.c.assignee.is_(None), tickets.c.status == "open")
        .where(tickets.c.due_at.is_not(None))
        .order_by(tickets.c.assignee, tickets.c.due_at, tickets.c.id)
        .limit(8)
    )

    def plan(db: Connection) -> str:
        db.exec_driver_sql("SET LOCAL enable_seqscan = off")
        db.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        text = part.compile(db, compile_kwargs={"literal_binds": True})
        return str(db.exec_driver_sql(f"EXPLAIN {text}").all())

    found = await app_of(desk).state.database.write(plan)

    assert "ix_tickets_assignee_due" in found
    assert "Sort" not in found


async def test_tickets_come_with_their_customers_where_that_is_asked_for(
    desk: httpx.AsyncClient,
) -> None:
    listed = (await desk.get("/api/tickets?include=customer&limit=2&sort=due")).json()
    customers = {one["id"]: one for one in (await desk.get("/api/customers")).json()}

    assert len(listed) == 2
    for ticket in listed:
        whole = customers[ticket["customer_id"]]
        names = ("id", "uid", "name", "email", "company")
        assert ticket["customer"] == {name: whole[name] for name in names}
    assert "customer" not in (await desk.get("/api/tickets?sort=due")).json()[0]
    assert "customer" not in (await desk.get("/api/tickets")).json()[0]


async def test_of_an_erased_customer_a_list_shows_nothing(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    ticket = {"customer_id": 1, "subject": "A parcel", "description": "It is lost."}
    assert (await crm.post("/api/tickets", json=ticket)).status_code == 201
    assert (await crm.delete("/api/customers/1")).status_code == 204

    [listed] = (await crm.get("/api/tickets?include=customer")).json()

    assert (listed["customer"]["id"], listed["customer"]["name"]) == (1, "")
    assert listed["customer"]["email"] == ""


async def test_who_may_not_read_customers_is_shown_none(crm: httpx.AsyncClient) -> None:
    issued = {"name": "tickets-only", "role": "agent", "scopes": ["tickets:read"]}
    token = (await crm.post("/api/tokens", json=issued)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}

    plain = await crm.get("/api/tickets", headers=headers)
    refused = await crm.get("/api/tickets?include=customer", headers=headers)

    assert plain.status_code == 200
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:problem:scope-missing")
    assert "customers:read" in refused.json()["detail"]

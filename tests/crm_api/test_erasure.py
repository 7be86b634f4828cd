"""Erasing a person leaves nothing personal, and tells others to forget as well."""

import re
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from crm_api.tables import metadata
from tests.conftest import SERVICES, bearer, running
from tests.crm_api.conftest import all_there_is, app_of
from tests.crm_api.imports import imported
from tests.personal import all_marks, leave_marks, marks

JANE: dict[str, Any] = {
    "name": "Jane Doe",
    "email": "jane@example.com",
    "company": "Example Ltd",
    "phone": "+44 20 7946 0000",
    "external_ref": "shop-1",
    "metadata": {"plan": "basic"},
}
CHANGED: dict[str, Any] = {
    "name": "Jane Roe",
    "email": "jane.roe@example.org",
    "company": "Roe & Daughters",
    "phone": "+49 30 901820",
    "external_ref": "till-7",
    "metadata": {"shoe": "thirtynine"},
}
# All of what she was ever known by, in lower case.
PERSONAL = [
    word.lower()
    for known in (JANE, CHANGED, {"name": "Jane Poe"})
    for value in known.values()
    for word in (value.values() if isinstance(value, dict) else [value])
]


async def jane(crm: httpx.AsyncClient) -> dict[str, object]:
    answer = await crm.post("/api/customers", json=JANE)
    assert answer.status_code == 201
    return dict(answer.json())


async def test_erasing_blanks_every_personal_field_and_keeps_the_ids(
    crm: httpx.AsyncClient,
) -> None:
    customer = await jane(crm)

    erased = await crm.delete("/api/customers/1")
    left = (await crm.get(f"/api/customers/{customer['uid']}")).json()

    assert (erased.status_code, erased.content) == (204, b"")
    assert (left["id"], left["uid"]) == (customer["id"], customer["uid"])
    assert (left["name"], left["email"]) == ("", "")
    assert left["company"] is left["phone"] is left["external_ref"] is None
    assert left["metadata"] == {}
    assert left["created_at"] == customer["created_at"]
    assert left["updated_at"] > customer["updated_at"]


async def test_nothing_personal_is_left_anywhere_in_the_database(crm: httpx.AsyncClient) -> None:
    """Not even in what is kept for callers that ask again, nor in what was her name before."""
    keys = iter(range(100))

    async def do(method: str, path: str, body: Any) -> Any:
        headers = {"Idempotency-Key": f"key-{next(keys)}"}
        answer = await crm.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    await do("POST", "/api/customers", JANE)
    await do("PATCH", "/api/customers/1", CHANGED)
    ticket = {"customer_id": 1, "subject": "Where is it?", "description": "It was to come today."}
    await do("POST", "/api/tickets", ticket)
    await do("POST", "/api/tickets/1/notes", {"body": "I wait.", "author_kind": "customer"})
    await do("PATCH", "/api/tickets/1", {"status": "pending", "assignee": "maria"})
    other = {"name": "John Smith", "email": "john@example.com"}
    both = await do("POST", "/api/customers/batch", [other, {**JANE, "name": "Jane Poe"}])
    before = await all_there_is(crm)

    await crm.delete("/api/customers/1")
    await crm.delete(f"/api/customers/{both[1]['customer']['uid']}")
    left = await all_there_is(crm)

    assert [word for word in PERSONAL if word not in before] == [], "else it would prove nothing"
    assert [word for word in PERSONAL if word in left] == []
    assert "john smith" in left
    assert "it was to come today." in left, "tickets are kept"


async def test_no_personal_column_of_any_table_survives(crm: httpx.AsyncClient) -> None:
    """Not in its row, nor in events, search texts and stored answers made of it."""
    database, tables = app_of(crm).state.database, metadata.tables
    wanted = marks(tables.values())
    await crm.post("/api/customers", json=JANE, headers={"Idempotency-Key": "1"})
    await imported(crm, "Jane Doe,no-address,")
    await database.write(leave_marks, tables, wanted)
    # So that the feed and the search hold the marks too.
    changed = await crm.patch("/api/customers/1", json={"name": "mark-again"})
    assert changed.status_code == 200, changed.text
    await database.write(leave_marks, tables, wanted)
    before = await all_there_is(crm)

    assert (await crm.delete("/api/customers/1")).status_code == 204

    left = await all_there_is(crm)
    assert [mark for mark in all_marks(wanted) if mark not in before] == []
    assert [mark for mark in [*all_marks(wanted), "mark-again"] if mark in left] == []


def content_of(folder: Path) -> bytes:
    """Read a database's files, its journal among them if there is one."""
    return b"".join(path.read_bytes() for path in folder.iterdir()).lower()


def bytes_in(folder: Path) -> list[str]:
    """Find what is personal in a database's files."""
    content = content_of(folder)
    return [word for word in PERSONAL if word.encode() in content]


async def test_not_a_byte_of_it_is_left_in_a_sqlite_file_or_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    SERVICES["crm_api"].migrations().upgrade(f"sqlite:///{path}")
    settings = Settings(database_url=f"sqlite:///{path}", seed_demo_data=False)
    async with running(create_app(settings), token="admin123") as crm:
        await crm.post("/api/customers", json=JANE, headers={"Idempotency-Key": "1"})
        await crm.patch("/api/customers/1", json=CHANGED)
        before = bytes_in(tmp_path)
        await crm.delete("/api/customers/1")
        # While it runs: nobody stops a service to have somebody forgotten.
        after = bytes_in(tmp_path)

    assert len(before) > len(CHANGED)
    assert after == []


@pytest.mark.long
@pytest.mark.slow
async def test_of_many_who_come_and_go_none_is_left_in_a_sqlite_file(
    database_folder: Path,
) -> None:
    """Pages are split and joined meanwhile, and what they held is copied from one to another."""
    folder = Path(tempfile.mkdtemp(dir=database_folder))
    path = folder / "crm.db"
    SERVICES["crm_api"].migrations().upgrade(f"sqlite:///{path}")
    settings = Settings(database_url=f"sqlite:///{path}", seed_demo_data=False)
    number = 600
    async with running(create_app(settings), token="admin123") as crm:
        for start in range(0, number, 200):
            batch = [
                {"name": f"Unforgettable-{n:03}-", "email": f"unforgettable-{n:03}@example.com"}
                for n in range(start, start + 200)
            ]
            headers = {"Idempotency-Key": str(start)}
            answer = await crm.post("/api/customers/batch", json=batch, headers=headers)
            assert {one["status"] for one in answer.json()} == {201}
        for customer in range(1, number + 1):
            if customer % 3:
                await crm.delete(f"/api/customers/{customer}")
        left = {one["name"].lower() for one in await all_of(crm)} - {""}
        found = set(re.findall(rb"unforgettable-\d{3}-", content_of(folder)))

    assert len(left) == number // 3
    assert {one.decode() for one in found} == left


async def all_of(crm: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    url = "/api/customers?limit=500"
    while url:
        page = await crm.get(url)
        found += page.json()
        url = str(page.links.get("next", {}).get("url", ""))
    return found


async def test_the_feed_tells_of_the_erasure_and_no_longer_who_it_was(
    crm: httpx.AsyncClient,
) -> None:
    customer = await jane(crm)
    await crm.delete("/api/customers/1")

    events = (await crm.get("/api/events")).json()["events"]

    assert [event["type"] for event in events] == ["customer.created", "customer.erased"]
    assert [event["subject"] for event in events] == [customer["uid"]] * 2
    assert events[0]["data"]["name"] == events[0]["data"]["email"] == ""
    assert set(events[1]["data"]) == {"id", "uid", "erased_at"}


async def test_erasing_once_more_does_nothing(crm: httpx.AsyncClient) -> None:
    await jane(crm)

    answers = [(await crm.delete("/api/customers/1")).status_code for _ in range(2)]

    assert answers == [204, 204]
    assert len((await crm.get("/api/events")).json()["events"]) == 2


async def test_the_address_is_free_again(crm: httpx.AsyncClient) -> None:
    await jane(crm)
    await crm.delete("/api/customers/1")

    again = await crm.post("/api/customers", json=JANE)

    assert (again.status_code, again.json()["id"]) == (201, 2)


async def test_an_erased_customer_can_not_be_changed(crm: httpx.AsyncClient) -> None:
    await jane(crm)
    await crm.delete("/api/customers/1")

    answer = await crm.patch("/api/customers/1", json={"name": "Jane Doe"})

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem:customer-erased")


async def test_only_an_admin_erases(settings: Settings) -> None:
    async with running(create_app(settings)) as client:
        for role in ("agent", "viewer", "integration"):
            answer = await client.delete("/api/customers/1", headers=bearer(f"{role}123"))
            assert (role, answer.status_code) == (role, 403)
            assert "customers:delete" in answer.json()["detail"]


async def test_a_customer_that_was_changed_since_is_neither_changed_nor_erased(
    crm: httpx.AsyncClient,
) -> None:
    await jane(crm)
    seen = (await crm.get("/api/customers/1")).headers["ETag"]
    changed = await crm.patch(
        "/api/customers/1", json={"name": "Jane Roe"}, headers={"If-Match": seen}
    )

    stale = [
        await crm.patch("/api/customers/1", json={"name": "X"}, headers={"If-Match": seen}),
        await crm.delete("/api/customers/1", headers={"If-Match": seen}),
    ]

    assert [answer.status_code for answer in stale] == [412, 412]
    assert changed.headers["ETag"] != seen
    assert (await crm.get("/api/customers/1")).json()["name"] == "Jane Roe"
    fresh = {"If-Match": changed.headers["ETag"]}
    assert (await crm.delete("/api/customers/1", headers=fresh)).status_code == 204


async def test_erasing_nobody_is_not_found(crm: httpx.AsyncClient) -> None:
    assert (await crm.delete("/api/customers/99")).status_code == 404

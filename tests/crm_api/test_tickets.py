"""Tickets through the front door."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from crm_api.tickets import lifecycle
from crm_api.tickets.models import tickets
from service_kit.process import clock
from tests.crm_api.conftest import all_there_is

TICKET = {"customer_id": 1, "subject": "The parcel is damaged", "description": "It came open."}
JANE = {"name": "Jane Doe", "email": "jane@example.com"}
JOHN = {"name": "John Smith", "email": "john@example.com"}


@pytest.fixture
async def desk(crm: httpx.AsyncClient) -> httpx.AsyncClient:
    """The CRM with two customers."""
    for customer in (JANE, JOHN):
        assert (await crm.post("/api/customers", json=customer)).status_code == 201
    return crm


async def opened(desk: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await desk.post("/api/tickets", json=TICKET | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def moved(desk: httpx.AsyncClient, ticket: dict[str, Any], status: str) -> httpx.Response:
    return await desk.patch(f"/api/tickets/{ticket['id']}", json={"status": status})


async def resolved_days_ago(desk: httpx.AsyncClient, ticket: dict[str, Any], days: float) -> None:
    await moved(desk, ticket, "resolved")
    at = clock.now() - timedelta(days=days)
    await desk.app.state.database.write(
        lambda db: db.execute(
            update(tickets).where(tickets.c.id == ticket["id"]).values(resolved_at=at)
        )
    )


async def listed(desk: httpx.AsyncClient, **wanted: Any) -> list[int]:
    answer = await desk.get("/api/tickets", params=wanted)
    assert answer.status_code == 200, answer.text
    return [ticket["id"] for ticket in answer.json()]


async def test_a_ticket_is_opened_and_found_again(desk: httpx.AsyncClient) -> None:
    answer = await desk.post("/api/tickets", json=TICKET | {"tags": ["B", "a", "b"]})
    ticket = answer.json()

    assert (answer.status_code, answer.headers["Location"]) == (201, f"/api/tickets/{ticket['id']}")
    assert (ticket["status"], ticket["priority"], ticket["tags"]) == ("open", "normal", ["a", "b"])
    assert ticket["allowed_statuses"] == ["in_progress", "pending", "on_hold", "resolved", "closed"]
    assert ticket["sla"]["resolution"]["state"] == "running"
    found = await desk.get(f"/tickets/{ticket['id']}/")
    assert found.headers["ETag"] == answer.headers["ETag"]
    assert found.json()["uid"] == ticket["uid"]


@pytest.mark.parametrize(
    ("fields", "status", "slug"),
    [
        ({"customer_id": 99}, 404, "customer-not-found"),
        ({"follow_up_of": 99}, 409, "no-follow-up"),
        ({"subject": ""}, 422, "invalid-request"),
        ({"subject": "x" * 201}, 422, "invalid-request"),
        ({"subject": "two\nlines"}, 422, "invalid-request"),
        ({"priority": "soon"}, 422, "invalid-request"),
        ({"tags": ["not a tag"]}, 422, "invalid-request"),
        ({"customer_id": "1"}, 422, "invalid-request"),
        ({"status": "closed"}, 422, "invalid-request"),
        ({"description": "nul \x00"}, 422, "invalid-request"),
    ],
)
async def test_what_can_not_be_opened_is_refused(desk, fields, status, slug) -> None:
    answer = await desk.post("/api/tickets", json=TICKET | fields)

    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:problem:{slug}")


@pytest.mark.engine("sqlite")
@pytest.mark.parametrize(
    ("before", "target"), list(itertools.product(lifecycle.STATUSES, lifecycle.STATUSES))
)
async def test_a_ticket_moves_as_it_says_it_may(desk, before: str, target: str) -> None:
    ticket = await opened(desk)
    if before != "open":
        ticket = (await moved(desk, ticket, before)).json()

    answer = await moved(desk, ticket, target)

    if before == target:
        assert (answer.status_code, answer.json()["updated_at"]) == (200, ticket["updated_at"])
    elif target in ticket["allowed_statuses"]:
        assert (answer.status_code, answer.json()["status"]) == (200, target)
    else:
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:problem:invalid-transition"
        assert answer.json()["allowed_statuses"] == ticket["allowed_statuses"]


async def test_a_resolved_ticket_reopens_for_seven_days(desk: httpx.AsyncClient) -> None:
    soon, late = await opened(desk), await opened(desk)
    await resolved_days_ago(desk, soon, 6.9)
    await resolved_days_ago(desk, late, 7.1)

    assert (await desk.get(f"/api/tickets/{late['id']}")).json()["allowed_statuses"] == ["closed"]
    assert (await moved(desk, soon, "open")).status_code == 200
    assert (await moved(desk, late, "open")).status_code == 409


async def test_a_ticket_says_since_when_it_is_resolved_and_closed(desk: httpx.AsyncClient) -> None:
    ticket = await opened(desk)

    async def since(status: str) -> tuple[str | None, str | None]:
        became = (await moved(desk, ticket, status)).json()
        return became["resolved_at"], became["closed_at"]

    assert await since("in_progress") == (None, None)
    resolved_at, closed_at = await since("resolved")
    assert (resolved_at is None, closed_at) == (False, None)
    assert await since("open") == (None, None)
    resolved_at, _ = await since("resolved")
    found, closed_at = await since("closed")
    assert (found, closed_at is None) == (resolved_at, False)


def test_seven_days_to_the_second_are_not_too_long_to_reopen() -> None:
    resolved_at = clock.now()
    last = resolved_at + timedelta(days=7)

    assert lifecycle.allowed("resolved", resolved_at, last) == ["open", "closed"]
    assert lifecycle.allowed("resolved", resolved_at, last + timedelta.resolution) == ["closed"]


@pytest.mark.parametrize(
    ("status", "note", "becomes"),
    [
        ("pending", {"author_kind": "customer"}, "open"),
        ("resolved", {"author_kind": "customer"}, "open"),
        ("on_hold", {"author_kind": "customer"}, "on_hold"),
        ("pending", {"author_kind": "agent"}, "pending"),
        ("pending", {"visibility": "internal"}, "pending"),
    ],
)
async def test_what_a_customer_writes_in_public_reopens(desk, status, note, becomes) -> None:
    ticket = await opened(desk)
    await moved(desk, ticket, status)

    answer = await desk.post(f"/api/tickets/{ticket['id']}/notes", json={"body": "Hello?"} | note)

    assert answer.status_code == 201
    assert (await desk.get(f"/api/tickets/{ticket['id']}")).json()["status"] == becomes


async def test_a_public_note_of_an_agent_is_a_response_and_no_other(
    desk: httpx.AsyncClient,
) -> None:
    await opened(desk)

    async def states_after(**note: str) -> list[str]:
        answer = await desk.post("/api/tickets/1/notes", json={"body": "…", **note})
        assert answer.status_code == 201
        clocks = (await desk.get("/api/tickets/1")).json()["sla"]
        return [clocks[name]["state"] for name in ("first_response", "next_response")]

    assert await states_after(author_kind="customer") == ["running", "running"]
    assert await states_after(visibility="internal") == ["running", "running"]
    assert await states_after(visibility="public") == ["met", "met"]


async def test_a_note_that_reopens_leaves_an_event_of_each(
    desk: httpx.AsyncClient,
) -> None:
    await opened(desk)
    await moved(desk, {"id": 1}, "pending")
    note = {"body": "Hello?", "author_kind": "customer"}
    assert (await desk.post("/api/tickets/1/notes", json=note)).status_code == 201

    *_, added, reopened = (await desk.get("/api/events")).json()["events"]

    assert added["type"] == "ticket.note_added"
    assert reopened["type"] == "ticket.status_changed"
    assert (reopened["data"]["from"], reopened["data"]["to"]) == ("pending", "open")


async def test_a_customer_writes_in_public_alone(desk: httpx.AsyncClient) -> None:
    await opened(desk)
    note = {"body": "Hello?", "author_kind": "customer", "visibility": "internal"}

    assert (await desk.post("/api/tickets/1/notes", json=note)).status_code == 422


async def test_a_late_answer_is_an_answer(desk: httpx.AsyncClient) -> None:
    await opened(desk)
    opened_at = clock.now() - timedelta(hours=9)
    await desk.app.state.database.write(
        lambda db: db.execute(update(tickets).values(created_at=opened_at))
    )
    await desk.patch("/api/tickets/1", json={"assignee": "maria"})
    assert await listed(desk, overdue=True) == [1]

    await desk.post("/api/tickets/1/notes", json={"body": "I am sorry."})

    assert await listed(desk, overdue=True) == []


async def test_a_note_long_after_the_resolution_does_not_reopen(desk: httpx.AsyncClient) -> None:
    ticket = await opened(desk)
    await resolved_days_ago(desk, ticket, 8)

    note = {"body": "Hello?", "author_kind": "customer"}
    assert (await desk.post("/api/tickets/1/notes", json=note)).status_code == 201
    assert (await desk.get("/api/tickets/1")).json()["status"] == "resolved"


async def test_the_old_address_of_notes_still_takes_them(desk: httpx.AsyncClient) -> None:
    await opened(desk)

    answer = await desk.post("/notes/1", json={"body": "Noted."})

    assert answer.status_code == 201
    [note] = (await desk.get("/api/tickets/1/notes")).json()
    assert note == answer.json()
    assert (note["visibility"], note["author_kind"], note["author"]) == ("public", "agent", "admin")


async def test_a_closed_ticket_changes_no_more_and_is_followed_up(desk: httpx.AsyncClient) -> None:
    ticket = await opened(desk)
    await moved(desk, ticket, "closed")

    refused = [
        await desk.patch("/api/tickets/1", json={"priority": "high"}),
        await desk.post("/api/tickets/1/notes", json={"body": "One more thing"}),
    ]
    assert [answer.json()["type"] for answer in refused] == ["urn:problem:ticket-closed"] * 2
    assert (await opened(desk, follow_up_of=1))["follow_up_of"] == 1
    of_another = await desk.post(
        "/api/tickets", json=TICKET | {"customer_id": 2, "follow_up_of": 1}
    )
    assert of_another.status_code == 409


async def test_the_history_tells_every_change_of_every_field(desk: httpx.AsyncClient) -> None:
    await opened(desk, tags=["a"])
    change = {"status": "pending", "priority": "urgent", "assignee": "maria", "tags": ["b", "c"]}
    answer = await desk.patch(
        "/api/tickets/1",
        json=change | {"subject": TICKET["subject"]},
        headers={"X-Request-ID": "r-1"},
    )
    await desk.patch("/api/tickets/1", json={"assignee": None})

    history = (await desk.get("/api/tickets/1/history")).json()

    assert answer.status_code == 200
    told = {entry["field"]: (entry["old"], entry["new"]) for entry in history[:-1]}
    assert told == {
        "status": ("open", "pending"),
        "priority": ("normal", "urgent"),
        "assignee": (None, "maria"),
        "tags": ("a", "b, c"),
    }
    assert {(entry["actor"], entry["request_id"]) for entry in history[:-1]} == {("admin", "r-1")}
    assert (history[-1]["old"], history[-1]["new"]) == ("maria", None)


async def test_changing_nothing_leaves_no_trace(desk: httpx.AsyncClient) -> None:
    ticket = await opened(desk, tags=["b", "a"])

    answer = await desk.patch("/api/tickets/1", json={"status": "open", "tags": ["B", "a", "b"]})

    assert answer.json()["updated_at"] == ticket["updated_at"]
    assert (await desk.get("/api/tickets/1/history")).json() == []


async def test_every_change_is_in_the_feed_and_nothing_anyone_wrote(
    desk: httpx.AsyncClient,
) -> None:
    ticket = await opened(desk)
    await desk.patch("/api/tickets/1", json={"status": "pending", "priority": "high"})
    await desk.post("/api/tickets/1/notes", json={"body": "A secret", "visibility": "internal"})
    await desk.delete("/api/tickets/1")

    page = (await desk.get("/api/events")).json()
    told = [event for event in page["events"] if event["type"].startswith("ticket.")]

    assert [event["type"] for event in told] == [
        "ticket.created",
        "ticket.status_changed",
        "ticket.updated",
        "ticket.note_added",
        "ticket.deleted",
    ]
    assert {event["subject"] for event in told} == {ticket["uid"]}
    assert (told[1]["data"]["from"], told[1]["data"]["to"]) == ("open", "pending")
    assert "parcel" not in str(told)
    assert "secret" not in str(told)


async def test_lists_filter_by_everything_that_is_promised(desk: httpx.AsyncClient) -> None:
    await opened(desk, assignee="maria", tags=["delivery"], priority="urgent")
    await opened(desk, customer_id=2, subject="An invoice is missing")
    await opened(desk, tags=["delivery", "vip"])
    await moved(desk, {"id": 2}, "resolved")

    assert await listed(desk) == [1, 2, 3]
    assert await listed(desk, sort="-id") == [3, 2, 1]
    assert await listed(desk, customer_id=2) == [2]
    assert await listed(desk, status="resolved") == [2]
    assert await listed(desk, priority="urgent") == [1]
    assert await listed(desk, assignee="maria") == [1]
    assert await listed(desk, tag="delivery") == [1, 3]
    assert await listed(desk, tag="delivery", customer_id=2) == []
    assert await listed(desk, q="INVOICE") == [2]
    assert [t["id"] for t in (await desk.get("/customers/1/tickets?limit=1")).json()] == [1]


async def test_overdue_is_what_is_past_a_deadline_and_not_met(desk: httpx.AsyncClient) -> None:
    for _ in range(3):
        await opened(desk)
    past = clock.now() - timedelta(days=30)
    await desk.app.state.database.write(
        lambda db: db.execute(update(tickets).where(tickets.c.id < 3).values(created_at=past))
    )
    for number in (1, 2):
        await desk.patch(f"/api/tickets/{number}", json={"priority": "high"})
    await desk.post("/api/tickets/2/notes", json={"body": "Done."})
    await moved(desk, {"id": 2}, "resolved")

    assert await listed(desk, overdue=True) == [1]
    assert await listed(desk, overdue=False) == [2, 3]
    assert (await desk.get("/api/tickets/1")).json()["sla"]["resolution"]["state"] == "breached"


async def test_of_agents_who_change_one_ticket_at_once_all_but_one_are_told(desk) -> None:
    """Again and again, since they are not at it at once each time."""
    await opened(desk)
    names = ("maria", "paul", "ada", "eve")
    for number in range(10):
        seen = {"If-Match": (await desk.get("/api/tickets/1")).headers["ETag"]}

        answers = await asyncio.gather(
            *(
                desk.patch("/api/tickets/1", json={"assignee": f"{name} {number}"}, headers=seen)
                for name in names
            )
        )

        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
        [winner] = [answer.json()["assignee"] for answer in answers if answer.status_code == 200]
        assert (await desk.get("/api/tickets/1")).json()["assignee"] == winner


async def test_a_deleted_ticket_is_gone_with_all_that_hung_on_it(desk: httpx.AsyncClient) -> None:
    await opened(desk, tags=["a"], description="It is unmistakable.")
    await moved(desk, {"id": 1}, "closed")
    await opened(desk, follow_up_of=1)
    assert "unmistakable" in await all_there_is(desk)

    assert (await desk.delete("/api/tickets/1")).status_code == 204

    for path in ("", "/notes", "/history"):
        assert (await desk.get(f"/api/tickets/1{path}")).status_code == 404
    assert "unmistakable" not in await all_there_is(desk)
    assert (await desk.get("/api/tickets/2")).json()["follow_up_of"] is None
    assert (await opened(desk))["id"] == 3


@pytest.mark.parametrize(
    "path",
    [
        "/api/tickets",
        "/api/tickets?sort=-id",
        "/api/tickets?status=open",
        "/api/customers/1/tickets",
        "/api/tickets/1/notes",
        "/api/tickets/1/history",
    ],
)
@pytest.mark.parametrize(("limit", "sizes"), [(2, [2, 1]), (3, [3])])
async def test_pages_lead_to_everything_once(desk, path: str, limit: int, sizes) -> None:
    for number in range(3):
        await opened(desk, subject=f"Number {number}")
    for number in range(3):
        await desk.patch("/api/tickets/1", json={"assignee": f"agent-{number}"})
        await desk.post("/api/tickets/1/notes", json={"body": f"Note {number}"})
    everything = (await desk.get(path)).json()

    answer = await desk.get(httpx.URL(path).copy_merge_params({"limit": limit}))
    pages = [answer.json()]
    while "next" in answer.links:
        answer = await desk.get(answer.links["next"]["url"])
        pages.append(answer.json())

    assert [len(page) for page in pages] == sizes
    # The clocks of a ticket go on.
    paged = [row | {"sla": None} for page in pages for row in page]
    assert paged == [row | {"sla": None} for row in everything]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/customers", {"name": "Ada", "email": "ada@example.com"}),
        ("/api/customers/batch", [{"name": "Ada", "email": "ada@example.com"}]),
        ("/api/tickets", TICKET),
        ("/api/tickets/1/notes", {"body": "Once."}),
    ],
)
async def test_what_is_sent_twice_with_one_key_happens_once(desk, path, body) -> None:
    await opened(desk)
    key = {"Idempotency-Key": "k-1"}
    before = (await desk.get("/api/events?limit=500")).json()["through_position"]

    first, again = [await desk.post(path, json=body, headers=key) for _ in range(2)]
    other = await desk.post(
        path, json=[*body, 1] if isinstance(body, list) else body | {"x": 1}, headers=key
    )

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert other.status_code == 422
    assert (await desk.get("/api/events?limit=500")).json()["through_position"] == before + 1

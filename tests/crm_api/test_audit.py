"""The audit: who did what, written with the change and not without it."""

import hashlib
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from service_kit.web.audit import Filter
from tests.conftest import bearer, running
from tests.crm_api.conftest import change_database, keeps_its_word, numbered, register
from tests.statements import before_each_statement

AUDIT = "/api/audit"
NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
TICKET = {"customer_id": 1, "subject": "Where is it?", "description": "It was to come today."}


async def entries(crm: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await crm.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def actions(crm: httpx.AsyncClient, **query: Any) -> list[str]:
    return [entry["action"] for entry in await entries(crm, **query)]


@pytest.fixture
def inserts() -> Iterator[list[str]]:
    """Collect the INSERT statements that this process sends to its databases."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("INSERT INTO audit_entries"):
            seen.append(statement)

    with before_each_statement(note):
        yield seen


async def test_every_change_leaves_an_entry_that_names_its_caller_and_request(
    crm: httpx.AsyncClient,
) -> None:
    sent = [
        ("POST", "/api/customers", numbered(1)),
        ("PATCH", "/api/customers/1", {"company": "Example Ltd"}),
        ("POST", "/api/tickets", TICKET),
        ("PATCH", "/api/tickets/1", {"status": "pending", "priority": "high"}),
        ("POST", "/api/tickets/1/notes", {"body": "I wait.", "author_kind": "customer"}),
        ("DELETE", "/api/tickets/1", None),
        ("DELETE", "/api/customers/1", None),
    ]
    request_ids = []
    for method, path, body in sent:
        as_agent = {} if method == "DELETE" else bearer("agent123")
        answer = await crm.request(method, path, json=body, headers=as_agent)
        assert answer.is_success, answer.text
        request_ids.append(answer.headers["x-request-id"])

    found = await entries(crm)
    feed = (await crm.get("/api/events")).json()["events"]
    customer, ticket = feed[0]["subject"], feed[2]["subject"]

    assert [(one["action"], one["actor"], one["subject"]) for one in found] == [
        ("customer.created", "agent", customer),
        ("customer.updated", "agent", customer),
        ("ticket.created", "agent", ticket),
        ("ticket.updated", "agent", ticket),
        ("ticket.note_added", "agent", ticket),
        ("ticket.deleted", "admin", ticket),
        ("customer.erased", "admin", customer),
    ]
    assert [one["request_id"] for one in found] == request_ids


async def test_an_entry_says_which_caller_of_a_name_it_was_and_from_where(
    crm: httpx.AsyncClient,
) -> None:
    issued = (await crm.post("/api/tokens", json={"name": "web-shop", "role": "agent"})).json()
    await register(crm, 1)
    await crm.post("/api/customers", json=numbered(2), headers=bearer(issued["token"]))

    token, by_setting, by_token = await entries(crm)
    digest = hashlib.sha256(b"admin123").hexdigest()

    assert (token["action"], token["subject"]) == ("token.issued", str(issued["id"]))
    assert (by_setting["actor"], by_setting["role"]) == ("admin", "admin")
    assert by_setting["actor_id"] == f"sha256:{digest[:12]}"
    assert (by_token["actor"], by_token["role"]) == ("web-shop", "agent")
    assert by_token["actor_id"] == f"token:{issued['id']}"
    assert {ipaddress.ip_address(one["address"]).is_private for one in (token, by_token)} == {True}
    assert token["address"] != by_token["address"], "each request here has an address of its own"


async def test_an_address_that_no_proxy_should_forward_is_cut(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("x" * 1000, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            client.headers.update(bearer("admin123"))
            await client.post("/api/customers", json=numbered(1))
            [entry] = (await client.get(AUDIT)).json()

    assert entry["address"] == "x" * 45


READS = [
    ("/api/customers/1", "customer.read"),
    ("/api/customers/1?", "customer.read"),
    ("/api/customers/{customer}", "customer.read"),
    ("/api/customers/by-ref/shop-1", "customer.read"),
    ("/api/customers", "customers.listed"),
    ("/api/customers?q=jane", "customers.listed"),
    ("/api/tickets/1", "ticket.read"),
    ("/api/tickets/1/notes", "ticket.read"),
    ("/api/tickets/1/history", "ticket.read"),
    ("/api/tickets", "tickets.listed"),
    ("/api/tickets?sort=-id", "tickets.listed"),
    ("/api/customers/1/tickets", "tickets.listed"),
]


@pytest.mark.parametrize("audit_reads", [True, False])
async def test_reads_of_personal_data_are_audited_where_that_is_asked_for(
    settings: Settings, *, audit_reads: bool
) -> None:
    app = create_app(settings.model_copy(update={"audit_reads": audit_reads}))
    jane = {"name": "Jane Doe", "email": "jane@example.com", "external_ref": "shop-1"}
    async with running(app, token="admin123") as crm:
        keeps_its_word(crm)
        customer = (await crm.post("/api/customers", json=jane)).json()["uid"]
        ticket = (await crm.post("/api/tickets", json=TICKET)).json()["uid"]
        for path, _ in READS:
            answer = await crm.get(path.format(customer=customer), headers=bearer("viewer123"))
            assert answer.status_code == 200
        await crm.get("/api/customers/99", headers=bearer("viewer123"))
        found = await entries(crm, actor="viewer")
    subjects = {"customer.read": customer, "ticket.read": ticket}

    expected = [(action, subjects.get(action, "1 to 1")) for _, action in READS]
    assert [(one["action"], one["subject"]) for one in found] == expected * audit_reads


async def test_what_changes_nothing_leaves_nothing(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    once = {"Idempotency-Key": "again"}
    await crm.post("/api/customers", json=numbered(2), headers=once)
    before = await entries(crm)

    answers = [
        await crm.post("/api/customers", json=numbered(1)),
        await crm.post("/api/customers", json=numbered(2), headers=once),
        await crm.patch("/api/customers/1", json=numbered(1)),
        await crm.patch("/api/customers/1", json={"name": "X"}, headers={"If-Match": '"7"'}),
        await crm.post("/api/tickets", json=TICKET | {"customer_id": 99}),
        await crm.delete("/api/customers/99"),
    ]

    assert [answer.status_code for answer in answers] == [409, 201, 200, 412, 404, 404]
    assert await entries(crm) == before


async def test_a_batch_leaves_an_entry_for_each_that_was_added_in_one_statement(
    crm: httpx.AsyncClient, inserts: list[str]
) -> None:
    await register(crm, 7)
    inserts.clear()

    batch = [numbered(number) for number in range(500)]
    answer = await crm.post("/api/customers/batch", json=batch)

    added = [one["customer"]["uid"] for one in answer.json() if one["status"] == 201]
    found = await entries(crm, limit=500)
    assert len(added) == 499
    assert [one["subject"] for one in found[1:]] == added
    assert len(inserts) == 1


async def test_entries_are_found_by_who_what_on_what_and_when(crm: httpx.AsyncClient) -> None:
    [first, _] = await register(crm, 1, 2)
    agent = bearer("agent123")
    await crm.patch("/api/customers/1", json={"phone": "1"}, headers=agent)
    await change_database(
        crm, "UPDATE audit_entries SET at = '2020-01-01 00:00:00.000000' WHERE id = 1"
    )

    by = {
        "actor": await actions(crm, actor="agent"),
        "request": await actions(crm, request_id=(await entries(crm))[1]["request_id"]),
        "nobody": await actions(crm, actor="viewer"),
        "action": await actions(crm, action="customer.created"),
        "subject": await actions(crm, subject=first["uid"]),
        "before": await actions(crm, created_before="2020-06-01T00:00:00Z"),
        "after": await actions(crm, created_after="2020-06-01T00:00:00Z"),
        "until": await actions(crm, created_before="2020-01-01T00:00:00Z"),
        "from": await actions(crm, created_after="2020-01-01T00:00:00Z"),
        "both": await actions(crm, actor="admin", created_after="2020-06-01T00:00:00Z"),
        "newest": await actions(crm, sort="-id"),
    }

    assert by == {
        "actor": ["customer.updated"],
        "request": ["customer.created"],
        "nobody": [],
        "action": ["customer.created"] * 2,
        "subject": ["customer.created", "customer.updated"],
        "before": ["customer.created"],
        "after": ["customer.created", "customer.updated"],
        "until": [],
        "from": ["customer.created", "customer.updated"],
        "both": ["customer.created"],
        "newest": ["customer.updated", "customer.created", "customer.created"],
    }


@pytest.mark.parametrize("query", [{}, {"sort": "-id"}, {"actor": "admin"}], ids=str)
async def test_pages_lead_to_every_entry_once(
    crm: httpx.AsyncClient, query: dict[str, str]
) -> None:
    await register(crm, *range(5))
    everything = await entries(crm, **query)

    answer = await crm.get(AUDIT, params={**query, "limit": 2})
    paged = answer.json()
    while "next" in answer.links:
        answer = await crm.get(answer.links["next"]["url"])
        paged += answer.json()

    assert len(everything) == 5
    assert paged == everything


async def test_a_cursor_of_one_order_is_refused_by_the_other(crm: httpx.AsyncClient) -> None:
    await register(crm, 1, 2)
    cursor = (await crm.get(AUDIT, params={"limit": 1, "sort": "-id"})).headers["x-next-cursor"]

    assert (await crm.get(AUDIT, params={"cursor": cursor})).status_code == 422


@pytest.mark.parametrize(
    ("wanted", "is_indexed"),
    [
        ({}, True),
        ({"subject": "1"}, True),
        ({"ascending": False}, True),
        ({"actor": "agent"}, False),
        ({"action": "token.issued", "subject": "1"}, False),
        ({"request_id": "r-1"}, False),
        ({"created_after": NEW_YEAR}, False),
        ({"created_before": NEW_YEAR}, False),
    ],
    ids=str,
)
def test_what_no_index_finds_is_read_where_nobody_is_kept_waiting(wanted, is_indexed) -> None:
    assert Filter(**wanted).is_indexed is is_indexed


@pytest.mark.parametrize(
    "query",
    [
        {"action": "customer.forgotten"},
        {"actor": "x" * 101},
        {"subject": "x" * 65},
        {"request_id": "x" * 129},
        {"created_after": "yesterday"},
        {"created_before": "2020-01-01T00:00:00"},
        {"cursor": "nonsense"},
        {"limit": 501},
        {"sort": "at"},
    ],
    ids=str,
)
async def test_a_filter_that_makes_no_sense_is_refused(
    shared_crm: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    assert (await shared_crm.get(AUDIT, params=query)).status_code == 422

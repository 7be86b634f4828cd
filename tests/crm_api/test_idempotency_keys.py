"""Idempotency-Keys in the CRM: whose they are, and what is left of them after an erasure."""

import asyncio
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import all_there_is, numbered

JANE = {"name": "Jane Doe", "email": "jane@example.com"}
TICKET = {"customer_id": 1, "subject": "A parcel", "description": "It never came."}
GONE = "urn:problem:erased"


async def send(
    crm: httpx.AsyncClient, path: str, body: Any, key: str = "k", **headers: str
) -> httpx.Response:
    return await crm.post(path, json=body, headers={"Idempotency-Key": key, **headers})


def is_gone(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["type"]) == (410, GONE)


@pytest.mark.parametrize("prefix", ["/api", ""])
async def test_the_same_key_after_the_erasure_makes_nobody(
    crm: httpx.AsyncClient, prefix: str
) -> None:
    first = await send(crm, f"{prefix}/customers", JANE)
    await crm.delete("/api/customers/1")

    for body in (JANE, JANE, numbered(5)):
        answer = await send(crm, "/api/customers", body)
        assert is_gone(answer), answer.text
        assert "idempotent-replayed" not in answer.headers
    # By hand, and knowing what one does, it is another person.
    again = await send(crm, "/api/customers", JANE, "k2")

    assert first.status_code == again.status_code == 201
    assert [one["id"] for one in (await crm.get("/api/customers?q=jane")).json()] == [2]


async def test_in_a_batch_only_the_erased_one_is_gone(crm: httpx.AsyncClient) -> None:
    wanted = [numbered(1), {"name": "no address"}, JANE, numbered(1), numbered(3)]
    first = (await send(crm, "/api/customers/batch", wanted)).json()
    await crm.delete(f"/api/customers/{first[2]['customer']['uid']}")

    answer = await send(crm, "/api/customers/batch", wanted)
    again = answer.json()

    assert answer.headers["idempotent-replayed"] == "true"
    assert [one["status"] for one in first] == [201, 422, 201, 409, 201]
    assert [one["status"] for one in again] == [201, 422, 410, 409, 201]
    assert again[2]["problem"]["type"] == GONE
    assert [again[at] for at in (0, 1, 3, 4)] == [first[at] for at in (0, 1, 3, 4)]
    assert "jane" not in answer.text.lower()
    assert len((await crm.get("/api/customers")).json()) == 3


async def test_all_of_a_batch_may_be_erased_at_the_same_moment(crm: httpx.AsyncClient) -> None:
    wanted = [numbered(number) for number in range(12)]
    first = (await send(crm, "/api/customers/batch", wanted)).json()

    erased = await asyncio.gather(
        *(crm.delete(f"/api/customers/{one['customer']['uid']}") for one in first)
    )
    again = (await send(crm, "/api/customers/batch", wanted)).json()

    assert {answer.status_code for answer in erased} == {204}
    assert [one["status"] for one in again] == [410] * 12


async def test_keys_of_the_tickets_and_notes_of_an_erased_person_are_gone_too(
    crm: httpx.AsyncClient,
) -> None:
    note = {"body": "Jane says that she waits."}
    others = [
        ("/api/customers", numbered(2)),
        ("/api/tickets", {**TICKET, "customer_id": 1}),
        ("/api/tickets/1/notes", {"body": "Another's"}),
    ]
    hers = [
        ("/api/customers", JANE),
        ("/api/tickets", {**TICKET, "customer_id": 2}),
        ("/api/tickets/2/notes", note),
        ("/api/notes/2", note),
    ]
    for key, calls in (("others", others), ("hers", hers)):
        for path, body in calls:
            assert (await send(crm, path, body, key)).status_code == 201
    await crm.delete("/api/customers/2")

    for path, body in hers:
        assert is_gone(await send(crm, path, body, "hers")), path
    for path, body in others:
        answer = await send(crm, path, body, "others")
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (201, "true")
    assert len((await crm.get("/api/tickets")).json()) == 2


async def test_the_text_of_a_deleted_ticket_is_in_no_stored_answer(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=JANE)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/api/tickets", TICKET),
        ("/api/tickets/1/notes", {"body": "She lives in Elm Street."}),
    ]
    for path, body in calls:
        assert (await send(crm, path, body)).status_code == 201
    assert "elm street" in await all_there_is(crm), "else it would prove nothing"

    assert (await crm.delete("/api/tickets/1")).status_code == 204

    left = await all_there_is(crm)
    assert [word for word in ("elm street", "a parcel", "never came") if word in left] == []
    for path, body in calls:
        assert is_gone(await send(crm, path, body)), path
    assert (await send(crm, "/api/tickets", TICKET, "new")).status_code == 201


async def test_not_even_a_print_of_what_was_sent_is_left(crm: httpx.AsyncClient) -> None:
    await send(crm, "/api/customers", JANE)
    await send(crm, "/api/customers/batch", [numbered(2)])
    for customer in (1, 2):
        await crm.delete(f"/api/customers/{customer}")

    left = await crm.app.state.database.read(  # type: ignore[attr-defined]
        lambda db: db.exec_driver_sql(
            "SELECT fingerprint, status, key, route FROM idempotency_keys ORDER BY id"
        ).all()
    )

    assert [tuple(row) for row in left] == [
        ("", 410, "k", "/api/customers"),
        ("", 200, "k", "/api/customers/batch"),
    ]


async def test_tokens_of_one_role_have_keys_of_their_own(settings: Settings) -> None:
    configured = Settings(
        database_url=settings.database_url,
        seed_demo_data=False,
        api_tokens="admin:the-first-admin,agent:agent-of-the-shop,agent:agent-of-the-till",
        anonymous_scopes="customers:create",
    )
    async with running(create_app(configured)) as crm:
        issued = [
            await crm.post(
                "/api/tokens",
                json={"name": name, "role": "agent"},
                headers=bearer("the-first-admin"),
            )
            for name in ("shop", "till")
        ]
        tokens = [answer.json()["token"] for answer in issued]
        callers = [
            *map(bearer, ["the-first-admin", "agent-of-the-shop", "agent-of-the-till", *tokens]),
            {},
        ]
        made, again = [
            [
                await send(crm, "/api/customers", numbered(number), **caller)
                for number, caller in enumerate(callers)
            ]
            for _ in range(2)
        ]

    assert [answer.status_code for answer in made] == [201] * 6
    assert [answer.headers.get("idempotent-replayed") for answer in made] == [None] * 6
    assert [answer.headers.get("idempotent-replayed") for answer in again] == ["true"] * 6
    assert [answer.json()["id"] for answer in again] == [1, 2, 3, 4, 5, 6]


async def test_a_key_may_come_with_a_long_path(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=JANE)
    await crm.post("/api/tickets", json=TICKET)
    path = f"/api/tickets/{'0' * 250}1/notes"

    answers = [await send(crm, path, {"body": "I wait."}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotent-replayed"] == "true"

"""Erasing a customer: nothing more is sent, names and notes go, and it stays so for ever."""

from typing import Any

import httpx
import pytest

from inventory_api.tables import metadata
from tests.inventory_api.conftest import (
    BATCH,
    LIST,
    app_of,
    change_database,
    new_customer,
    request_package,
)
from tests.inventory_api.stock import (
    add_item,
    add_kit,
    deltas,
    find_faults,
    ledger,
    levels,
    put_kit,
    shown,
    status_of,
    take,
)
from tests.personal import all_marks, everything_in, leave_marks, marks

ERASED = "urn:problem:customer-erased"
PERSONAL = {"customer_name": "Jane Doe", "note": "Ring twice"}


async def erase(inventory: httpx.AsyncClient, *customers: str) -> int:
    answer = await inventory.post(f"{LIST}/erasures", json={"customer_ids": customers})
    assert answer.status_code == 200, answer.text
    erased: int = answer.json()["erased"]
    return erased


async def packages_of(inventory: httpx.AsyncClient, customer: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        await inventory.get(LIST, params={"customer_id": customer})
    ).json()
    return found


async def test_all_requests_of_a_customer_are_cancelled_and_lose_name_and_note(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer, other = new_customer(), new_customer()
    for occurrence in (1, 2):
        await request_package(
            shared_inventory, customer_id=customer, occurrence=occurrence, **PERSONAL
        )
    kept = await request_package(shared_inventory, customer_id=other, **PERSONAL)
    before = await packages_of(shared_inventory, customer)

    assert await erase(shared_inventory, customer, new_customer()) == 2

    after = await packages_of(shared_inventory, customer)
    changed = {"customer_name": None, "note": None, "status": "cancelled"}
    assert [one | {"updated_at": ""} for one in after] == [
        one | changed | {"updated_at": ""} for one in before
    ]
    assert await packages_of(shared_inventory, other) == [kept]


async def test_no_personal_column_of_any_table_survives(inventory: httpx.AsyncClient) -> None:
    """Not in its row, and not in stored answers made of it."""
    database, tables = app_of(inventory).state.database, metadata.tables
    wanted = marks(tables.values())
    sent = {"customer_id": "jane", **dict.fromkeys(PERSONAL, "mark-sent")}
    answer = await inventory.post(LIST, json=sent, headers={"Idempotency-Key": "1"})
    assert answer.status_code == 201, answer.text
    await database.write(leave_marks, tables, wanted)
    before = await database.read(everything_in)

    assert await erase(inventory, "jane") == 1

    left = await database.read(everything_in)
    every = [*all_marks(wanted), "mark-sent"]
    assert [mark for mark in every if mark not in before] == []
    assert [mark for mark in every if mark in left] == []


async def test_a_customer_who_is_named_twice_is_erased_once(
    shared_inventory: httpx.AsyncClient,
) -> None:
    customer = new_customer()
    await request_package(shared_inventory, customer_id=customer)
    wanted = {"customer_ids": [customer, customer]}

    answer = (await shared_inventory.post(f"{LIST}/erasures", json=wanted)).json()

    assert (answer["erased"], answer["customer_ids"]) == (1, [customer])


async def test_a_reader_is_told_that_what_it_has_kept_was_erased(
    shared_inventory: httpx.AsyncClient,
) -> None:
    made = await request_package(shared_inventory, **PERSONAL)
    await take(shared_inventory, made["request_id"], "pack", "ship")
    path = f"{LIST}/{made['request_id']}"
    kept = {"If-None-Match": (await shared_inventory.get(path)).headers["etag"]}
    assert (await shared_inventory.get(path, headers=kept)).status_code == 304

    await erase(shared_inventory, made["customer_id"])

    answer = await shared_inventory.get(path, headers=kept)
    assert (answer.status_code, answer.json()["customer_name"]) == (200, None)


async def test_an_erasure_happens_once(shared_inventory: httpx.AsyncClient) -> None:
    made = await request_package(shared_inventory, **PERSONAL)
    path = f"{LIST}/{made['request_id']}"
    before = (await shared_inventory.get(path)).headers["etag"]

    erased = [await erase(shared_inventory, made["customer_id"])]
    once = await shared_inventory.get(path)
    erased.append(await erase(shared_inventory, made["customer_id"]))
    twice = await shared_inventory.get(path)

    assert erased == [1, 0]
    assert once.headers["etag"] != before
    assert (twice.headers["etag"], twice.json()) == (once.headers["etag"], once.json())


# What a package is; what it becomes; the levels then, of the five of which it wants one, and the
# rows that this writes to the ledger.
FATES: dict[str, tuple[list[str], str, tuple[int, int], list[tuple[int, int, str]]]] = {
    "pending": ([], "cancelled", (5, 0), [(0, -1, "cancelled")]),
    "packed": (["pack"], "cancelled", (5, 1), []),
    "shipped": (["pack", "ship"], "shipped", (4, 0), []),
    "delivered": (["pack", "ship", "deliver"], "delivered", (4, 0), []),
    "cancelled": (["cancel"], "cancelled", (5, 0), []),
    "to unpack": (["pack", "cancel"], "cancelled", (5, 1), []),
    "returned": (["pack", "ship", "return"], "returned", (5, 0), []),
}


@pytest.mark.parametrize(("moves", "status", "stock", "written"), FATES.values(), ids=FATES)
async def test_what_is_not_shipped_is_cancelled_and_everything_is_forgotten(
    shared_inventory: httpx.AsyncClient,
    moves: list[str],
    status: str,
    stock: tuple[int, int],
    written: list[tuple[int, int, str]],
) -> None:
    sku, package_type = await add_kit(shared_inventory, 5)
    made = await request_package(shared_inventory, package_type=package_type, **PERSONAL)
    await take(shared_inventory, made["request_id"], *moves)
    before = await ledger(shared_inventory, sku)

    await erase(shared_inventory, made["customer_id"])

    found = await shown(shared_inventory, made["request_id"])
    assert (found["status"], found["customer_name"], found["note"]) == (status, None, None)
    assert found["to_unpack"] == ("pack" in moves and "ship" not in moves)
    assert await levels(shared_inventory, sku) == stock
    rows = (await ledger(shared_inventory, sku))[len(before) :]
    assert deltas(rows) == written
    assert {(row["reference"], row["actor"]) for row in rows} <= {(made["request_id"], "admin")}
    assert await find_faults(shared_inventory) == []


async def test_what_was_promised_goes_to_whoever_waits_in_the_same_moment(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 1)
    erased, waits_erased, waits = [
        await request_package(shared_inventory, package_type=package_type, **PERSONAL)
        for _ in range(3)
    ]

    await erase(shared_inventory, erased["customer_id"], waits_erased["customer_id"])

    assert await status_of(shared_inventory, erased["request_id"]) == "cancelled"
    assert await status_of(shared_inventory, waits_erased["request_id"]) == "cancelled"
    assert await status_of(shared_inventory, waits["request_id"]) == "pending"
    assert await levels(shared_inventory, sku) == (1, 1)
    assert await find_faults(shared_inventory) == []


async def test_a_packed_box_is_in_the_pick_list_without_a_name_until_it_is_emptied(
    inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(inventory, 5)
    card = await add_item(inventory, tracked=False)
    await put_kit(inventory, {sku: 2, card: 1}, package_type)
    made = [
        await request_package(inventory, package_type=package_type, **PERSONAL) for _ in range(3)
    ]
    await take(inventory, made[0]["request_id"], "pack")
    assert (await inventory.get("/verify")).json()["balanced"]

    await erase(inventory, made[0]["customer_id"])

    listed = await inventory.get("/pick-list")
    assert PERSONAL["customer_name"] not in listed.text
    assert made[0]["customer_id"] not in listed.text
    assert listed.json()["packages"] == 1  # the third waits for what is in the box
    assert {one["sku"]: one["quantity"] for one in listed.json()["items"]} == {sku: 2, card: 1}
    [box] = listed.json()["to_unpack"]
    assert (box["request_id"], box["package_type"]) == (made[0]["request_id"], package_type)
    assert {one["sku"]: one["quantity"] for one in box["lines"]} == {sku: 2, card: 1}
    assert (await inventory.post("/verify/repair")).json()["repaired"] == []
    assert await levels(inventory, sku) == (5, 4)

    await take(inventory, made[0]["request_id"], "unpack")

    listed = await inventory.get("/pick-list")
    assert (listed.json()["packages"], listed.json()["to_unpack"]) == (2, [])
    assert await find_faults(inventory) == []


async def test_the_reservation_of_a_box_is_missed_and_made_good(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 5)
    made = await request_package(shared_inventory, package_type=package_type)
    await take(shared_inventory, made["request_id"], "pack", "cancel")
    await change_database(
        shared_inventory,
        "DELETE FROM reservations WHERE package_request_id ="  # noqa: S608
        f" (SELECT id FROM package_requests WHERE request_id = '{made['request_id']}')",
    )

    found = (await shared_inventory.get("/verify")).json()["differences"]
    await shared_inventory.post("/verify/repair")

    assert [(one["kind"], one["sku"]) for one in found] == [("reservations", sku)]
    assert await levels(shared_inventory, sku) == (5, 1)
    assert await find_faults(shared_inventory) == []


# ---- Whoever was erased gets nothing, ever ----


@pytest.mark.parametrize("moves", [None, [], ["pack", "ship"]], ids=["none", "pending", "shipped"])
async def test_a_later_request_for_an_erased_customer_is_refused_for_ever(
    shared_inventory: httpx.AsyncClient, moves: list[str] | None
) -> None:
    customer, other = new_customer(), new_customer()
    if moves is not None:
        made = await request_package(shared_inventory, customer_id=customer)
        await take(shared_inventory, made["request_id"], *moves)
    await erase(shared_inventory, customer)
    before = await packages_of(shared_inventory, customer)

    wanted = [{"customer_id": customer, **PERSONAL, "occurrence": n} for n in (1, 2)]
    alone = await shared_inventory.post(LIST, json=wanted[0])
    batched = await shared_inventory.post(BATCH, json=[*wanted, {"customer_id": other}, {}])

    assert (alone.status_code, alone.json()["type"]) == (410, ERASED)
    assert [one["status"] for one in batched.json()] == [410, 410, 201, 422]
    assert {one["problem"]["type"] for one in batched.json()[:2]} == {ERASED}
    assert batched.json()[2]["package_request"]["customer_id"] == other
    assert await packages_of(shared_inventory, customer) == before


async def test_both_ids_of_a_customer_are_erased(shared_inventory: httpx.AsyncClient) -> None:
    uid, number = new_customer(), f"4711{new_customer()[:4]}"
    made = await request_package(shared_inventory, customer_id=number, **PERSONAL)

    await erase(shared_inventory, uid, number)

    assert (await shown(shared_inventory, made["request_id"]))["status"] == "cancelled"
    for customer in (uid, number):
        answer = await shared_inventory.post(LIST, json={"customer_id": customer})
        assert answer.status_code == 410


async def test_a_dry_run_tells_what_is_to_do_and_does_nothing(
    shared_inventory: httpx.AsyncClient,
) -> None:
    live = await request_package(shared_inventory, **PERSONAL)
    shipped = await request_package(shared_inventory, **PERSONAL)
    await take(shared_inventory, shipped["request_id"], "pack", "ship")
    unknown, done = new_customer(), new_customer()
    await erase(shared_inventory, done)
    body = {"customer_ids": [live["customer_id"], done, shipped["customer_id"], unknown]}
    news = {"erased": 2, "customer_ids": [live["customer_id"], shipped["customer_id"], unknown]}

    async def ask(*, dry_run: bool) -> Any:
        answer = await shared_inventory.post(f"{LIST}/erasures", json=body | {"dry_run": dry_run})
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert [await ask(dry_run=True) for _ in range(2)] == [news | {"dry_run": True}] * 2
    assert await shown(shared_inventory, live["request_id"]) == live
    assert await ask(dry_run=False) == news | {"dry_run": False}
    for dry_run in (True, False):
        nothing = {"dry_run": dry_run, "erased": 0, "customer_ids": []}
        assert await ask(dry_run=dry_run) == nothing


async def test_what_an_older_version_had_only_blanked_is_cancelled_now(
    shared_inventory: httpx.AsyncClient,
) -> None:
    sku, package_type = await add_kit(shared_inventory, 1)
    made = await request_package(shared_inventory, package_type=package_type)
    await change_database(
        shared_inventory,
        "UPDATE package_requests SET erased_at = created_at"  # noqa: S608
        f" WHERE request_id = '{made['request_id']}'",
        "INSERT INTO erased_customers SELECT customer_id, created_at"  # noqa: S608
        " FROM package_requests"
        f" WHERE request_id = '{made['request_id']}'",
    )

    assert await erase(shared_inventory, made["customer_id"]) == 1

    assert await status_of(shared_inventory, made["request_id"]) == "cancelled"
    assert await levels(shared_inventory, sku) == (1, 0)


@pytest.mark.parametrize(
    ("customer", "other"),
    [
        ("plain", "plainer"),
        ("%", "anyone"),
        ("____", "four"),
        ('quo"te', "quote"),
        ("back\\slash", "backslash"),
        ("Zoë 🎉", "Zoe"),
        ("/", "//"),
        ("'; --", "x"),
    ],
)
@pytest.mark.parametrize("path", [LIST, BATCH])
async def test_what_was_answered_to_a_key_is_forgotten_too_and_no_other_answer_is(
    shared_inventory: httpx.AsyncClient, path: str, customer: str, other: str
) -> None:
    # Whom one of these tests erases is erased for the others, too.
    customer, other = f"{customer}{path[-1]}", f"{other}{path[-1]}"

    async def ask(whom: str, **more: Any) -> httpx.Response:
        wanted = {"customer_id": whom, "package_type": path.replace("/", "."), **PERSONAL, **more}
        return await shared_inventory.post(
            path,
            json=[wanted] if path == BATCH else wanted,
            headers={"Idempotency-Key": f"{path}:{customer.encode().hex()}:{whom.encode().hex()}"},
        )

    for whom in (customer, other):
        assert (await ask(whom)).status_code in {200, 201}
    await erase(shared_inventory, customer)

    again = [await ask(customer), await ask(customer, occurrence=2)]
    unharmed, reused = await ask(other), await ask(other, occurrence=2)

    for answer in again:
        assert PERSONAL["customer_name"] not in answer.text
        whole = answer.json()[0]["problem"] if path == BATCH else answer.json()
        assert (whole["type"], whole["status"]) == ("urn:problem:erased", 410)
        assert answer.status_code == (200 if path == BATCH else 410)
    assert unharmed.headers["idempotent-replayed"] == "true"
    assert reused.status_code == 422
    assert len(await packages_of(shared_inventory, customer)) <= 2, "of two paths, one each"


async def test_in_a_batch_the_others_are_answered_as_before(
    shared_inventory: httpx.AsyncClient,
) -> None:
    whom = [new_customer() for _ in range(4)]
    wanted = [{"customer_id": one, **PERSONAL} for one in whom]
    wanted.insert(1, {"customer_id": ""})
    headers = {"Idempotency-Key": new_customer()}
    first = (await shared_inventory.post(BATCH, json=wanted, headers=headers)).json()

    await erase(shared_inventory, whom[1], whom[3])
    await erase(shared_inventory, whom[1])
    answer = await shared_inventory.post(BATCH, json=wanted, headers=headers)
    again = answer.json()

    assert answer.headers["idempotent-replayed"] == "true"
    assert [one["status"] for one in first] == [201, 422, 201, 201, 201]
    assert [one["status"] for one in again] == [201, 422, 410, 201, 410]
    assert [again[at] for at in (0, 1, 3)] == [first[at] for at in (0, 1, 3)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer_ids": []},
        {"customer_ids": [""]},
        {"customer_ids": ["\0"]},
        {"customer_ids": "x"},
        {"customer_ids": [None]},
        {"customer_ids": ["x" * 65]},
        {"customer_ids": ["x"] * 501},
        {"customer_ids": ["x"], "dry_run": "true"},
        {"customer_ids": ["x"], "all": True},
    ],
    ids=lambda body: str(body)[:40],
)
async def test_whom_to_forget_must_be_said(
    shared_inventory: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await shared_inventory.post(f"{LIST}/erasures", json=body)).status_code == 422

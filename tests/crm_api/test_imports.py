"""Files of customers over HTTP: what comes of their rows, and what is told of it."""

import json
from typing import Any

import httpx
import pytest

from crm_api.app import create_app
from crm_api.imports.models import Import
from crm_api.settings import Settings
from tests.conftest import bearer, running
from tests.crm_api.conftest import all_there_is, app_of, change_database, read_feed, register
from tests.crm_api.imports import (
    IMPORTS,
    counts,
    ended,
    imported,
    report,
    rows,
    send,
    table,
)
from tests.described import keeps_its_word

WRONG = "Nobody,not-an-address,ref-9"


async def test_each_row_becomes_a_customer(crm: httpx.AsyncClient) -> None:
    answer = await send(crm, table(*rows(1, 2)), headers={"x-request-id": "the-import"})
    found = await ended(crm, answer)

    assert answer.headers["location"] == "/api/imports/1"
    assert answer.json() | {"id": 1, "state": "running", "rows_read": 0} == answer.json()
    assert found["state"] == "finished"
    assert (found["rows"], found["rows_read"], counts(found)) == (2, 2, (2, 0, 0, 0))
    assert (found["packages"], found["actor"], found["problem"]) == (2, "admin", None)
    assert found["bytes"] == len(table(*rows(1, 2)))
    assert found["finished_at"] > found["created_at"]
    names = [one["name"] for one in (await crm.get("/api/customers")).json()]
    assert names == ["Customer 1", "Customer 2"]
    assert [event["type"] for event in (await read_feed(crm))["events"]] == ["customer.created"] * 2


async def test_the_audit_says_who_has_imported_whom(crm: httpx.AsyncClient) -> None:
    """A background task acts for its caller: its name, its address, its request id."""
    await ended(crm, await send(crm, table(*rows(1)), headers={"x-request-id": "the-import"}))

    found = (await crm.get("/api/audit")).json()
    assert [one["action"] for one in found] == ["customers.imported", "customer.created"]
    assert {(one["actor"], one["request_id"]) for one in found} == {("admin", "the-import")}
    assert found[0]["subject"] == "import:1"
    assert found[0]["address"] == found[1]["address"] is not None


async def test_known_customers_are_updated_by_reference_and_left_by_address(
    crm: httpx.AsyncClient,
) -> None:
    await register(crm, 7)
    await imported(crm, *rows(1, 2))

    changed = "Customer Two,customer-2@example.com,ref-2"
    found = await imported(crm, *rows(1), changed, "Seven,customer-7@example.com,")

    assert counts(found) == (0, 1, 2, 0)
    names = {one["name"] for one in (await crm.get("/api/customers")).json()}
    assert names == {"Customer 7", "Customer 1", "Customer Two"}
    assert found["packages"] == 0


async def test_a_refused_row_is_told_without_its_values_and_can_be_corrected_in_the_report(
    crm: httpx.AsyncClient,
) -> None:
    found = await imported(crm, *rows(1), WRONG, "'=Eve,eve@example.com,", "a,b")

    assert counts(found) == (2, 0, 0, 2)
    assert found["first_refused"] == [
        {"line": 3, "column": "email", "reason": "is no e-mail address"},
        {"line": 5, "column": "all", "reason": "2 cells where the header has 3"},
    ]
    told = await report(crm, 1)
    assert told == [
        ["name", "email", "external_ref", "line", "reason"],
        ["Nobody", "not-an-address", "ref-9", "3", "email: is no e-mail address"],
        ["a", "b", "", "5", "all: 2 cells where the header has 3"],
    ]
    text = (await crm.get(f"{IMPORTS}/1/report")).text
    fixed = text.replace("not-an-address", "nobody@example.com").replace("a,b", "a,b@example.com")
    again = await ended(crm, await send(crm, fixed))
    assert counts(again) == (2, 0, 0, 0)
    assert await report(crm, 2) == [told[0]]


async def test_what_stands_in_a_file_twice_is_refused_with_the_other_line(
    crm: httpx.AsyncClient,
) -> None:
    found = await imported(crm, *rows(1, 2), "Twin,customer-1@example.com,ref-3")

    assert counts(found) == (1, 0, 0, 2)
    assert [one["reason"] for one in found["first_refused"]] == [
        "is also on line 4",
        "is also on line 2",
    ]


async def test_at_most_a_hundred_refusals_are_shown_and_all_are_in_the_report(
    crm: httpx.AsyncClient,
) -> None:
    found = await imported(crm, *(f"Nobody {n},nowhere-{n},ref-{n}" for n in range(130)))

    assert found["refused"] == 130
    assert len(found["first_refused"]) == 100
    assert found["first_refused"][-1]["line"] == 101
    assert [row[3] for row in (await report(crm, 1))[1:]] == [str(n) for n in range(2, 132)]


async def test_a_dry_run_writes_nothing_and_tells_what_would_be(crm: httpx.AsyncClient) -> None:
    await imported(crm, *rows(1))
    before = (await crm.get("/api/audit")).json()

    changed = "Customer One,customer-1@example.com,ref-1"
    found = await imported(crm, changed, *rows(2, 3), WRONG, dry_run=True)

    assert found["dry_run"]
    assert counts(found) == (2, 1, 0, 1)
    assert found["packages"] == 2
    assert len((await crm.get("/api/customers")).json()) == 1
    assert (await crm.get("/api/customers/1")).json()["name"] == "Customer 1"
    assert (await crm.get("/api/audit")).json() == before
    assert len(await report(crm, 2)) == 2


async def test_without_welcome_the_feed_says_that_no_package_is_wanted(
    crm: httpx.AsyncClient,
) -> None:
    found = await imported(crm, *rows(1), welcome=False)

    [event] = (await read_feed(crm))["events"]
    assert event["data"]["welcome"] is False
    assert (found["created"], found["packages"], found["welcome"]) == (1, 0, False)


async def test_a_list_shows_all_imports_page_by_page(crm: httpx.AsyncClient) -> None:
    for number in (1, 2, 3):
        await imported(crm, *rows(number))

    first = await crm.get(IMPORTS, params={"limit": 2})
    rest = await crm.get(first.links["next"]["url"])
    newest = await crm.get(IMPORTS, params={"sort": "-id", "limit": 1})

    assert [one["id"] for one in [*first.json(), *rest.json()]] == [1, 2, 3]
    assert [one["id"] for one in newest.json()] == [3]
    assert "next" not in rest.links
    assert "first_refused" not in first.json()[0]


@pytest.mark.parametrize("path", ["", "/report"])
async def test_there_is_no_such_import(crm: httpx.AsyncClient, path: str) -> None:
    answer = await crm.get(f"{IMPORTS}/7{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:problem:import-not-found"


async def test_the_same_key_and_file_are_one_import(crm: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "monday"}
    first = await send(crm, table(*rows(1)), headers=key)
    await ended(crm, first)

    again = await send(crm, table(*rows(1)), headers=key)
    other_file = await send(crm, table(*rows(2)), headers=key)
    other_order = await send(crm, table(*rows(1)), headers=key, dry_run=True)

    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    for refused in (other_file, other_order):
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:problem:idempotency-key-reused"
    assert len((await crm.get(IMPORTS)).json()) == 1


async def test_a_caller_has_one_import_at_a_time(crm: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "monday"}
    first = await send(crm, table(*rows(1)), headers=key)
    await ended(crm, first)
    await change_database(crm, "UPDATE imports SET state = 'running'")
    other = {"name": "the-other-admin", "role": "admin"}
    token = (await crm.post("/api/tokens", json=other)).json()["token"]

    plain = await send(crm, table(*rows(2)))
    keyed = await send(crm, table(*rows(2)), headers={"Idempotency-Key": "tuesday"})
    replayed = await send(crm, table(*rows(1)), headers=key)
    of_other = await send(crm, table(*rows(2)), headers=bearer(token))

    for refused in (plain, keyed):
        assert (refused.status_code, refused.headers["retry-after"]) == (409, "10")
        assert refused.json()["type"] == "urn:problem:import-running"
        assert refused.json()["import_id"] == 1
    assert (replayed.status_code, replayed.json()) == (202, first.json())
    assert (await ended(crm, of_other))["actor"] == "the-other-admin"


async def test_only_so_many_imports_run_at_once(crm: httpx.AsyncClient) -> None:
    await imported(crm, *rows(1))
    columns = [name for name in Import._fields if name not in {"id", "credential", "state"}]
    names = ", ".join(columns)
    await change_database(
        crm,
        *(
            f"INSERT INTO imports (credential, state, {names}) "  # noqa: S608
            f"SELECT 'other-{n}', 'running', {names} FROM imports WHERE id = 1"
            for n in range(4)
        ),
    )

    refused = await send(crm, table(*rows(2)))

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    assert refused.json()["type"] == "urn:problem:too-many-imports"


async def test_a_report_is_read_by_somebody_whom_the_audit_names(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"audit_reads": True}))
    async with running(app, token="admin123") as crm:
        await imported(keeps_its_word(crm), WRONG)
        await report(crm, 1)
        [*_, last] = (await crm.get("/api/audit")).json()

    assert (last["action"], last["subject"], last["actor"]) == ("import.read", "import:1", "admin")


async def test_an_erasure_erases_all_reports(crm: httpx.AsyncClient) -> None:
    """Whom a refused row is about nobody can tell: it may have no address, or a wrong one."""
    await imported(crm, *rows(1), "Customer One,customer-1@example,ref-1b")
    assert "customer-1@example," in (await crm.get(f"{IMPORTS}/1/report")).text

    assert (await crm.delete("/api/customers/1")).status_code == 204

    gone = await crm.get(f"{IMPORTS}/1/report")
    assert (gone.status_code, gone.json()["type"]) == (410, "urn:problem:report-gone")
    assert "customer-1@example" not in await all_there_is(crm)
    found = (await crm.get(f"{IMPORTS}/1")).json()
    assert found["first_refused"] == [
        {"line": 3, "column": "email", "reason": "is no e-mail address"}
    ]


async def test_no_value_of_a_file_is_kept_outside_the_report(crm: httpx.AsyncClient) -> None:
    secret = "S3cret Person"
    await imported(crm, f"{secret},nowhere,{'x' * 201}")
    await change_database(crm, "DELETE FROM import_reports")

    left = await all_there_is(crm)

    assert secret.lower() not in left
    assert "x" * 201 not in left
    assert "nowhere" not in left


async def test_a_report_is_kept_for_a_week(crm: httpx.AsyncClient) -> None:
    await imported(crm, WRONG)
    await change_database(
        crm,
        "UPDATE imports SET created_at = '2020-01-01 00:00:00.000000'",
    )

    gone = await crm.get(f"{IMPORTS}/1/report")

    assert (gone.status_code, gone.json()["type"]) == (410, "urn:problem:report-gone")
    assert "7 days" in gone.json()["detail"]


async def test_what_a_dry_run_says_it_would_do_is_what_is_done(crm: httpx.AsyncClient) -> None:
    await register(crm, 5)
    await imported(crm, *rows(1, 2))
    lines = [
        "Customer One,customer-1@example.com,ref-1",
        *rows(2, 3, 4),
        "Five,customer-5@example.com,ref-5",
        "Five,customer-5@example.com,",
        WRONG,
        "Thief,customer-2@example.com,ref-8",
    ]

    foreseen = await imported(crm, *lines, dry_run=True)
    done = await imported(crm, *lines)

    assert counts(foreseen) == counts(done)
    assert foreseen["first_refused"] == done["first_refused"]
    assert foreseen["packages"] == done["packages"]


async def test_state_is_in_the_database_so_that_every_process_answers(
    crm: httpx.AsyncClient,
) -> None:
    settings: Settings = app_of(crm).state.settings
    async with running(create_app(settings), token="admin123") as other:
        found: dict[str, Any] = await imported(crm, *rows(1), WRONG)

        assert (await other.get(f"{IMPORTS}/1")).json() == found
        assert await report(other, 1) == await report(crm, 1)
        assert json.dumps((await other.get(IMPORTS)).json()) == json.dumps(
            (await crm.get(IMPORTS)).json()
        )

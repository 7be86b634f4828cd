"""A customer's postal address, on each way into the CRM and out of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from service_kit.web.postal import EXAMPLE
from tests.crm_api.conftest import all_there_is, app_of, numbered, read_feed, register, run
from tests.crm_api.test_transfer import desk, report_of, write  # noqa: F401 (fixtures)

pytestmark = pytest.mark.usefixtures("log_as_before")

LONDON: dict[str, Any] = dict(EXAMPLE)
BERLIN = {
    "lines": ["Döner Straße 1", "=2. Stock"],
    "postal_code": "10115",
    "city": "Berlin",
    "region": None,
    "country": "DE",
}
SENT = {"lines": BERLIN["lines"], "postal_code": "10115", "city": "Berlin", "country": "de"}
COLUMNS = "address.line_1,address.line_2,address.postal_code,address.city,address.country"
Write = Callable[..., str]


async def address_of(crm: httpx.AsyncClient, customer: int = 1) -> Any:
    """Look up an address: one customer, and the list of them, must agree."""
    found = (await crm.get(f"/api/customers/{customer}")).json()
    by_uid = (await crm.get(f"/api/customers/{found['uid']}")).json()
    listed = {one["id"]: one for one in (await crm.get("/api/customers")).json()}
    assert found == by_uid == listed[customer]
    return found["address"]


async def last_event(crm: httpx.AsyncClient) -> dict[str, Any]:
    event: dict[str, Any] = (await read_feed(crm, limit=500))["events"][-1]
    return event


async def test_an_address_is_registered_and_told_to_the_feed(crm: httpx.AsyncClient) -> None:
    answer = await crm.post("/api/customers", json=numbered(1, address=SENT))

    assert answer.json()["address"] == BERLIN
    assert await address_of(crm) == BERLIN
    event = await last_event(crm)
    assert (event["type"], event["data"]["address"]) == ("customer.created", BERLIN)


async def test_who_has_none_has_null(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)
    null = await crm.post("/api/customers", json=numbered(2, address=None))

    assert null.status_code == 201
    assert [await address_of(crm, number) for number in (1, 2)] == [None, None]
    assert (await last_event(crm))["data"]["address"] is None
    assert "null" not in await _stored(crm)


async def _stored(crm: httpx.AsyncClient) -> str:
    """Read the column itself: the JSON value null is not the same as none."""
    read = app_of(crm).state.database.read
    return str(await read(lambda db: db.execute(text("SELECT address FROM customers")).all()))


async def test_a_key_gets_the_same_address_again(crm: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    sent = numbered(1, address=SENT)

    answers = [await crm.post("/api/customers", json=sent, headers=headers) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert answers[1].json()["address"] == BERLIN


async def test_a_batch_takes_addresses_each_for_itself(crm: httpx.AsyncClient) -> None:
    sent = [
        numbered(1, address=SENT),
        numbered(2, address={**SENT, "country": "XX"}),
        numbered(3),
    ]

    good, bad, without = (await crm.post("/api/customers/batch", json=sent)).json()

    assert (good["status"], good["customer"]["address"]) == (201, BERLIN)
    assert (without["status"], without["customer"]["address"]) == (201, None)
    assert bad["status"] == 422
    assert bad["problem"]["errors"][0]["loc"] == ["address", "country"]


async def test_an_address_is_replaced_whole_and_removed_by_null(crm: httpx.AsyncClient) -> None:
    await crm.post("/api/customers", json=numbered(1, address=LONDON))
    there = {"lines": ["Elsewhere"], "country": "FR"}

    async def patched(**change: Any) -> Any:
        answer = await crm.patch("/api/customers/1", json=change)
        assert answer.status_code == 200, answer.text
        assert answer.json()["address"] == await address_of(crm)
        return answer.json()["address"]

    assert await patched(name="Another") == LONDON
    assert await patched(address=there) == {
        **dict.fromkeys(LONDON),
        **there,
    }
    assert await patched(address=None) is None
    event = await last_event(crm)
    assert (event["type"], event["data"]["address"]) == ("customer.updated", None)


async def test_the_same_address_again_is_no_change(crm: httpx.AsyncClient) -> None:
    first = (await crm.post("/api/customers", json=numbered(1, address=BERLIN))).json()

    again = (await crm.patch("/api/customers/1", json={"address": SENT})).json()

    assert again == first
    assert (await last_event(crm))["type"] == "customer.created"


async def test_a_part_of_an_address_is_none(crm: httpx.AsyncClient) -> None:
    await register(crm, 1)

    answer = await crm.patch("/api/customers/1", json={"address": {"city": "Paris"}})

    assert answer.status_code == 422
    assert await address_of(crm) is None


async def test_put_makes_the_address_what_it_says(crm: httpx.AsyncClient) -> None:
    ada = numbered(1)
    for sent, expected in (({"address": SENT}, BERLIN), ({"address": LONDON}, LONDON), ({}, None)):
        answer = await crm.put("/api/customers/by-ref/shop-1", json={**ada, **sent})
        assert answer.json()["address"] == expected
        assert await address_of(crm) == expected


async def test_an_erased_address_is_nowhere_any_more(crm: httpx.AsyncClient) -> None:
    await crm.post(
        "/api/customers", json=numbered(1, address=BERLIN), headers={"Idempotency-Key": "once"}
    )
    await crm.patch("/api/customers/1", json={"address": {**LONDON, "lines": ["Hidden Lane"]}})
    assert "hidden lane" in await all_there_is(crm)

    assert (await crm.delete("/api/customers/1")).status_code == 204

    assert await address_of(crm) is None
    left = await all_there_is(crm)
    assert "hidden lane" not in left
    assert "stock" not in left


async def test_a_file_brings_addresses_and_takes_them(
    desk: httpx.AsyncClient,  # noqa: F811
    write: Write,  # noqa: F811
    tmp_path: Path,
) -> None:
    header = f"name,email,external_ref,{COLUMNS}"
    file = write(
        "Ada,ada@example.com,s-1,Döner Straße 1,'=2. Stock,10115,Berlin,de",
        "Bob,bob@example.com,s-2,,,,,",
        "Eve,eve@example.com,s-3,,Back door,,,FR",
        header=header,
    )

    assert await run("import-customers", file) == 0

    assert await address_of(desk, 1) == BERLIN
    assert await address_of(desk, 2) is None
    assert (await address_of(desk, 3))["lines"] == ["Back door"]
    out = tmp_path / "out.csv"
    assert await run("export-customers", str(out)) == 0
    exported = report_of(out)
    row = dict(zip(exported[0], exported[1], strict=True))
    assert (row["address.line_2"], row["address.country"]) == ("'=2. Stock", "DE")
    assert await run("import-customers", str(out)) == 0
    assert await address_of(desk, 1) == BERLIN
    events = (await read_feed(desk, limit=500))["events"]
    assert {event["type"] for event in events} == {"customer.created"}, "nothing was changed"


async def test_a_file_without_its_columns_leaves_an_address_alone(
    desk: httpx.AsyncClient,  # noqa: F811
    write: Write,  # noqa: F811
) -> None:
    sent = numbered(1, address=BERLIN, external_ref="s-1")
    await desk.post("/api/customers", json=sent)

    only_name = write("Ada,ada@example.com,s-1", header="name,email,external_ref")
    assert await run("import-customers", only_name) == 0
    assert await address_of(desk) == BERLIN
    emptied = write("Ada,ada@example.com,s-1,", header="name,email,external_ref,address.city")
    assert await run("import-customers", emptied) == 0
    assert await address_of(desk) is None


async def test_nobodys_address_has_no_columns(
    desk: httpx.AsyncClient,  # noqa: F811
    tmp_path: Path,
) -> None:
    await register(desk, 1)

    assert await run("export-customers", str(tmp_path / "out.csv")) == 0

    assert "address" not in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ("Street 1,,10115,Berlin,XX", "address.country"),
        ("Street 1,,10115,Berlin,", "address.country"),
        (",,10115,Berlin,DE", "address.line_1"),
        (f",{'x' * 201},10115,Berlin,DE", "address.line_2"),
        (f"Street 1,,{'x' * 21},Berlin,DE", "address.postal_code"),
    ],
)
@pytest.mark.engine("sqlite")
async def test_a_line_with_a_wrong_address_names_the_column(
    desk: httpx.AsyncClient,  # noqa: F811
    write: Write,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    cells: str,
    column: str,
) -> None:
    file = write(f"Ada,ada@example.com,{cells}", header=f"name,email,{COLUMNS}")

    assert await run("import-customers", file) == 1

    assert f"line 2, {column}: " in "".join(capsys.readouterr())

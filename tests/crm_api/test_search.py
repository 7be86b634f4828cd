"""Search: what holds the text is found, alike on both engines, whatever was changed since."""

import asyncio
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_api.app import create_app
from crm_api.search import fold, rarest, trigram_numbers
from crm_api.settings import Settings
from service_kit.database.migrations import Migrations
from tests.conftest import SERVICES, NewDatabase, running
from tests.crm_api.conftest import change_from_outside

LIST = "/api/customers"
# Name, e-mail, company; the number of each is its id.
PEOPLE = [
    ("Jane Doe", "jane@example.com", "100% Ltd"),
    ("Jürgen Ärger", "a_b@example.com", "Straße & Söhne"),
    ('O\'Doe "Al"', "o@example.com", None),
    ("*star* AND NOT (x)", "star@example.com", 'quote"d'),
    ("Back\\slash", "b@example.com", "a-b:c^d"),
    ("ΟΔΥΣΣΕΥΣ", "greek@example.com", None),
    ("王伟", "wang@example.com", "İstanbul"),
    ("José Café", "jose@example.com", "😀 Smile"),
    ("ab", "z@example.com", "b"),
    ("Ångström", "angstrom@example.com", "ﬁne"),
]
QUERIES = [
    *("doe", "DOE", "jane doe", "%", "100%", "_", "a_b", "'", "o'doe", '"', '"al"', "*", "*star*"),
    *("AND NOT", "(x)", 'quote"d', "\\", "ck\\sl", "a-b:c^d", "ärger", "ÄRGER", "strasse", "ß"),
    *("STRASSE", "οδυσσευς", "ΟΔΥΣΣΕΥΣ", "王", "王伟", "istanbul", "i̇stanbul", "😀", "😀 s"),
    *("cafe\u0301", "CAFÉ", "a", "ab", "abz", "ab\u00a0", "ångström", "A\u030angstro\u0308m"),
    *("fine", "example.com", "@", ".com", "nobody", "xyz", "rowid", "text:doe", "doe OR jane"),
    *("example" * 20, "jane@example.com ", "NEAR(jane doe)", "{text}:doe", "-- ", ";", "0"),
]

OLD_CUSTOMER = """INSERT INTO customers
    (uid, name, email, email_key, metadata, created_at, updated_at, version)
    SELECT '{n}', 'Jürgen {n}', '{n}@x', '{n}@x', '{{}}', at, at, 1
    FROM (SELECT {at} AS at) AS moment"""
OLD_TICKET = """INSERT INTO tickets
    (uid, customer_id, subject, description, status, priority, created_at, updated_at, version)
    SELECT 't', 1, 'ÄRGER', 'x', 'open', 'low', at, at, 1
    FROM (SELECT {at} AS at) AS moment"""


async def ids(crm: httpx.AsyncClient, q: str, path: str = LIST, **more: Any) -> list[int]:
    answer = await crm.get(path, params={"q": q, **more})
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()]


def expected(q: str, people: Sequence[tuple[str, str, str | None]] = PEOPLE) -> list[int]:
    """Tell by hand who holds a text, in one of the three."""
    wanted = fold(q.strip())
    return [
        number
        for number, person in enumerate(people, 1)
        if any(wanted in fold(text) for text in person)
    ]


@pytest.fixture
async def people(crm: httpx.AsyncClient) -> httpx.AsyncClient:
    for name, email, company in PEOPLE:
        body = {"name": name, "email": email, "company": company}
        assert (await crm.post(LIST, json=body)).status_code == 201
    return crm


async def test_every_character_is_looked_for_as_itself(people: httpx.AsyncClient) -> None:
    found = {q: await ids(people, q) for q in QUERIES}

    assert found == {q: expected(q) for q in QUERIES}
    assert found["STRASSE"] == found["ß"] == [2]
    assert found["οδυσσευς"] == [6]
    assert found["A\u030angstro\u0308m"] == [10]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.sampled_from([text for person in PEOPLE for text in person if text]),
    start=st.integers(0, 20),
    length=st.integers(1, 20),
)
async def test_any_piece_of_a_text_finds_it(
    people: httpx.AsyncClient, text: str, start: int, length: int
) -> None:
    piece = text[start % len(text) :][:length].strip() or text

    found = await ids(people, piece)

    assert found == expected(piece)
    assert found


async def test_no_text_reaches_from_one_field_into_the_next(people: httpx.AsyncClient) -> None:
    assert await ids(people, "doejane") == []
    assert await ids(people, "com100") == []


async def test_pages_go_on_behind_each_other_in_both_orders(crm: httpx.AsyncClient) -> None:
    body = [{"name": f"Person {n % 2}", "email": f"{n:02}@example.com"} for n in range(30)]
    await crm.post(f"{LIST}/batch", json=body)

    for q, wanted in (("person 1", range(2, 31, 2)), ("n", range(1, 31)), ("zzz", range(0))):
        for sort, order in (("id", list(wanted)), ("-id", list(wanted)[::-1])):
            seen: list[int] = []
            url = str(httpx.URL(LIST, params={"q": q, "sort": sort, "limit": "4"}))
            while url:
                page = await crm.get(url)
                seen += [one["id"] for one in page.json()]
                url = str(page.links.get("next", {}).get("url", ""))
            assert seen == order, (q, sort)


async def test_search_follows_every_way_of_changing_a_customer(crm: httpx.AsyncClient) -> None:
    jane = {"name": "Jane Doe", "email": "jane@example.com"}
    await crm.post(LIST, json=jane)
    await crm.post(f"{LIST}/batch", json=[jane, {"name": "Ada", "email": "ada@example.com"}])
    await crm.put(f"{LIST}/by-ref/s-1", json={"name": "Grace", "email": "grace@example.com"})
    queries = ("jane", "ada", "grace")
    one, two, three = [number for q in queries for number in await ids(crm, q)]

    await crm.patch(f"{LIST}/{one}", json={"name": "Mary", "phone": "555"})
    await crm.patch(f"{LIST}/{two}", json={"company": "Engines"})
    await crm.put(f"{LIST}/by-ref/s-1", json={"name": "Hopper", "email": "h@example.com"})
    assert [await ids(crm, q) for q in ("doe", "mary", "engines", "grace", "hopper")] == [
        *([], [one], [two], [], [three])
    ]
    assert await ids(crm, "555") == [], "a phone is not searched"

    for number in (one, two, three):
        assert (await crm.delete(f"{LIST}/{number}")).status_code == 204
    assert [await ids(crm, q) for q in ("mary", "ada", "example", "e", ".")] == [[]] * 5


async def test_tickets_are_found_by_what_they_say_now(people: httpx.AsyncClient) -> None:
    tickets = "/api/tickets"
    for subject, description in (
        ("Where is it?", "A parcel: 100% lost.\nSincerely, Jürgen"),
        ("Émile's invoice", "It is wrong."),
    ):
        body = {"customer_id": 1, "subject": subject, "description": description}
        assert (await people.post(tickets, json=body)).status_code == 201
    queries = ("PARCEL", "0% l", "jürgen", "ÉMILE'S", "is", "w", "lostsin")
    found = [await ids(people, q, tickets) for q in queries]
    assert found == [[1], [1], [1], [2], [1, 2], [1, 2], []]
    assert await ids(people, "is", tickets, sort="-id", status="open", customer_id=1) == [2, 1]
    assert await ids(people, "is", tickets, status="closed") == []

    await people.patch(f"{tickets}/1", json={"description": "Found."})
    await people.patch(f"{tickets}/2", json={"priority": "high"})
    assert [await ids(people, q, tickets) for q in ("parcel", "found", "wrong")] == [[], [1], [2]]

    await people.delete(f"{tickets}/1")
    assert [await ids(people, q, tickets) for q in ("found", "wrong")] == [[], [2]]


async def test_what_was_there_before_the_index_is_found(
    new_database: NewDatabase, engine: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/old.db" if engine == "sqlite" else new_database("crm_api")
    if engine == "postgresql":
        change_from_outside(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    older = tmp_path / "migrations"
    older.mkdir()
    for path in SERVICES["crm_api"].migrations().folder.glob("000[123]_*.py"):
        shutil.copy(path, older)
    await asyncio.to_thread(Migrations("crm_api", older).upgrade, url)
    noon = "'2026-01-05 12:00:00.000000'"
    at = noon if engine == "sqlite" else f"TIMESTAMP {noon}"
    old = [OLD_CUSTOMER.format(n=n, at=at) for n in (1, 2, 3)]
    change_from_outside(url, *old, OLD_TICKET.format(at=at))
    change_from_outside(url, "UPDATE customers SET erased_at = created_at WHERE uid = '2'")

    await asyncio.to_thread(SERVICES["crm_api"].migrations().upgrade, url)

    app = create_app(Settings(database_url=url, seed_demo_data=False))
    async with running(app, token="admin123") as crm:
        assert await ids(crm, "JÜRGEN") == [1, 3]
        assert await ids(crm, "ärger", "/api/tickets") == [1]


async def test_nobody_is_lost_by_the_choice_of_trigrams(crm: httpx.AsyncClient) -> None:
    names = ["".join(letters) for letters in product("ab", repeat=6)]
    body = [{"name": name, "email": f"{n:02}@example.com"} for n, name in enumerate(names)]
    await crm.post(f"{LIST}/batch", json=body)
    queries = [
        "".join(letters) for length in (3, 4, 5, 6) for letters in product("ab", repeat=length)
    ]

    found = {q: await ids(crm, q, limit=500) for q in queries}

    assert found == {q: [n for n, name in enumerate(names, 1) if q in name] for q in queries}


def test_a_query_is_looked_up_by_what_few_texts_have() -> None:
    texts = [f"customer {n}\ncustomer{n}@example.com\n" for n in range(1, 17)]

    assert set(rarest("customer500000@", texts)) == {"r50", "500", "000", "00@"}
    assert len(rarest("customer267853@example.com", texts)) == 4
    assert rarest("example.com", texts) == ["exa"], "all have it, so that one says as much as all"
    assert rarest("customer", []) == ["cus", "tom", "mer", "ust"], "what covers it comes first"


def test_more_are_looked_up_while_some_texts_have_all_of_them() -> None:
    trigrams = ["abc", "bcd", "cde", "def", "efg", "fgh", "ghi"]
    texts = [" ".join(trigrams[:n] + trigrams[n + 1 :]) for n in range(len(trigrams))]

    assert sorted(rarest("abcdefghi", texts)) == trigrams


@given(st.text(min_size=3), st.lists(st.text()))
def test_what_is_looked_up_are_trigrams_of_the_query_the_rarest_first(
    query: str, texts: list[str]
) -> None:
    trigrams = {query[at : at + 3] for at in range(len(query) - 2)}

    chosen = rarest(query, texts)

    holders = [sum(one in text for text in texts) for one in chosen]
    assert set(chosen) <= trigrams
    assert len(set(chosen)) == len(chosen) > 0
    assert holders == sorted(holders)
    if len(query) <= 30:
        assert holders[0] == min(sum(one in text for text in texts) for one in trigrams)


@given(st.text(max_size=30))
def test_trigrams_are_numbers_of_32_bits_and_one_for_each_three_letters(text: str) -> None:
    numbers = trigram_numbers(fold(text))

    assert all(-(2**31) <= number < 2**31 for number in numbers)
    assert bool(numbers) == (len(fold(text)) >= 3)


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(text.upper().lower()) is not None

"""What customers cost when there are many: list, search and look-up, and what search costs writers.

compare     the same requests to the CRM with few customers and with many, in turns; what counts is
            the ratio of the two
index_cost  registering with the search index and without it, in turns

The CRM runs in this process on databases of its own, SQLite unless `--postgres URL` names a server
on which it may create databases.
"""

import argparse
import asyncio
import functools
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx

from crm_api.app import create_app
from crm_api.commands import SERVICE
from crm_api.customers import service
from crm_api.customers.schemas import CustomerNew
from crm_api.search import SearchIndex
from crm_api.settings import Settings
from service_kit.database import Database
from service_kit.web.auth import Principal

BATCH = 500
WHO = Principal("benchmark", "admin", frozenset())
SYLLABLES = ["ba", "den", "fi", "gor", "hu", "ka", "lin", "mo", "nes", "pe", "ri", "sto", "tan"]
Figures = dict[str, dict[str, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=1000, metavar="N")
    parser.add_argument("--many", type=int, default=200_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=40, metavar="N")
    parser.add_argument("--postgres", metavar="URL", help="a server to use instead of SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-customers-") as folder:
        place = options.postgres or folder
        found = asyncio.run(compare(place, options.few, options.many, options.rounds))
        show(found, "few", "many")
        show(asyncio.run(index_cost(place, options.rounds)), "without", "with")
    return 0


def show(figures: Figures, one: str, other: str) -> None:
    for what, found in figures.items():
        ratio = found[other] / found[one]
        print(
            f"{what:<28} {one} {found[one]:8.3f} ms   {other} {found[other]:8.3f} ms   {ratio:5.2f}"
        )


async def compare(place: str, few: int, many: int, rounds: int) -> Figures:
    """Return the median milliseconds of each kind of request with few customers and with many."""
    figures: dict[str, dict[str, list[float]]] = {}
    async with AsyncExitStack() as stack:
        crms = {"few": (await stack.enter_async_context(crm(place)), few)}
        crms["many"] = (await stack.enter_async_context(crm(place)), many)
        for name, (client, number) in crms.items():
            began_at = time.perf_counter()
            await grow(database_of(client), number)
            print(f"{number} customers ({name}) in {time.perf_counter() - began_at:.1f} s")
        for turn in range(rounds):
            for name, (client, number) in crms.items():
                for what, path in requests(number, turn):
                    spent = await milliseconds(functools.partial(answered, client, path))
                    figures.setdefault(what, {}).setdefault(name, []).append(spent)
    return {
        what: {name: median(spent) for name, spent in found.items()}
        for what, found in figures.items()
    }


async def index_cost(place: str, rounds: int) -> Figures:
    """Return the median milliseconds of registering, with the search index and without it."""
    figures: dict[str, dict[str, list[float]]] = {}
    add = SearchIndex.add
    async with AsyncExitStack() as stack:
        crms = {name: await stack.enter_async_context(crm(place)) for name in ("without", "with")}
        for turn in range(rounds):
            for name, client in crms.items():
                SearchIndex.add = add if name == "with" else _no_index  # type: ignore[assignment, method-assign]
                first = turn * 1000
                for what, work in (
                    ("POST", post_each(client, range(first, first + 20), 1)),
                    ("POST, 16 at a time", post_each(client, range(first + 100, first + 260), 16)),
                    ("POST, a batch of 500", post_batch(client, first + 500)),
                ):
                    figures.setdefault(what, {}).setdefault(name, []).append(await work)
        SearchIndex.add = add  # type: ignore[method-assign]
    return {
        what: {name: median(spent) for name, spent in found.items()}
        for what, found in figures.items()
    }


def _no_index(*_: object) -> None:
    """Take the place of what enters a new row into the index."""


def requests(number: int, turn: int) -> Sequence[tuple[str, str]]:
    """Name the requests of a turn: what somebody looks for is somewhere among the customers."""
    chosen = random.Random(turn).randrange(number)  # noqa: S311 (a benchmark)
    someone = person(chosen)
    surname = someone["name"].split()[1]
    customers = "/api/customers"
    return [
        ("get by id", f"{customers}/{chosen + 1}"),
        ("list, a page in the middle", f"{customers}?created_after=2026-01-01T00:00:00Z"),
        ("list, the newest", f"{customers}?sort=-id"),
        ("search, a whole name", f"{customers}?q={someone['name']}"),
        ("search, a surname", f"{customers}?q={surname.upper()}&sort=-id"),
        ("search, an address", f"{customers}?q={someone['email'].upper()}"),
        ("search, what all have", f"{customers}?q=example.com&sort=-id"),
        ("search, what nobody has", f"{customers}?q=zzyzx"),
        ("search, two letters", f"{customers}?q={surname[:2]}"),
        ("search, two that none have", f"{customers}?q=qx"),
    ]


def person(number: int) -> dict[str, Any]:
    """Make the customer with this number, always the same."""
    chance = random.Random(number)  # noqa: S311 (a benchmark)
    first, last, firm = ("".join(chance.choices(SYLLABLES, k=3)).title() for _ in range(3))
    email = f"{first}.{last}.{number}@example.com".lower()
    return {"name": f"{first} {last}", "email": email, "company": f"{firm} Ltd"}


async def grow(database: Database, number: int) -> None:
    for first in range(0, number, BATCH):
        people = [
            CustomerNew.model_construct(None, **person(one), metadata={})
            for one in range(first, min(first + BATCH, number))
        ]
        await database.write(service.register_all, people, WHO)


async def post_each(client: httpx.AsyncClient, numbers: Sequence[int], at_once: int) -> float:
    gate = asyncio.Semaphore(at_once)

    async def post(number: int) -> None:
        async with gate:
            answer = await client.post("/api/customers", json=person(number))
            answer.raise_for_status()

    spent = await milliseconds(lambda: asyncio.gather(*map(post, numbers)))
    return spent / len(numbers)


async def post_batch(client: httpx.AsyncClient, first: int) -> float:
    people = [person(number) for number in range(first, first + BATCH)]
    return await milliseconds(lambda: client.post("/api/customers/batch", json=people))


async def answered(client: httpx.AsyncClient, path: str) -> None:
    (await client.get(path)).raise_for_status()


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    began_at = time.perf_counter()
    await work()
    return (time.perf_counter() - began_at) * 1000


@asynccontextmanager
async def crm(place: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a CRM with an empty database of its own, in a folder or on a PostgreSQL server."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    if not place.startswith("postgres"):
        url = f"sqlite:///{place}/{name}.db"
    else:
        await on_server(place, f'CREATE DATABASE "{name}"')
        url = urlunsplit(urlsplit(place)._replace(path=f"/{name}"))
    await asyncio.to_thread(SERVICE.migrations().upgrade, url)
    app = create_app(Settings(database_url=url, seed_demo_data=False))
    headers = {"Authorization": "Bearer admin123"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://crm", headers=headers, timeout=60
        ) as client,
    ):
        client.app = app  # type: ignore[attr-defined]
        yield client
    if place.startswith("postgres"):
        await on_server(place, f'DROP DATABASE "{name}" WITH (FORCE)')


def database_of(client: httpx.AsyncClient) -> Database:
    database: Database = client.app.state.database  # type: ignore[attr-defined]
    return database


async def on_server(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())

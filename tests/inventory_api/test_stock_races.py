"""Many at once, through several replicas: nothing oversold, nothing forgotten, no deadlock."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import running
from tests.inventory_api.conftest import (
    BATCH,
    LIST,
    ask_from_outside,
    change_database,
    keeps_its_word,
    new_customer,
    request_package,
)
from tests.inventory_api.stock import (
    Holder,
    add_item,
    add_kit,
    find_faults,
    levels,
    put_kit,
    receive,
    request_many,
    status_of,
    statuses,
)

CLIENTS = 12
IN_STOCK = 100
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@asynccontextmanager
async def replicas(settings: Settings, number: int = 3) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Serve one database by several apps, and find that none of them met a deadlock."""
    async with AsyncExitStack() as stack:
        yield [
            keeps_its_word(
                await stack.enter_async_context(running(create_app(settings), token="admin123"))
            )
            for _ in range(number)
        ]
    if settings.database_url.startswith("postgresql:"):
        # A deadlock is run again, so that no caller hears of it; but it costs a second.
        assert ask_from_outside(settings.database_url, DEADLOCKS) == 0


async def ask_for_fourteen(inventory: httpx.AsyncClient, *package_types: str) -> list[str]:
    """Ask for packages as a client does, alone and in batches. Returns each one's status."""
    made = []
    for turn in range(6):
        wanted = {"customer_id": new_customer(), "package_type": package_types[turn % 2]}
        answer = await inventory.post(LIST, json=wanted)
        assert answer.status_code == 201, answer.text
        made.append(answer.json()["status"])
    for turn in range(2):
        batch = [
            {"customer_id": new_customer(), "package_type": package_types[(turn + n) % 2]}
            for n in range(4)
        ]
        answer = await inventory.post(BATCH, json=batch)
        assert answer.status_code == 200, answer.text
        made += [result["package_request"]["status"] for result in answer.json()]
    return made


async def test_of_a_hundred_kits_in_stock_just_a_hundred_are_promised(settings: Settings) -> None:
    async with replicas(settings) as apps:
        sku, package_type = await add_kit(apps[0], IN_STOCK)

        made = await asyncio.gather(
            *(ask_for_fourteen(apps[n % 3], package_type, package_type) for n in range(CLIENTS))
        )

        counted = Counter(status for one in made for status in one)
        assert counted == {"pending": IN_STOCK, "backordered": CLIENTS * 14 - IN_STOCK}
        assert Counter(await statuses(apps[0], package_type)) == counted
        assert await levels(apps[0], sku) == (IN_STOCK, IN_STOCK)
        assert await find_faults(apps[0]) == []


async def test_kits_that_name_the_same_items_in_other_orders_share_a_hundred(
    settings: Settings,
) -> None:
    async with replicas(settings) as apps:
        a, b, c = [await add_item(apps[0], IN_STOCK) for _ in range(3)]
        one = await put_kit(apps[0], {a: 1, b: 1, c: 1})
        other = await put_kit(apps[0], {c: 1, b: 1, a: 1})

        made = await asyncio.gather(
            *(
                ask_for_fourteen(apps[n % 3], *((one, other)[:: -1 if n % 2 else 1]))
                for n in range(CLIENTS)
            )
        )

        counted = Counter(status for client in made for status in client)
        assert counted == {"pending": IN_STOCK, "backordered": CLIENTS * 14 - IN_STOCK}
        for sku in (a, b, c):
            assert await levels(apps[0], sku) == (IN_STOCK, IN_STOCK)
        assert await find_faults(apps[0]) == []


class Clerk:
    """Does one thing after another, as its dice fall; refusals are fine, failures are not."""

    def __init__(self, apps: list[httpx.AsyncClient], seed: int, shop: dict[str, Any]) -> None:
        self.apps = apps
        self.dice = random.Random(seed)
        self.shop = shop
        self.answers: Counter[int] = Counter()

    async def work(self, turns: int) -> None:
        choices: list[Callable[[], Awaitable[None]]] = [
            *[self.ask, self.ask_for_many, self.move, self.move, self.move, self.stock, self.stock],
            *[self.take_away, self.change_kit, self.rename, self.forget],
        ]
        for _ in range(turns):
            await self.dice.choice(choices)()

    async def ask(self) -> None:
        await self._request([self._wanted()])

    async def ask_for_many(self) -> None:
        await self._request([self._wanted() for _ in range(self.dice.randint(2, 6))])

    async def move(self) -> None:
        request_id = self.dice.choice(self.shop["requests"])
        moves = ["pack", "pack", "ship", "ship", "cancel", "unpack", "return", "deliver"]
        move = self.dice.choice(moves)
        await self._send("POST", f"{LIST}/{request_id}/{move}")

    async def stock(self) -> None:
        moved = {"quantity": self.dice.randint(1, 6), "reason": "delivery"}
        await self._send("POST", f"/items/{self._sku()}/movements", moved)

    async def take_away(self) -> None:
        moved = {"quantity": -self.dice.randint(1, 3), "reason": "stocktake"}
        await self._send("POST", f"/items/{self._sku()}/movements", moved)

    async def change_kit(self) -> None:
        chosen = self.dice.sample(self.shop["skus"], self.dice.randint(1, 3))
        lines = [{"sku": sku, "quantity": self.dice.randint(1, 3)} for sku in chosen]
        await self._send("PUT", f"/kits/{self._type()}", {"lines": lines})

    async def rename(self) -> None:
        await self._send("PATCH", f"/items/{self._sku()}", {"name": str(self.dice.random())})

    async def forget(self) -> None:
        some = self.dice.sample(self.shop["customers"], 15)
        await self._send("POST", f"{LIST}/erasures", {"customer_ids": some})

    def _sku(self) -> str:
        return str(self.dice.choice(self.shop["skus"]))

    def _type(self) -> str:
        return str(self.dice.choice(self.shop["types"]))

    def _wanted(self) -> dict[str, str]:
        return {"customer_id": new_customer(), "package_type": self._type()}

    async def _request(self, batch: list[dict[str, str]]) -> None:
        answer = await self._send("POST", BATCH, batch)
        made = [one["package_request"] for one in answer.json()]
        self.shop["requests"] += [one["request_id"] for one in made]
        self.shop["customers"] += [one["customer_id"] for one in made]

    async def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        answer = await self.dice.choice(self.apps).request(method, path, json=body)
        assert answer.status_code in {200, 201, 409}, answer.text
        self.answers[answer.status_code] += 1
        return answer


async def test_whatever_clerks_do_at_once_nobody_waits_for_what_is_there(
    settings: Settings,
) -> None:
    async with replicas(settings) as apps:
        skus = [await add_item(apps[0], 5) for _ in range(4)]
        a, b, c, d = skus
        kits: list[dict[str, int]] = [{a: 1, b: 2}, {b: 1, a: 1, c: 1}, {d: 2}, {d: 1, a: 3}]
        types = [await put_kit(apps[0], kit) for kit in kits]
        for package_type in types:
            await request_many(apps[0], package_type, 4)
        requests = (await apps[0].get(LIST, params={"limit": 500})).json()
        shop = {
            "skus": skus,
            "types": types,
            "requests": [one["request_id"] for one in requests],
            "customers": [one["customer_id"] for one in requests],
        }
        clerks = [Clerk(apps, seed, shop) for seed in range(CLIENTS)]

        await asyncio.gather(*(clerk.work(12) for clerk in clerks))

        assert await find_faults(apps[0]) == []
        for sku in skus:
            await receive(apps[0], sku, 1_000)
        assert await find_faults(apps[0]) == []
        counts = (await apps[0].get("/stats")).json()["package_requests"]

    answers = sum((clerk.answers for clerk in clerks), Counter[int]())
    assert answers.total() == CLIENTS * 12
    assert answers[200] > 50
    assert "backordered" not in counts


# ---- One after another, where the order is what matters ----


@pytest.mark.engine("postgresql")
async def test_who_begins_to_wait_while_stock_comes_in_gets_it(settings: Settings) -> None:
    """What receives has looked for who waits before the new one is there, and has to look again."""
    async with replicas(settings, 2) as (one, other):
        came, there = await add_item(one), await add_item(one, 5)
        package_type = await put_kit(one, {came: 1, there: 2})
        wanted = {"customer_id": new_customer(), "package_type": package_type}
        async with Holder(settings.database_url, there) as holder:
            asking = asyncio.create_task(one.post(LIST, json=wanted))
            await holder.until_waiting(1)
            receiving = asyncio.create_task(receive(other, came, 1))
            await holder.until_waiting(2)
        made = (await asking).json()
        await receiving

        assert made["status"] == "backordered"
        assert await status_of(one, made["request_id"]) == "pending"
        assert await levels(one, came) == (1, 1)
        assert await levels(one, there) == (5, 2)
        assert await find_faults(one) == []


@pytest.mark.engine("postgresql")
async def test_who_asks_while_the_last_is_promised_waits_for_the_next(settings: Settings) -> None:
    async with replicas(settings, 2) as apps:
        sku, package_type = await add_kit(apps[0], 1)
        async with Holder(settings.database_url, sku) as holder:
            asking = [
                asyncio.create_task(request_many(app, package_type, 1)) for app in [*apps, *apps]
            ]
            await holder.until_waiting(4)
        made = await asyncio.gather(*asking)

        assert sum(made, Counter[str]()) == {"pending": 1, "backordered": 3}
        assert await find_faults(apps[0]) == []


@pytest.mark.engine("postgresql")
@pytest.mark.parametrize("on_hand", [5, 6])
async def test_a_repair_waits_for_who_is_at_work_and_counts_it_in(
    settings: Settings, on_hand: int
) -> None:
    async with replicas(settings, 2) as (one, other):
        first, second = await add_item(one, 5), await add_item(one, 5)
        package_type = await put_kit(one, {first: 1, second: 1})
        await change_database(
            one,
            f"UPDATE items SET on_hand = {on_hand} WHERE sku = '{first}'",  # noqa: S608
        )
        async with Holder(settings.database_url, second) as holder:
            asking = asyncio.create_task(request_many(one, package_type, 2))
            await holder.until_waiting(1)
            repairing = asyncio.create_task(other.post("/verify/repair"))
            await holder.until_waiting(2)
        await asking

        repaired = (await repairing).json()["repaired"]
        assert [one["level"] for one in repaired] == ([] if on_hand == 5 else [on_hand])
        assert await levels(one, first) == await levels(one, second) == (5, 2)
        assert await find_faults(one) == []


# ---- An erasure and requests for the same customer, at the same moment ----


async def is_live(inventory: httpx.AsyncClient, customer: str) -> bool:
    found = (await inventory.get(LIST, params={"customer_id": customer})).json()
    return any(one["status"] in {"pending", "backordered", "packed"} for one in found)


async def test_nobody_has_a_package_who_is_erased_while_it_is_requested(
    settings: Settings,
) -> None:
    async with replicas(settings) as apps:
        sku, package_type = await add_kit(apps[0], 1_000)
        customers = [new_customer() for _ in range(6)]

        async def ask(number: int, customer: str) -> int:
            wanted = {"customer_id": customer, "package_type": package_type}
            others = [{"customer_id": new_customer()} for _ in range(number % 3)]
            answer = await apps[number % 3].post(BATCH, json=[*others, wanted])
            assert answer.status_code == 200, answer.text
            status: int = answer.json()[-1]["status"]
            return status

        async def erase(number: int, customer: str) -> int:
            body = {"customer_ids": [customer, str(number)]}
            return (await apps[number % 3].post(f"{LIST}/erasures", json=body)).status_code

        tasks = [
            work(number + turn, customer)
            for number, customer in enumerate(customers)
            for turn, work in enumerate((ask, erase, ask))
        ]
        answers = Counter(await asyncio.gather(*tasks))

        assert set(answers) <= {200, 201, 410}
        assert not any([await is_live(apps[0], customer) for customer in customers])
        assert await levels(apps[0], sku) == (1_000, 0)
        assert await find_faults(apps[0]) == []


@pytest.mark.engine("postgresql")
async def test_an_erasure_cancels_nothing_that_is_shipped_meanwhile(settings: Settings) -> None:
    async with replicas(settings, 1) as (inventory,):
        # There is no kit of its type, so no item that both of them lock.
        made = await request_package(inventory)
        ship = "UPDATE package_requests SET status = 'shipped'"
        async with Holder(settings.database_url, await add_item(inventory)) as holder:
            await holder.execute(f"{ship} WHERE request_id = '{made['request_id']}'")
            body = {"customer_ids": [made["customer_id"]]}
            erasing = asyncio.create_task(inventory.post(f"{LIST}/erasures", json=body))
            await holder.until_waiting(1)
            await holder.execute("COMMIT")

        assert (await erasing).json()["erased"] == 1
        assert await status_of(inventory, made["request_id"]) == "shipped"


@pytest.mark.engine("postgresql")
async def test_an_erasure_waits_for_the_package_that_is_being_made_and_cancels_it(
    settings: Settings,
) -> None:
    async with replicas(settings, 2) as (one, other):
        sku, package_type = await add_kit(one, 1)
        wanted = {"customer_id": new_customer(), "package_type": package_type}
        async with Holder(settings.database_url, sku) as holder:
            asking = asyncio.create_task(one.post(LIST, json=wanted))
            await holder.until_waiting(1)
            body = {"customer_ids": [wanted["customer_id"]]}
            erasing = asyncio.create_task(other.post(f"{LIST}/erasures", json=body))
            await holder.until_waiting(2)

        assert (await asking).status_code == 201
        assert (await erasing).json()["erased"] == 1
        assert await status_of(one, (await asking).json()["request_id"]) == "cancelled"
        assert await levels(one, sku) == (1, 0)


@pytest.mark.engine("postgresql")
async def test_a_request_waits_for_the_erasure_that_is_under_way_and_is_refused(
    settings: Settings,
) -> None:
    async with replicas(settings, 2) as (one, other):
        sku, package_type = await add_kit(one, 1)
        wanted = {"customer_id": new_customer(), "package_type": package_type}
        made = (await one.post(LIST, json=wanted)).json()
        async with Holder(settings.database_url, sku) as holder:
            body = {"customer_ids": [wanted["customer_id"]]}
            erasing = asyncio.create_task(other.post(f"{LIST}/erasures", json=body))
            await holder.until_waiting(1)
            asking = asyncio.create_task(one.post(LIST, json={**wanted, "occurrence": 2}))
            await holder.until_waiting(2)

        assert (await erasing).status_code == 200
        assert (await asking).status_code == 410
        assert await status_of(one, made["request_id"]) == "cancelled"
        assert not await is_live(one, wanted["customer_id"])

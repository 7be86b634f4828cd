"""Stock through kill -9 and through the whole pipeline: nothing oversold, nobody forgotten."""

import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import NewDatabase, bearer
from tests.inventory_api.stock import audit
from tests.sweeps import ENGINES, SIDES, sample
from tests.system.crash_points import When, environment
from tests.system.processes import Nursery, until
from tests.system.stack import BUG, Server, Stack

KIT = {"MUG": 1, "NOTE": 2}
ROUNDS = 5
CLERKS = 3
# Every how manieth call a service dies at: all flushes, and some messages to PostgreSQL.
STRIDE = {"sqlite": 1, "postgresql": 7}
MOST_POINTS = 15


class Shop:
    """An Inventory that may die at any moment, and careful clients who ask until they know."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.over = threading.Event()
        self.asked: list[str] = []
        self.answers = 0
        self.unanswered = 0
        self._client = httpx.Client(timeout=10, trust_env=False, headers=bearer("admin123"))

    def close(self) -> None:
        self._client.close()

    def open(self, on_hand: int) -> None:
        """Put a welcome package together of which there are so many."""
        for sku, quantity in KIT.items():
            item = {"sku": sku, "name": sku, "on_hand": on_hand * quantity}
            self.send("POST", "/items", item)
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in KIT.items()]
        self.send("PUT", "/kits/welcome_package", {"lines": lines})

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Ask again and again, with the same key, until there is an answer."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer: Any = until(
            lambda: self._try(method, path, body, headers), f"{method} {path} is answered"
        )
        self.answers += 1
        return answer

    def ask_for(self, number: int) -> list[dict[str, Any]]:
        """Have so many packages made. Returns their requests."""
        customers = [str(uuid.uuid4()) for _ in range(number)]
        wanted = [{"customer_id": customer} for customer in customers]
        results = self.send("POST", "/package-requests/batch", wanted)
        assert {result["status"] for result in results} <= {200, 201}
        made = [result["package_request"] for result in results]
        assert [one["customer_id"] for one in made] == customers
        self.asked += customers
        return made

    def work(self, seed: int) -> Counter[str]:
        """Ask for packages, ship some, and receive stock. Returns how many of each."""
        dice = random.Random(seed)
        done: Counter[str] = Counter()
        while not self.over.is_set():
            made = self.ask_for(dice.randint(10, 30))
            pending = [one["request_id"] for one in made if one["status"] == "pending"]
            for request_id in dice.sample(pending, min(2, len(pending))):
                for move in ("pack", "ship"):
                    self.send("POST", f"/package-requests/{request_id}/{move}")
                done["shipped"] += 1
            for sku, quantity in KIT.items():
                moved = {"quantity": 4 * quantity, "reason": "delivery"}
                self.send("POST", f"/items/{sku}/movements", moved)
            done["received"] += 4
        return done

    def faults(self) -> list[str]:
        """Find what is wrong with what is kept, and what is said of it."""
        books = self.send("GET", "/verify")
        there = [uid for (uid,) in self.server.rows("SELECT customer_id FROM package_requests")]
        return [
            *audit(self.server.rows),
            *map(str, books["differences"]),
            *(f"{uid} is lost" for uid in set(self.asked) - set(there)),
            *(f"{uid} has several" for uid, number in Counter(there).items() if number > 1),
            *(line for line in self.server.logged().splitlines() if BUG.search(line)),
        ]

    def _try(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        try:
            answer = self._client.request(
                method, f"{self.server.url}{path}", json=body, headers=headers
            )
        except httpx.TransportError:
            self.unanswered += 1
            return None
        if answer.status_code >= 500 or "retry-after" in answer.headers:
            return None
        assert answer.status_code in {200, 201}, answer.text
        return answer.json() or [answer.status_code]


@pytest.fixture
def shop(nursery: Nursery, new_database: NewDatabase, tmp_path: Path) -> Iterator[Shop]:
    server = Server("inventory_api", nursery, tmp_path, new_database("inventory_api"))
    with closing(server), closing(Shop(server)) as shop:
        server.environment["SEED_DEMO_DATA"] = "false"
        yield shop


def levels(server: Server) -> dict[str, int]:
    return dict(server.rows("SELECT sku, on_hand FROM items"))


def statuses(server: Server) -> list[str]:
    return [row[0] for row in server.rows("SELECT status FROM package_requests ORDER BY id")]


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2, first=1))
def test_the_books_balance_after_kills_in_the_middle_of_batches(shop: Shop) -> None:
    shop.server.restart()
    shop.open(on_hand=60)
    with ThreadPoolExecutor(CLERKS) as threads:
        clerks = [threads.submit(shop.work, seed) for seed in range(CLERKS)]
        try:
            for _ in range(ROUNDS):
                answered = shop.answers
                until(lambda: shop.answers >= answered + 9, "clerks are at work")  # noqa: B023
                shop.server.end()
                assert shop.server.revive()
                shop.server.wait_until_ready()
        finally:
            shop.over.set()
        done = sum((clerk.result() for clerk in clerks), Counter[str]())

    assert shop.server.deaths == ROUNDS
    assert shop.unanswered >= ROUNDS
    assert shop.faults() == []
    # What was received was received once, and what was shipped was shipped once.
    left = 60 + done["received"] - done["shipped"]
    assert levels(shop.server) == {sku: left * quantity for sku, quantity in KIT.items()}
    assert done["shipped"] > 0
    assert Counter(statuses(shop.server))["backordered"] > 0


@pytest.mark.sweep
@pytest.mark.parametrize(("engine", "when"), sample(SIDES, every=2), indirect=["engine"])
def test_a_batch_that_dies_at_any_point_reserves_once_or_not_at_all(
    shop: Shop, engine: str, when: When, library: Path, tmp_path: Path
) -> None:
    kind: Any = "fsync" if engine == "sqlite" else "send"

    def prepare(n: int) -> None:
        """Let the process that is started next die at its n-th call from when it is armed."""
        point = environment(library, kind, when, n, tmp_path / f"armed-{n}")
        shop.server.environment.update(point)

    points = range(1, 1 + MOST_POINTS * STRIDE[engine], STRIDE[engine])
    prepare(points[0])
    shop.server.restart()
    shop.open(on_hand=10)
    turns = fired = 0
    for n, following in pairwise(points):
        prepare(following)
        (tmp_path / f"armed-{n}").touch()
        with kept_alive(shop.server):
            shop.ask_for(4)
            shop.send("POST", "/items/MUG/movements", {"quantity": 2, "reason": "delivery"})
        (tmp_path / f"armed-{n}").unlink()
        shop.server.revive()
        shop.server.wait_until_ready()
        turns += 1
        assert shop.faults() == [], f"{kind} {when} {n}"
        if shop.server.deaths == fired:
            break
        fired = shop.server.deaths

    print(f"stock: {engine} {kind} {when}: {turns} run, {fired} fired")  # noqa: T201
    assert fired >= 2
    assert levels(shop.server)["MUG"] == 10 + 2 * turns
    assert Counter(statuses(shop.server)).keys() == {"pending", "backordered"}


@contextmanager
def kept_alive(server: Server) -> Iterator[None]:
    """Start a server again as soon as it is dead, for a while."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            server.revive()

    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(watch)
        try:
            yield
        finally:
            over.set()
        watching.result()


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
def test_who_comes_first_is_served_first_from_the_crm_to_the_shelf(
    stack: Stack, engine: str
) -> None:
    """1,000 customers, and welcome packages for 600; then 400 more arrive."""
    stack.crm.start()
    stack.inventory.restart()
    stack.crm.wait_until_ready()
    with closing(Shop(stack.inventory)) as shop:
        shop.open(on_hand=600)
        add_customers(stack, 1_000)

        stack.integration.start()
        stack.wait_until_quiet()

        first = statuses(stack.inventory)
        assert Counter(first) == {"pending": 600, "backordered": 400}
        if engine == "sqlite":
            # One after another; where batches overlap, who is first is who is first at the shelf.
            assert first == ["pending"] * 600 + ["backordered"] * 400
        waiting = [n for n, status in enumerate(first) if status == "backordered"]
        for arrived in (150, 250):
            for sku, quantity in KIT.items():
                moved = {"quantity": arrived * quantity, "reason": "delivery"}
                shop.send("POST", f"/items/{sku}/movements", moved)
            served, waiting = waiting[:arrived], waiting[arrived:]
            now = statuses(stack.inventory)
            assert {now[n] for n in served} == {"pending"}
            assert [n for n, status in enumerate(now) if status == "backordered"] == waiting

        assert statuses(stack.inventory) == ["pending"] * 1_000
        assert shop.faults() == []
    stack.check()


def add_customers(stack: Stack, number: int) -> None:
    emails = [f"customer{n}@example.com" for n in range(number)]
    for some in (emails[at : at + 500] for at in range(0, number, 500)):
        answer = httpx.post(
            f"{stack.crm.url}/api/customers/batch",
            json=[{"name": "Jane Doe", "email": email} for email in some],
            headers=bearer("agent123"),
            trust_env=False,
            timeout=20,
        )
        assert {result["status"] for result in answer.json()} == {201}
        stack.outcomes.update(dict.fromkeys(some, "ok"))

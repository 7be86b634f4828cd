"""Any sequence of steps: what Inventory says and keeps is what a few lines of Python come to."""

import asyncio
import itertools
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, text

from inventory_api.app import create_app
from inventory_api.settings import Settings
from tests.conftest import running
from tests.inventory_api.conftest import BATCH, LIST, app_of, keeps_its_word
from tests.inventory_api.stock import (
    ALLOWED,
    LIVE,
    TARGETS,
    add_item,
    deltas,
    find_faults,
    ledger,
    put_kit,
    take,
)

T = TypeVar("T")

EXAMPLES = itertools.count(1)
ITEMS = 3
KITS: list[dict[int, int]] = [{0: 1}, {1: 1, 0: 2}, {2: 3, 1: 1}]
any_item = st.integers(0, ITEMS - 1)
any_kit = st.integers(0, len(KITS) - 1)
any_request = st.integers(0, 1_000)


@dataclass
class Asked:
    """A package request as it should be."""

    request_id: str
    customer_id: str
    package_type: str
    kit: dict[int, int]
    status: str
    to_unpack: bool = False

    @property
    def holds_goods(self) -> bool:
        return self.status in LIVE or self.to_unpack


class Stock(RuleBasedStateMachine):
    """A few items and kits, with all that can happen to them, one step after another."""

    def __init__(self, runner: asyncio.Runner, inventory: httpx.AsyncClient) -> None:
        super().__init__()
        self.runner = runner
        self.inventory = inventory
        self.on_hand: list[int] = []
        self.kits = [dict(kit) for kit in KITS]
        self.requests: list[Asked] = []
        self.erased: set[str] = set()
        self.customers = 0
        self.example = next(EXAMPLES)

    @initialize(on_hand=st.lists(st.integers(0, 6), min_size=ITEMS, max_size=ITEMS))
    def open_shop(self, on_hand: list[int]) -> None:
        self.on_hand = on_hand
        self.skus = [self.run(add_item(self.inventory, number)) for number in on_hand]
        self.types = [self.run(put_kit(self.inventory, self.by_sku(kit))) for kit in self.kits]

    @rule(kit=any_kit)
    def ask(self, kit: int) -> None:
        self.ask_for([(self.customer(), kit)], alone=True)

    @rule(kits=st.lists(any_kit, min_size=1, max_size=6))
    def ask_for_many(self, kits: list[int]) -> None:
        self.ask_for([(self.customer(), kit) for kit in kits])

    @precondition(lambda self: self.requests)
    @rule(which=any_request, kit=any_kit)
    def ask_again_among_others(self, which: int, kit: int) -> None:
        again = self.requests[which % len(self.requests)]
        known = self.types.index(again.package_type)
        self.ask_for([(self.customer(), kit), (again.customer_id, known), (self.customer(), kit)])

    @precondition(lambda self: self.requests)
    @rule(which=any_request, move=st.sampled_from(list(TARGETS)))
    def move(self, which: int, move: str) -> None:
        wanted = self.requests[which % len(self.requests)]
        self.make(wanted, move)

    @precondition(lambda self: any(one.to_unpack for one in self.requests))
    @rule(which=any_request)
    def unpack(self, which: int) -> None:
        boxes = [one for one in self.requests if one.to_unpack]
        box = boxes[which % len(boxes)]
        self.run(take(self.inventory, box.request_id, "unpack"))
        box.to_unpack = False
        self.allocate()

    @precondition(lambda self: self.requests)
    @rule(which=st.lists(any_request, min_size=1, max_size=3))
    def erase(self, which: list[int]) -> None:
        chosen = [self.requests[one % len(self.requests)] for one in which]
        body = {"customer_ids": [one.customer_id for one in chosen]}
        assert self.run(self.inventory.post(f"{LIST}/erasures", json=body)).status_code == 200
        for one in chosen:
            if one.status in {*LIVE, "backordered"}:
                one.to_unpack = one.status == "packed"
                one.status = "cancelled"
            self.erased.add(one.customer_id)
        self.allocate()

    @precondition(lambda self: any(one.status in LIVE for one in self.requests))
    @rule(which=any_request, moves=st.sampled_from([("pack", "ship"), ("pack", "ship", "return")]))
    def send_out(self, which: int, moves: tuple[str, ...]) -> None:
        live = [one for one in self.requests if one.status in LIVE]
        for move in moves:
            self.make(live[which % len(live)], move)

    @rule(item=any_item, quantity=st.integers(1, 6), again=st.booleans())
    def receive(self, item: int, quantity: int, again: bool) -> None:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if again else {}
        for _ in range(2 if again else 1):
            answer = self.move_stock(item, quantity, headers)
            assert answer.status_code == 201
        self.on_hand[item] += quantity
        self.allocate()

    @rule(item=any_item, counted=st.integers(0, 12))
    def count_stock(self, item: int, counted: int) -> None:
        quantity = counted - self.on_hand[item]
        answer = self.move_stock(item, quantity)
        if quantity == 0:
            assert answer.status_code == 422
        elif counted < self.reserved(item):
            assert answer.status_code == 409
        else:
            assert answer.status_code == 201
            self.on_hand[item] = counted
            self.allocate()

    @rule(kit=any_kit, lines=st.dictionaries(any_item, st.integers(1, 4), max_size=ITEMS))
    def change_kit(self, kit: int, lines: dict[int, int]) -> None:
        self.run(put_kit(self.inventory, self.by_sku(lines), self.types[kit]))
        self.kits[kit] = lines

    @rule()
    def repair(self) -> None:
        answer = self.run(self.inventory.post("/verify/repair"))
        assert answer.json()["repaired"] == []

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        if not self.on_hand:
            return
        reserved = [self.reserved(item) for item in range(ITEMS)]
        assert all(0 <= promised <= self.on_hand[n] for n, promised in enumerate(reserved))
        levels, found = self.run(app_of(self.inventory).state.database.read(self.look))
        assert levels == list(zip(self.on_hand, reserved, strict=True))
        assert found == {one.request_id: one.status for one in self.requests}
        assert self.run(find_faults(self.inventory)) == []

    def teardown(self) -> None:
        if not self.on_hand:
            return
        for item, sku in enumerate(self.skus):
            moved = deltas(self.run(ledger(self.inventory, sku)))
            assert sum(on_hand for on_hand, _, _ in moved) == self.on_hand[item]
            assert sum(reserved for _, reserved, _ in moved) == self.reserved(item)

    # ---- What Inventory is asked ----

    def ask_for(self, wanted: list[tuple[str, int]], *, alone: bool = False) -> None:
        bodies = [
            {"customer_id": customer, "package_type": self.types[kit]} for customer, kit in wanted
        ]
        if alone:
            answer = self.run(self.inventory.post(LIST, json=bodies[0]))
            results = [{"status": answer.status_code, "package_request": answer.json()}]
        else:
            results = self.run(self.inventory.post(BATCH, json=bodies)).json()
        there = {one.customer_id: one for one in self.requests}
        made = [
            Asked(
                result["package_request"]["request_id"],
                *(customer, self.types[kit], dict(self.kits[kit]), "backordered"),
            )
            for result, (customer, kit) in zip(results, wanted, strict=True)
            if customer not in there
        ]
        # Those of one batch are of one age; they come in the order of their customers' ids.
        self.requests += sorted(made, key=lambda one: (one.customer_id, one.package_type))
        self.allocate()
        known = {one.customer_id: one for one in self.requests}
        for result, (customer, _) in zip(results, wanted, strict=True):
            if customer in self.erased:
                assert result["status"] == 410
                continue
            told, asked = result["package_request"], known[customer]
            assert result["status"] == (200 if customer in there else 201)
            assert (told["request_id"], told["status"]) == (asked.request_id, asked.status)
            lines = {line["sku"]: line["quantity"] for line in told["lines"]}
            assert lines == self.by_sku(asked.kit)

    def make(self, wanted: Asked, move: str) -> None:
        answer = self.run(self.inventory.post(f"{LIST}/{wanted.request_id}/{move}"))
        target = TARGETS[move]
        if target == wanted.status:
            assert answer.status_code == 200
        elif target not in ALLOWED[wanted.status]:
            assert answer.status_code == 409
            assert answer.json()["allowed_statuses"] == ALLOWED[wanted.status]
        else:
            assert answer.json()["status"] == target
            wanted.to_unpack = (wanted.status, target) == ("packed", "cancelled")
            wanted.status = target
            for item, quantity in wanted.kit.items():
                self.on_hand[item] += {"shipped": -quantity, "returned": quantity}.get(target, 0)
            self.allocate()

    def move_stock(
        self, item: int, quantity: int, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return self.run(
            self.inventory.post(
                f"/items/{self.skus[item]}/movements",
                json={"quantity": quantity, "reason": "stocktake"},
                headers=headers,
            )
        )

    def look(self, db: Connection) -> tuple[list[tuple[int, int]], dict[str, str]]:
        """Read the levels and the requests' statuses, whatever the routes say of them."""
        levels = [
            tuple(
                db.execute(
                    text("SELECT on_hand, reserved FROM items WHERE sku = :sku"), {"sku": sku}
                ).one()
            )
            for sku in self.skus
        ]
        found = db.execute(
            text(
                "SELECT request_id, status FROM package_requests"
                " WHERE package_type IN (:one, :two, :three)"
            ),
            dict(zip(("one", "two", "three"), self.types, strict=True)),
        )
        return levels, {row.request_id: row.status for row in found}

    def customer(self) -> str:
        """Make up a customer whom no other example erases; a later one's id may sort before."""
        self.customers += 1
        return f"{self.example}-{self.customers * 7919 % 100_003:06}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # ---- What should come of it ----

    def by_sku(self, kit: dict[int, int]) -> dict[str, int]:
        return {self.skus[item]: quantity for item, quantity in kit.items()}

    def reserved(self, item: int) -> int:
        return sum(one.kit.get(item, 0) for one in self.requests if one.holds_goods)

    def allocate(self) -> None:
        """Serve whoever waits, the oldest first, with all that it needs or nothing."""
        for one in self.requests:
            if one.status == "backordered" and all(
                self.on_hand[item] - self.reserved(item) >= quantity
                for item, quantity in one.kit.items()
            ):
                one.status = "pending"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.engine("sqlite", "postgresql")
def test_stock_is_what_a_model_of_it_says(settings: Settings, engine: str) -> None:
    examples, steps = (10, 25) if engine == "sqlite" else (5, 15)
    quiet = settings.model_copy(update={"seed_demo_data": False})
    with asyncio.Runner() as runner:
        app = running(create_app(quiet), token="admin123")
        inventory = keeps_its_word(runner.run(app.__aenter__()))
        try:
            run_state_machine_as_test(
                lambda: Stock(runner, inventory),
                settings=hypothesis.settings(
                    max_examples=examples, stateful_step_count=steps, deadline=None
                ),
            )
        finally:
            runner.run(app.__aexit__(None, None, None))

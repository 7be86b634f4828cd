"""Whom the CRM has erased, Inventory is to forget: after the package, and until it has."""

import json

import httpx
import pytest
import respx

from integration_service.ledger import erasures
from tests.integration_service.conftest import Integration
from tests.integration_service.doubles import CrmDouble, InventoryDouble, created


def erased(uid: str, sequence: int) -> dict[str, object]:
    told = created(uid, sequence=sequence)
    return {**told, "type": "customer.erased", "data": {"uid": uid}}


class Forgetter:
    """Inventory's side: remembers whom it was asked to forget."""

    def __init__(self, inventory: InventoryDouble) -> None:
        self._inventory = inventory
        self.fault: httpx.Response | Exception | None = None
        self.asked: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if isinstance(self.fault, Exception):
            raise type(self.fault)(str(self.fault))
        if self.fault is not None:
            return self.fault
        self.asked.append(json.loads(request.content)["customer_ids"])
        return self._inventory.erase(request)


@pytest.fixture
def forgetter(far_sides: respx.MockRouter, inventory: InventoryDouble) -> Forgetter:
    forgetter = Forgetter(inventory)
    far_sides.post("http://inventory/package-requests/erasures").mock(side_effect=forgetter)
    return forgetter


async def test_an_erased_customer_is_forgotten_here_and_in_inventory(
    integration: Integration, crm: CrmDouble, forgetter: Forgetter
) -> None:
    crm.register("jane", "john")
    await integration.work()
    crm.publish(erased("jane", 3))
    await integration.work()

    assert await integration.poller.erasing.turn(integration.lease)

    assert forgetter.asked == [["jane"]]
    rows = await integration.rows()
    assert (rows["jane"].customer_name, rows["jane"].state) == (None, "delivered")
    assert rows["john"].customer_name is not None
    assert not await integration.poller.erasing.turn(integration.lease)


async def test_forgetting_waits_for_the_package_that_may_carry_the_name(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, forgetter: Forgetter
) -> None:
    inventory.fault = lambda _double, _request: httpx.Response(503)
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.look()

    assert not await integration.poller.erasing.turn(integration.lease)
    assert forgetter.asked == []

    inventory.fault = None
    integration.clock.advance(minutes=6)
    await integration.send()
    assert await integration.poller.erasing.turn(integration.lease)
    assert forgetter.asked == [["jane"]]


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.Response(500),
        httpx.Response(422, json={"title": "No"}),
        httpx.Response(200, json=[]),
    ],
    ids=["refused connection", "500", "422", "another answer"],
)
async def test_a_failure_forgets_nobody_and_is_made_good_after_a_restart(
    integration: Integration, crm: CrmDouble, forgetter: Forgetter, fault
) -> None:
    crm.register("jane")
    await integration.work()
    crm.publish(erased("jane", 2))
    await integration.work()
    forgetter.fault = fault

    assert not await integration.poller.erasing.turn(integration.lease)
    assert await integration.database.read(erasures.due, 10) == ["jane"]

    forgetter.fault = None
    restarted = await integration.restarted()
    assert await restarted.poller.erasing.turn(restarted.lease)
    assert forgetter.asked == [["jane"]]
    await restarted.die()

"""Where packages go: sent with the package, kept fresh at Inventory, and nowhere any longer."""

from typing import Any

import httpx
import pytest

from integration_service.deliveries import destinations
from integration_service.ledger import control
from service_kit.web.auth import COMMAND_LINE
from service_kit.web.postal import EXAMPLE
from tests.integration_service.conftest import Integration
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    answers,
    created,
    erased,
    listed,
    refuses_each,
)
from tests.integration_service.fragile import FragileDatabase, Killed
from tests.personal import everything_in

LONDON: dict[str, Any] = dict(EXAMPLE)
PARIS = {**LONDON, "lines": ["1 Rue"], "city": "Paris", "country": "FR"}
NOON, LATER = "2026-01-05T12:00:00Z", "2026-01-05T13:00:00Z"


def new(uid: str, sequence: int, address: Any) -> dict[str, Any]:
    return created(uid, sequence=sequence, address=address)


def changed(uid: str, sequence: int, address: Any, time: str = LATER) -> dict[str, Any]:
    """Make the event that tells that a customer was changed."""
    event = created(uid, sequence=sequence, address=address)
    return {**event, "type": "customer.updated", "time": time}


def lost(inventory: InventoryDouble, request: httpx.Request) -> httpx.Response:
    """Take the addresses, and lose the answer."""
    inventory.take_addresses(request)
    return httpx.Response(502)


async def waiting(integration: Integration) -> set[str]:
    """List whose address is still to be told, whether or not it can be now."""
    everyone = ["jane", "john", "ada"]
    return set(await integration.database.read(destinations.of, everyone))


def address_of(inventory: InventoryDouble, uid: str) -> Any:
    return inventory.packages[uid, "welcome_package", 1].get("ship_to")


async def test_a_package_is_asked_for_with_its_address(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(new("jane", 1, LONDON))
    crm.publish(new("john", 2, None))

    await integration.work()

    assert address_of(inventory, "jane") == LONDON
    assert inventory.packages["jane", "welcome_package", 1]["ship_to_as_of"] == NOON
    assert "ship_to" not in inventory.packages["john", "welcome_package", 1]
    await integration.readdress()
    assert await waiting(integration) == set()


async def test_a_new_address_reaches_a_package_that_is_not_packed(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    for uid, sequence in (("jane", 1), ("john", 2)):
        crm.publish(new(uid, sequence, LONDON))
    await integration.work()
    inventory.packages["john", "welcome_package", 1]["status"] = "packed"

    for uid, sequence in (("jane", 3), ("john", 4)):
        crm.publish(changed(uid, sequence, PARIS))
    await integration.work()
    await integration.readdress()

    assert [address_of(inventory, uid) for uid in ("jane", "john")] == [PARIS, LONDON]
    assert await waiting(integration) == set()


async def test_an_address_that_was_taken_away_is_taken_away(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(new("jane", 1, LONDON))
    await integration.work()

    crm.publish(changed("jane", 2, None))
    await integration.work()
    await integration.readdress()

    assert address_of(inventory, "jane") is None


async def test_a_change_before_the_package_is_there_goes_with_it(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.fault = answers(503)
    crm.publish(new("jane", 1, LONDON))
    await integration.work()
    crm.publish(changed("jane", 2, PARIS))
    await integration.work()
    await integration.readdress()
    assert not inventory.readdressings

    inventory.fault = None
    integration.clock.advance(hours=1)
    await integration.work()

    assert address_of(inventory, "jane") == PARIS


async def test_of_a_dead_delivery_the_address_waits_for_its_retry(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    inventory.faults.append(refuses_each(409, "package-request-conflict"))
    crm.publish(new("jane", 1, LONDON))
    await integration.work()
    assert await integration.states() == {"jane": "dead"}

    await integration.readdress()

    assert not inventory.readdressings
    assert await waiting(integration) == {"jane"}


@pytest.mark.parametrize("waits", [False, True])
async def test_an_older_address_that_is_read_again_replaces_no_newer_one(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, waits: bool
) -> None:
    crm.publish(new("jane", 1, None))
    await integration.work()
    if waits:
        await integration.database.write(control.pause, integration.clock(), COMMAND_LINE)
    for sequence, (address, time) in enumerate(((PARIS, LATER), (LONDON, NOON)), 2):
        crm.publish(changed("jane", sequence, address, time))
        await integration.work()
        await integration.readdress()
    await integration.database.write(control.resume, COMMAND_LINE)

    await integration.readdress()

    assert address_of(inventory, "jane") == PARIS


@pytest.mark.parametrize(
    "address",
    [{"lines": []}, "London", {**LONDON, "country": "XX"}, 7, {**LONDON, "lines": ["\x00"]}],
    ids=str,
)
async def test_an_address_that_is_none_stops_no_package(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, address: Any
) -> None:
    crm.publish(new("jane", 1, address))

    await integration.work()

    assert await integration.states() == {"jane": "delivered"}
    assert address_of(inventory, "jane") is None


@pytest.mark.parametrize(
    "broken",
    [{"data": None}, {"data": {}}, {"subject": None}, {"subject": "x" * 65}, {"time": "noon"}],
    ids=str,
)
async def test_a_change_that_can_not_be_read_is_passed_over(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, broken: dict[str, Any]
) -> None:
    crm.publish(changed("jane", 1, PARIS) | broken)
    crm.register("john")

    await integration.work()

    assert await integration.states() == {"john": "delivered"}
    assert await waiting(integration) == set()


async def test_an_erased_customers_address_is_nowhere_and_not_told(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    hidden = {**LONDON, "lines": ["Hidden Lane"]}
    await integration.database.write(control.pause, integration.clock(), COMMAND_LINE)
    crm.publish(new("jane", 1, hidden))
    await integration.work()
    assert "hidden lane" in await integration.database.read(everything_in)

    crm.publish(erased("jane", 2, 41))
    crm.publish(changed("jane", 3, hidden))
    await integration.work()

    assert "hidden lane" not in await integration.database.read(everything_in)
    await integration.database.write(control.resume, COMMAND_LINE)
    await integration.work()
    await integration.readdress()
    assert not inventory.readdressings


@pytest.mark.parametrize("paused", [True, False])
async def test_nothing_is_told_while_it_is_paused(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, paused: bool
) -> None:
    crm.publish(new("jane", 1, None))
    await integration.work()
    if paused:
        await integration.database.write(control.pause, integration.clock(), COMMAND_LINE)
    crm.publish(changed("jane", 2, PARIS))
    await integration.work()

    await integration.readdress()

    assert bool(inventory.readdressings) is not paused


@pytest.mark.parametrize(
    "fault",
    [answers(503), answers(200, json={}), answers(200, json=[]), lost],
)
async def test_what_was_not_answered_is_told_again(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, fault: Any
) -> None:
    crm.publish(new("jane", 1, None))
    await integration.work()
    crm.publish(changed("jane", 2, PARIS))
    await integration.work()
    inventory.address_faults.extend([fault] * 3)  # with those of its repetitions

    while inventory.address_faults:
        await integration.readdress()
    await integration.readdress()

    assert address_of(inventory, "jane") == PARIS
    assert await waiting(integration) == set()


async def test_one_that_inventory_refuses_is_logged_and_waits_no_longer(
    integration: Integration,
    crm: CrmDouble,
    inventory: InventoryDouble,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crm.publish(new("jane", 1, None))
    await integration.work()
    crm.publish(changed("jane", 2, PARIS))
    await integration.work()
    inventory.address_faults.append(
        lambda _double, _request: httpx.Response(200, json=[{"status": 422}])
    )

    await integration.readdress()

    assert "refuses the address of the customer with ID: jane" in caplog.text
    assert "Rue" not in caplog.text
    assert await waiting(integration) == set()


async def test_a_death_after_telling_tells_it_once_more(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(new("jane", 1, None))
    await integration.work()
    crm.publish(changed("jane", 2, PARIS))
    await integration.work()
    fragile = FragileDatabase(integration.database)
    fragile.before.append(Killed())
    integration.poller.readdressing._database = fragile

    with pytest.raises(Killed):
        await integration.poller.readdressing.tell_some(integration.lease)
    again = await integration.restarted()
    await again.readdress()

    assert len(inventory.readdressings) == 2
    assert address_of(inventory, "jane") == PARIS
    assert await waiting(again) == set()
    await again.die()


async def test_one_that_is_newer_when_the_older_was_told_is_told_too(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(new("jane", 1, None))
    crm.publish(changed("jane", 2, LONDON, NOON))
    await integration.work()
    told = await integration.database.read(destinations.due, integration.lease, 10)
    crm.publish(changed("jane", 3, PARIS))
    await integration.work()

    await integration.database.write(destinations.done, integration.lease, told)
    await integration.readdress()

    assert [one.ship_to for one in told] == [LONDON]
    assert address_of(inventory, "jane") == PARIS


async def test_a_recovery_brings_addresses_up_to_date(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.publish(new("jane", 1, LONDON))
    crm.publish(new("john", 2, LONDON))
    await integration.work()
    crm.changed["jane"] = listed("jane", NOON, updated_at=LATER, address=PARIS)
    crm.changed["john"] = listed("john", NOON, updated_at=LATER)
    crm.epoch = "b"

    while await integration.poll() == 0:
        await integration.send()
    await integration.readdress()

    assert address_of(inventory, "jane") == PARIS
    assert address_of(inventory, "john") is None

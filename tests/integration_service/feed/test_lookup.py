"""Events are read again to be sent, those that are sent next together with the first."""

import asyncio
from pathlib import Path

import httpx
import pytest
import respx

from integration_service.feed.lookup import EventLookup
from integration_service.targets.failures import Transient
from tests.integration_service.conftest import Integration, Start
from tests.integration_service.doubles import CrmDouble, answers
from tests.integration_service.webhooks import ReceiverDouble, of_routes, webhook


@pytest.fixture
async def integration(
    start: Start, crm: CrmDouble, shop: ReceiverDouble, tmp_path: Path
) -> Integration:
    integration = await start(**of_routes(tmp_path, webhook()))
    crm.register(*(f"c{number}" for number in range(9)))
    await integration.listen()
    integration.poller.subscriptions.recent._kept.clear()
    crm.requests.clear()
    return integration


def looked_up(far_sides: respx.MockRouter) -> list[int]:
    """Return the positions of which single events were asked for."""
    paths = [call.request.url.path for call in far_sides.calls]
    return [int(path.rpartition("/")[2]) for path in paths if path.startswith("/api/events/")]


async def test_those_that_are_sent_next_are_read_in_one_page(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, far_sides: respx.MockRouter
) -> None:
    await integration.report()

    assert sorted(shop.sequences) == list(range(1, 10))
    assert looked_up(far_sides) == [1]
    [page] = crm.looks
    # Up to the last that was claimed, and no further.
    assert (page["after"], page["limit"]) == ("a-1", "8")


async def test_without_that_page_each_is_looked_up(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble, far_sides: respx.MockRouter
) -> None:
    crm.fault = answers(503)

    await integration.report()

    assert sorted(shop.sequences) == list(range(1, 10))
    assert sorted(looked_up(far_sides)) == list(range(1, 10))


async def test_what_was_pruned_does_not_keep_the_rest(
    integration: Integration, crm: CrmDouble, shop: ReceiverDouble
) -> None:
    crm.pruned = 4

    await integration.report()

    assert sorted(shop.sequences) == list(range(5, 10))


async def test_whoever_waited_for_a_call_that_failed_does_not_wait_again(
    integration: Integration, crm: CrmDouble, far_sides: respx.MockRouter
) -> None:
    asked: list[httpx.Request] = []

    async def away(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        await asyncio.sleep(0)  # the others come meanwhile
        return httpx.Response(500)

    far_sides.get(path__startswith="/api/events/", host="crm").mock(side_effect=away)
    poller = integration.poller
    lookup = EventLookup(poller.crm, poller.subscriptions.recent, "customer.created")
    finding = (lookup.find(event["sequence"], event["id"], 9) for event in crm.events[:4])

    results = await asyncio.gather(*finding, return_exceptions=True)

    assert [type(one) for one in results] == [Transient] * 4
    assert len({request.url.path for request in asked}) == 1

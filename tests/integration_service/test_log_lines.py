"""The lines that other people's scripts look for in the log, to the letter."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service_kit.process.logs import JsonFormatter, TextFormatter
from tests.integration_service.conftest import Integration
from tests.integration_service.doubles import (
    CrmDouble,
    InventoryDouble,
    created,
    refuses,
    refuses_each,
)


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Give what the integration writes to its log; in text unless a test asks for JSON."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(getattr(request, "param", TextFormatter)())
    logger = logging.getLogger("integration_service")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_a_customers_way_is_told_in_three_lines(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, written: io.StringIO
) -> None:
    uid = "019a5d3c-7a11-7cc0-9b0e-5d1c2f3a4b5c"
    crm.publish(created(uid, name="Jane Doe"))

    await integration.work()

    # Other words may follow the contract's.
    lines = [line.partition(" [")[0] for line in written.getvalue().splitlines() if uid in line]
    assert lines == [
        f"INFO: Found new customer: Jane Doe (ID: {uid})",
        f"INFO: Creating package request for customer ID: {uid}",
        f"INFO: Successfully created package request for customer ID: {uid}",
    ]


async def test_success_is_told_once_and_only_of_a_success(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, written: io.StringIO
) -> None:
    crm.register("ada")
    inventory.faults.append(refuses(429, "slow-down"))
    await integration.work()
    assert "Successfully" not in written.getvalue()

    integration.clock.advance(seconds=1)
    await integration.work()
    crm.register("ada")
    await integration.work()

    text = written.getvalue()
    assert text.count("Found new customer: Customer ada (ID: ada)") == 1
    assert text.count("Successfully created package request for customer ID: ada") == 1


async def test_nobody_can_forge_a_line(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, written: io.StringIO
) -> None:
    crm.publish(created("ada", name="Ada\u2028INFO: Successfully created package request"))
    crm.publish(created("bob\nERROR: forged", sequence=2))
    inventory.faults.append(refuses_each(422, "invalid-request", "No.\nERROR: forged"))

    await integration.work()

    assert not any(
        line.startswith(("ERROR: forged", "INFO: Successfully"))
        for line in written.getvalue().splitlines()
    )


@pytest.mark.parametrize("written", [TextFormatter, JsonFormatter], indirect=True)
async def test_no_line_holds_an_e_mail_address_or_a_token(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, written: io.StringIO
) -> None:
    crm.publish(created("ada", name="ada@example.com", email="ada@example.com"))
    inventory.faults.append(
        refuses(401, "no", "Not with Bearer integration123, says ada@example.com.")
    )

    await integration.work()

    assert "ada" in written.getvalue()
    assert "@example.com" not in written.getvalue()
    assert "integration123" not in written.getvalue()


@pytest.mark.parametrize("written", [JsonFormatter], indirect=True)
async def test_the_lines_of_a_batch_and_its_request_have_one_id(
    integration: Integration, crm: CrmDouble, inventory: InventoryDouble, written: io.StringIO
) -> None:
    crm.register("ada", "bob")
    await integration.work()

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    ids = {
        line["request_id"]
        for line in lines
        if line["message"].startswith(("Creating", "Successfully"))
    }
    assert ids == {inventory.requests[0].headers["x-request-id"]}

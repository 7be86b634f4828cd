"""What the integration's description promises is so: each of its examples is sent."""

from integration_service.settings import Settings
from tests.described import Sender, assert_kept, description
from tests.integration_service.doubles import CrmDouble, InventoryDouble
from tests.integration_service.test_app import answered, is_delivered, serving
from tools.api_examples import operations

DOCUMENT = description("integration_service")


async def test_every_example_works_and_every_answer_is_as_described(
    settings: Settings, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    crm.register("jane")
    async with serving(settings) as client:
        await answered(client, "/deliveries/jane", is_delivered)
        sent = await Sender(client, DOCUMENT).send_all()

    assert {example.operation.id for example, _ in sent} == {one.id for one in operations(DOCUMENT)}
    for example, answer in sent:
        assert_kept(DOCUMENT, example, answer)

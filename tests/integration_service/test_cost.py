"""What a backlog costs the ledger, counted and not timed."""

import pytest
from sqlalchemy import Connection

from tests.integration_service.conftest import Start
from tests.integration_service.doubles import CrmDouble, InventoryDouble
from tests.statements import statements


@pytest.mark.engine("sqlite")
async def test_a_page_and_a_batch_cost_as_many_statements_for_few_as_for_many(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start()
    await integration.poll()
    cost = []
    for size in (1, 200):
        crm.register(*(f"c{size}-{n}" for n in range(size)))
        with statements() as sent:
            await integration.work()
        cost.append(len(sent))

    assert cost[0] == cost[1] <= 21  # one of them looks up where the packages go


@pytest.mark.engine("sqlite")
async def test_what_is_due_is_found_without_going_through_all_that_is_not_finished(
    start: Start, crm: CrmDouble, inventory: InventoryDouble
) -> None:
    integration = await start()
    crm.register("ada", "bob")
    await integration.poll()
    with statements() as sent:
        await integration.send()

    def plans(db: Connection) -> list[str]:
        return [
            row.detail
            for one in sent
            if "deliveries" in one and one.startswith(("SELECT", "UPDATE"))
            for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", (None,) * one.count("?"))
        ]

    found = await integration.database.read(plans)
    assert any("ix_deliveries_due" in plan for plan in found)
    assert any("ix_deliveries_retrying" in plan for plan in found)
    assert not [plan for plan in found if "ix_deliveries_state" in plan or "TEMP B-TREE" in plan]

import asyncio

import httpx

JANE = {"name": "Jane Doe", "email": "jane@example.com"}


async def test_callers_racing_for_one_address_leave_one_customer(crm: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(crm.post("/api/customers", json=JANE) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert len((await crm.get("/api/customers")).json()) == 1

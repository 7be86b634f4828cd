"""procrastinate in the integration's place: reads the CRM's feed; jobs ask for packages.

    python -m bench.bases.procrastinate_feed CRM_URL INVENTORY_URL DATABASE_URL MODE [NUMBER]

MODE is `page` or `customer`: each is one job. Its database is PostgreSQL, with procrastinate's
schema in it. A page's jobs are deferred in one transaction with the cursor behind the page, so that
nothing is missed and nothing is deferred twice. With NUMBER it ends after so many customers.

It reads the feed since a backlog is there before it starts, and since it is to stand where the
others stand. A request's handler could defer a job in the customer's own transaction, but only
where customers are in PostgreSQL too.
"""

import asyncio
import os
import sys
from contextlib import suppress
from typing import Any

import httpx
import procrastinate
from psycopg import AsyncConnection

READER = {"Authorization": "Bearer integration123"}
WAIT_SECONDS = 10
# Two pages or four at once were not faster: Inventory writes one batch after another.
AT_ONCE = {"page": 1, "customer": 16}
BATCH = int(os.environ.get("BATCH", "500"))


async def commit_at_once(connection: AsyncConnection) -> None:
    """Leave BEGIN and COMMIT out: each of procrastinate's statements is a transaction by itself."""
    await connection.set_autocommit(True)


connector = procrastinate.PsycopgConnector(conninfo=sys.argv[3], configure=commit_at_once)
app = procrastinate.App(connector=connector)
client = httpx.AsyncClient(headers=READER, timeout=60)
crm, inventory = sys.argv[1:3]


@app.task(retry=procrastinate.RetryStrategy(max_attempts=20, wait=1))
async def request_packages(wanted: list[dict[str, Any]]) -> None:
    answer = await client.post(f"{inventory}/package-requests/batch", json=wanted)
    answer.raise_for_status()


async def main(mode: str, number: int | None) -> None:
    async with app.open_async(), client:
        await take_up_what_was_left()
        work = app.run_worker_async(concurrency=AT_ONCE[mode], install_signal_handlers=False)
        worker = asyncio.create_task(work)
        await defer_from_feed(mode, number)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        await app.run_worker_async(concurrency=AT_ONCE[mode], wait=False)


async def take_up_what_was_left() -> None:
    """Retry the jobs of a worker that was killed. There is one worker only, and this is it."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=0):
        await app.job_manager.retry_job(job)


async def defer_from_feed(mode: str, number: int | None) -> None:
    after, deferred = await place(), 0
    while number is None or deferred < number:
        page = await read(after, BATCH if number is None else min(BATCH, number - deferred))
        wanted = [
            {"customer_id": one["subject"], "customer_name": one["data"]["name"]}
            for one in page["events"]
        ]
        after = page["next_cursor"]
        if wanted:
            shares = [wanted] if mode == "page" else [[one] for one in wanted]
            jobs: list[dict[str, Any]] = [{"wanted": share} for share in shares]
            async with connector.pool.connection() as connection, connection.transaction():
                deferrer = request_packages.configure(connection=connection)
                await deferrer.batch_defer_async(*jobs)
                await connection.execute("UPDATE place SET cursor = %s", (after,))
        deferred += len(wanted)


async def place() -> str | None:
    """Return the cursor behind the last page whose jobs were deferred."""
    async with connector.pool.connection() as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS place AS SELECT NULL::text AS cursor")
        found = await (await connection.execute("SELECT cursor FROM place")).fetchone()
    return found[0] if found else None


async def read(after: str | None, limit: int) -> Any:
    params: dict[str, Any] = {"types": "customer.created", "limit": limit, "wait": WAIT_SECONDS}
    if after is not None:
        params["after"] = after
    answer = await client.get(f"{crm}/api/events", params=params)
    return answer.raise_for_status().json()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[4], int(sys.argv[5]) if sys.argv[5:] else None))

"""DBOS in the integration's place: reads the CRM's feed; durable workflows ask for packages.

    python -m bench.bases.dbos_feed CRM_URL INVENTORY_URL DATABASE_URL page|customer [NUMBER]

With `page` a page is one workflow, whose id is the cursor behind it: where the reader starts again,
it goes on from the newest. With `customer` each customer is one, in a queue, by the event's id, and
the page's cursor is a workflow behind them. With NUMBER it ends after so many customers.
"""

import os
import sqlite3
import sys
from typing import Any

import httpx
from dbos import DBOS, SetWorkflowID

READER = {"Authorization": "Bearer integration123"}
WAIT_SECONDS, AT_ONCE = 10, 16
BATCH = int(os.environ.get("BATCH", "500"))
PLACE, QUEUE = "cursor ", "customers"

client = httpx.Client(headers=READER, timeout=60)
inventory = ""


@DBOS.step(retries_allowed=True, interval_seconds=0.1, max_attempts=20)
def request_packages(wanted: list[dict[str, Any]]) -> None:
    client.post(f"{inventory}/package-requests/batch", json=wanted).raise_for_status()


@DBOS.workflow()
def send(wanted: list[dict[str, Any]]) -> None:
    request_packages(wanted)


@DBOS.workflow()
def note_place() -> None:
    """Be there: a workflow's id is all that it says."""


def main(crm: str, database: str, mode: str, number: int | None) -> None:
    use_write_ahead_log(database)
    DBOS(config={"name": "bench", "system_database_url": database, "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=0.1)
    after, handles, sent = newest_place(), [], 0
    while number is None or sent < number:
        page = read(crm, after, BATCH if number is None else min(BATCH, number - sent))
        wanted = [
            {"customer_id": one["subject"], "customer_name": one["data"]["name"]}
            for one in page["events"]
        ]
        after = page["next_cursor"]
        if wanted and mode == "page":
            with SetWorkflowID(PLACE + after):
                handles.append(DBOS.start_workflow(send, wanted))
        elif wanted:
            for event, one in zip(page["events"], wanted, strict=True):
                with SetWorkflowID(event["id"]):
                    handles.append(DBOS.enqueue_workflow(QUEUE, send, [one]))
            with SetWorkflowID(PLACE + after):
                DBOS.start_workflow(note_place)
        sent += len(wanted)
        if number is None:
            handles.clear()
    for handle in handles:
        handle.get_result()
    DBOS.destroy()


def use_write_ahead_log(url: str) -> None:
    """Have SQLite flush once for each commit, and not several times; it stays so in the file."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        database.execute("PRAGMA journal_mode = WAL")


def newest_place() -> str | None:
    """Return the cursor behind the last page that a workflow was started for."""
    found = DBOS.list_workflows(workflow_id_prefix=PLACE, sort_desc=True, limit=1)
    return found[0].workflow_id.removeprefix(PLACE) if found else None


def read(crm: str, after: str | None, limit: int) -> Any:
    params: dict[str, Any] = {"types": "customer.created", "limit": limit, "wait": WAIT_SECONDS}
    if after is not None:
        params["after"] = after
    return client.get(f"{crm}/api/events", params=params).raise_for_status().json()


if __name__ == "__main__":
    inventory = sys.argv[2]
    main(sys.argv[1], sys.argv[3], sys.argv[4], int(sys.argv[5]) if sys.argv[5:] else None)

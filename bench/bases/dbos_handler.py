"""DBOS in the CRM's place: the request's handler stores the customer and starts a workflow.

It knows no feed: whoever adds a customer starts what follows, with the customer's uid as its id.
"""

import os
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from dbos import DBOS, SetWorkflowID
from fastapi import FastAPI

from bench.bases.dbos_feed import use_write_ahead_log
from bench.bases.schemas import CustomerNew

INVENTORY = os.environ["INVENTORY_API_URL"]
client = httpx.Client(headers={"Authorization": "Bearer integration123"}, timeout=60)
_local = threading.local()


@asynccontextmanager
async def running(_: FastAPI) -> AsyncIterator[None]:
    url = os.environ["WORKFLOWS_URL"]
    use_write_ahead_log(url)
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    database().execute(
        "CREATE TABLE customers (uid TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE)"
    )
    yield
    DBOS.destroy()


app = FastAPI(lifespan=running)


def database() -> sqlite3.Connection:
    """Give this thread's connection."""
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(os.environ["CUSTOMERS_FILE"], isolation_level=None)
        _local.connection.execute("PRAGMA journal_mode = WAL")
        _local.connection.execute("PRAGMA synchronous = FULL")
    connection: sqlite3.Connection = _local.connection
    return connection


@DBOS.step(retries_allowed=True, interval_seconds=0.1, max_attempts=20)
def request_package(uid: str, name: str) -> None:
    wanted = {"customer_id": uid, "customer_name": name}
    client.post(f"{INVENTORY}/package-requests", json=wanted).raise_for_status()


@DBOS.workflow()
def welcome(uid: str, name: str) -> None:
    request_package(uid, name)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/api/customers", status_code=201)
def add(new: CustomerNew) -> dict[str, Any]:
    uid = str(uuid.uuid4())
    database().execute("INSERT INTO customers VALUES (?, ?, ?)", (uid, new.name, new.email))
    with SetWorkflowID(uid):
        DBOS.start_workflow(welcome, uid, new.name)
    return {"uid": uid, "name": new.name, "email": new.email}

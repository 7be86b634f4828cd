"""An Inventory that makes nothing, takes its time for each package, and counts who is asked for."""

import asyncio
import uuid
from collections import Counter
from typing import Any

from fastapi import FastAPI

SECONDS_EACH = 0.01

app = FastAPI()
asked: Counter[str] = Counter()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/counts")
async def counts() -> dict[str, int]:
    """Say how many were asked for, and how often one was that had been asked for before."""
    return {"customers": len(asked), "repeats": asked.total() - len(asked)}


@app.post("/package-requests/batch")
async def request_packages(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"status": 201, "package_request": await request_package(one)} for one in wanted]


@app.post("/package-requests", status_code=201)
async def request_package(wanted: dict[str, Any]) -> dict[str, str]:
    asked[wanted["customer_id"]] += 1
    await asyncio.sleep(SECONDS_EACH)
    return {
        "request_id": str(uuid.uuid4()),
        "customer_id": wanted["customer_id"],
        "package_type": "welcome_package",
    }

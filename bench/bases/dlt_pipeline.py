"""A pipeline of dlt: its REST source reads the customers, a destination of its own posts packages.

    python -m bench.bases.dlt_pipeline CRM_URL INVENTORY_URL FOLDER

It asks for all packages of a page at once, as a batch; what it has sent is kept in its own state.
"""

import os
import sys
from typing import Any

import dlt
import httpx
from dlt.sources.rest_api import rest_api_source

READER = {"Authorization": "Bearer integration123"}
BATCH = int(os.environ.get("BATCH", "500"))


def main(crm: str, inventory: str, folder: str) -> None:
    client = httpx.Client(headers=READER, timeout=60)

    @dlt.destination(batch_size=BATCH, loader_file_format="typed-jsonl")
    def packages(items: Any, table: Any) -> None:
        wanted = [{"customer_id": one["uid"], "customer_name": one["name"]} for one in items]
        client.post(f"{inventory}/package-requests/batch", json=wanted).raise_for_status()

    source = rest_api_source(
        {
            "client": {
                "base_url": crm,
                "auth": {"type": "bearer", "token": "integration123"},
                "paginator": {"type": "header_link"},
            },
            "resources": [
                {
                    "name": "customers",
                    "endpoint": {"path": "api/customers", "params": {"limit": BATCH}},
                }
            ],
        }
    )
    pipeline = dlt.pipeline("packages", destination=packages, pipelines_dir=folder)
    pipeline.run(source)


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""A first script: reads every customer, and posts a package for each, one after another.

    python -m bench.bases.one_by_one CRM_URL INVENTORY_URL NUMBER [kept]

With `kept` it keeps one httpx client, the least that it should learn. It prints how many seconds
the packages took.
"""

import sys
import time
from typing import Any

import httpx
import tenacity

READER = {"Authorization": "Bearer integration123"}


@tenacity.retry(
    stop=tenacity.stop_after_attempt(5), wait=tenacity.wait_exponential_jitter(0.1), reraise=True
)
def request_package(post: Any, inventory: str, customer: dict[str, Any]) -> None:
    package = {"customer_id": customer["uid"], "customer_name": customer["name"]}
    post(f"{inventory}/package-requests", json=package, headers=READER).raise_for_status()


def main(crm: str, inventory: str, number: int, *, keeps: bool) -> None:
    client = httpx.Client()
    customers: list[dict[str, Any]] = []
    page = f"{crm}/api/customers?limit=500"
    while len(customers) < number:
        answer = client.get(page, headers=READER)
        customers += answer.json()
        page = f"{crm}{answer.links['next']['url']}" if "next" in answer.links else page
    began_at = time.perf_counter()
    for customer in customers[:number]:
        request_package(client.post if keeps else httpx.post, inventory, customer)
    print(time.perf_counter() - began_at)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), keeps=sys.argv[4:] == ["kept"])

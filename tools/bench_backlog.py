"""How long a backlog of new customers takes: the integration against asking one by one.

Real services on SQLite in a temporary folder, on free ports. The ways take turns, so that what else
this machine does falls on all of them alike, and what counts is the ratio:

integration   from the moment it is ready until the last package is requested
one by one    read all customers, then one `httpx.post` each: what a first script does
kept client   the same with one httpx client for all, the least that the script should learn

The two last are measured on a sample, as each of their customers takes as long as the one before.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
BATCH = 500
PATIENCE = 600.0
WRITER = {"Authorization": "Bearer agent123"}
INTEGRATION = {"Authorization": "Bearer integration123"}
VIEWER = {"Authorization": "Bearer viewer123"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=20_000, metavar="N")
    parser.add_argument("--sample", type=int, default=500, metavar="N", help="of the slow ways")
    parser.add_argument("--rounds", type=int, default=2, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-backlog-") as folder, httpx.Client() as client:
        run(Path(folder), client, options.customers, options.sample, options.rounds)
    return 0


def run(folder: Path, client: httpx.Client, customers: int, sample: int, rounds: int) -> None:
    ways: dict[str, list[float]] = {"integration": [], "one by one": [], "kept client": []}
    with service("crm_api", folder, SEED_DEMO_DATA="false") as crm:
        began_at = time.perf_counter()
        add_customers(client, crm, customers)
        print(f"{customers} customers added in {time.perf_counter() - began_at:.1f} s")
        for n in range(1, rounds + 1):
            place = folder / str(n)
            place.mkdir()
            for way, seconds in (
                ("integration", drain(place, client, crm, customers) / customers),
                ("one by one", one_by_one(place, crm, sample) / sample),
                ("kept client", one_by_one(place, crm, sample, client) / sample),
            ):
                ways[way].append(seconds)
                print(f"round {n}  {way:<12} {seconds * 1000:8.3f} ms a customer", flush=True)
    best = median(ways["integration"])
    for way, found in ways.items():
        seconds = median(found)
        print(f"{way:<12} {seconds * 1000:8.3f} ms a customer, {seconds / best:6.1f} times")


def add_customers(client: httpx.Client, crm: str, number: int) -> None:
    for first in range(0, number, BATCH):
        batch = [
            {"name": f"Customer {n}", "email": f"customer{n}@example.com"}
            for n in range(first, min(first + BATCH, number))
        ]
        answer = client.post(f"{crm}/api/customers/batch", json=batch, headers=WRITER, timeout=60)
        answer.raise_for_status()
        assert {one["status"] for one in answer.json()} == {201}


def drain(folder: Path, client: httpx.Client, crm: str, customers: int) -> float:
    """Let the integration work off the backlog, with a ledger and an Inventory of its own."""
    with (
        service("inventory_api", folder) as inventory,
        service(
            "integration_service", folder, CRM_API_URL=crm, INVENTORY_API_URL=inventory
        ) as integration,
    ):
        began_at = time.perf_counter()
        while True:
            status = client.get(f"{integration}/status", headers=VIEWER).json()
            seconds = time.perf_counter() - began_at
            if status["deliveries"]["delivered"] == customers:
                return seconds
            assert seconds < PATIENCE, status
            time.sleep(0.02)


def one_by_one(folder: Path, crm: str, sample: int, client: httpx.Client | None = None) -> float:
    post: Any = client.post if client else httpx.post
    get: Any = client.get if client else httpx.get
    with service("inventory_api", folder / ("kept" if client else "new")) as inventory:
        began_at = time.perf_counter()
        page = f"{crm}/api/customers?limit={min(sample, BATCH)}"
        left = sample
        while left > 0:
            answer = get(page, headers=WRITER)
            for customer in answer.json()[:left]:
                made = post(
                    f"{inventory}/package-requests",
                    json={"customer_id": customer["uid"], "customer_name": customer["name"]},
                    headers=INTEGRATION,
                )
                assert made.status_code == 201, made.text  # noqa: PLR2004
                left -= 1
            if left:
                page = str(answer.url.join(answer.links["next"]["url"]))
        return time.perf_counter() - began_at


@contextmanager
def service(name: str, folder: Path, **environment: str) -> Iterator[str]:
    """Run a service on a free port with a database of its own. Gives its URL."""
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {"PORT": str(port), "DATABASE_URL": f"sqlite:///{folder / name}.db"}
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", name, "serve"],
            env=bare | own | environment | {"PYTHONPATH": str(ROOT), "LOG_LEVEL": "WARNING"},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, url := f"http://127.0.0.1:{port}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=15)


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{url}/health/ready").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.01)
        assert process.poll() is None, f"{url} has ended"
        assert time.monotonic() < give_up_at, f"{url} is not ready"


if __name__ == "__main__":
    sys.exit(main())

"""What else answers requests for customers, where it is installed.

Django REST framework is of requirements/bench.txt. json-server and Directus come from npm: the
first has no tokens and keeps everything in memory and one file.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from bench.databases import run_sql
from bench.loading import Request, put_load
from bench.parts.http import BODY, GET, PAGE, POST, ROWS, failures, name_of
from bench.place import BASE_TOKEN, Place
from bench.processes import Server, bare_environment, server
from bench.report import Comparison, compare
from bench.stacks import call
from service_kit.database.sqlite.connect import file_of

CONNECTIONS = 16
GOAL = 2.0
# Of all peers json-server alone gives a page without a database.
PAGE_GOAL_BESIDE_MEMORY = 1.3
# It runs on Node 18 and later; newer ones want 22.
DIRECTUS = "directus@10.13.4"
DIRECTUS_FIELDS = ("name", "company", "phone", "external_ref")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server with a collection of customers, and what of it gives a page of 50."""

    name: str
    running: Server
    path: str
    page: str
    page_goal: float = GOAL


def measure(place: Place) -> Iterator[Comparison]:
    if shutil.which("json-server") is None:
        print("json-server is left out: npm install --global json-server@0.17.4 has it.")
    else:
        yield from _against(place, _json_server(place))
    if find_spec("rest_framework") is None or find_spec("gunicorn") is None:
        print("Django REST framework is left out: requirements/bench.txt has it.")
    else:
        yield from _against(place, _django(place))
    if (directus := shutil.which("directus")) is None:
        print(f"Directus is left out: npm install --global {DIRECTUS} has it.")
    else:
        yield from _against(place, _directus(place, directus))


def _django(place: Place) -> Peer:
    command = [sys.executable, "-m", "gunicorn", "bench.bases.drf:app", "--threads", "8"]
    command += ["--bind", "127.0.0.1:{port}", "--log-level", "warning"]
    url = place.database("sqlite")
    running = server(command, place.folder, "/health", DATABASE_URL=url)
    path = "/api/customers"
    return Peer("Django REST framework", place.stack.enter_context(running), path, path)


def _json_server(place: Place) -> Peer:
    data = place.folder / "json-server.json"
    data.write_text(json.dumps({"customers": [{"id": 1, "name": "x", "email": "y"}]}))
    command = ["json-server", "--quiet", "--port", "{port}", "--host", "127.0.0.1", str(data)]
    running = place.stack.enter_context(server(command, place.folder, "/customers"))
    path = "/customers"
    return Peer("json-server", running, path, f"{path}?_limit=50", PAGE_GOAL_BESIDE_MEMORY)


def _directus(place: Place, command: str) -> Peer:
    """Run Directus with one collection, and with an administrator's token: it asks no rules."""
    url = place.database("sqlite")
    run_sql(url, "PRAGMA journal_mode = WAL")  # it stays so in the file
    settings = {
        "ADMIN_EMAIL": "admin@example.com",
        "ADMIN_PASSWORD": "not-asked-for",
        "ADMIN_TOKEN": BASE_TOKEN,
        "DB_CLIENT": "sqlite3",
        "DB_FILENAME": str(file_of(url)),
        "HOST": "127.0.0.1",
        "KEY": "bench",
        "LOG_LEVEL": "error",
        "SECRET": "bench",
        "SERVE_APP": "false",
        "TELEMETRY": "false",
    }
    subprocess.run(
        [command, "bootstrap"],
        env=bare_environment() | settings,
        cwd=place.folder,
        check=True,
        capture_output=True,
    )
    started = server([command, "start"], place.folder, "/server/ping", **settings)
    running = place.stack.enter_context(started)
    key = {"is_primary_key": True, "has_auto_increment": True}
    fields = [
        {"field": "id", "type": "integer", "schema": key},
        {"field": "email", "type": "string", "schema": {"is_unique": True}},
        *({"field": name, "type": "string", "schema": {}} for name in DIRECTUS_FIELDS),
    ]
    new = {"collection": "customers", "schema": {}, "meta": {}, "fields": fields}
    call(running, "POST", "/collections", new, BASE_TOKEN)
    path = "/items/customers"
    return Peer("Directus", running, path, f"{path}?limit=50")


def _against(place: Place, peer: Peer) -> Iterator[Comparison]:
    crm = place.crm("sqlite", ROWS)
    post = Request("POST", peer.path, BASE_TOKEN, BODY)
    for n in range(50):  # so many that a page is full
        new = {"name": f"Customer {n}", "email": f"first-{n}@example.com"}
        call(peer.running, "POST", peer.path, new, BASE_TOKEN)
    for own, other, goal in (
        (GET, Request("GET", f"{peer.path}/1", BASE_TOKEN), GOAL),
        (POST, post, GOAL),
        (PAGE, Request("GET", peer.page, BASE_TOKEN), peer.page_goal),
    ):
        loads = [
            (
                put_load(crm, [own], CONNECTIONS, place.seconds),
                put_load(peer.running, [other], CONNECTIONS, place.seconds),
            )
            for _ in range(place.rounds)
        ]
        yield compare(
            "peers",
            f"{name_of(own)}, sqlite, {CONNECTIONS}",
            peer.name,
            "req/cpu s",
            [1e6 / ours.cpu_us for ours, _ in loads],
            [1e6 / theirs.cpu_us for _, theirs in loads],
            goal=goal,
            note=failures([theirs for _, theirs in loads], peer.name),
        )

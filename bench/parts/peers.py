"""What else answers requests for customers, where it is installed: requirements/bench.txt.

json-server comes from npm; it has no tokens and keeps everything in memory and one file.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from bench.loading import Request, put_load
from bench.parts.http import BODY, GET, POST, ROWS, failures, name_of
from bench.place import BASE_TOKEN, Place
from bench.processes import Server, server
from bench.report import Comparison, compare

CONNECTIONS = 16


def measure(place: Place) -> Iterator[Comparison]:
    if find_spec("rest_framework") is None or find_spec("gunicorn") is None:
        print("Django REST framework is left out: requirements/bench.txt has it.")
    else:
        yield from _against(place, "Django REST framework", _django(place), "/api/customers")
    if shutil.which("json-server") is None:
        print("json-server is left out: npm install --global json-server@0.17.4 has it.")
    else:
        yield from _against(place, "json-server", _json_server(place), "/customers")


def _django(place: Place) -> Server:
    command = [sys.executable, "-m", "gunicorn", "bench.bases.drf:app", "--threads", "8"]
    command += ["--bind", "127.0.0.1:{port}", "--log-level", "warning"]
    url = place.database("sqlite")
    return place.stack.enter_context(server(command, place.folder, "/health", DATABASE_URL=url))


def _json_server(place: Place) -> Server:
    data = place.folder / "json-server.json"
    data.write_text(json.dumps({"customers": [{"id": 1, "name": "x", "email": "y"}]}))
    command = ["json-server", "--quiet", "--port", "{port}", "--host", "127.0.0.1", str(data)]
    return place.stack.enter_context(server(command, place.folder, "/customers"))


def _against(place: Place, name: str, peer: Server, path: str) -> Iterator[Comparison]:
    crm = place.crm("sqlite", ROWS)
    post = Request("POST", path, BASE_TOKEN, BODY)
    put_load(peer, [post], 1, 0.5)
    for own, other in ((GET, Request("GET", f"{path}/1", BASE_TOKEN)), (POST, post)):
        loads = [
            (
                put_load(crm, [own], CONNECTIONS, place.seconds),
                put_load(peer, [other], CONNECTIONS, place.seconds),
            )
            for _ in range(place.rounds)
        ]
        yield compare(
            "peers",
            f"{name_of(own)}, sqlite, {CONNECTIONS}",
            name,
            "req/cpu s",
            [1e6 / ours.cpu_us for ours, _ in loads],
            [1e6 / theirs.cpu_us for _, theirs in loads],
            note=failures([theirs for _, theirs in loads], name),
        )

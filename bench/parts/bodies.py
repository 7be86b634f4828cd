"""What the worst bodies of 1 MiB cost, beside a batch of 500 customers who are known already."""

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection

from bench.place import TOKEN, Place
from bench.processes import Server
from bench.report import Comparison, compare

PATH = "/api/customers/batch"
LARGEST = 1024 * 1024
MOST = 2.0  # as a multiple of a full batch: a third of the 100 ms that a body may take at most


def measure(place: Place) -> Iterator[Comparison]:
    crm = place.crm("sqlite", 1000)
    plain = json.dumps([_customer(number) for number in range(500)]).encode()
    milliseconds(crm, plain)
    for what, body in worst().items():
        own, beside = [], []
        for _ in range(place.rounds * 2):
            own.append(milliseconds(crm, body))
            beside.append(milliseconds(crm, plain))
        yield compare(
            "bodies", what, "batch of 500", "ms", own, beside, goal=MOST, less_is_better=True
        )


def worst() -> dict[str, bytes]:
    """Make bodies that are as long as one may be, and one that uses up its budget of values."""
    unknown = b"{%b}" % b",".join(b'"%d":0' % number for number in range(38))
    return {
        "numbers": _full_of(b"1"),
        "texts": _full_of(b'""'),
        "lists in lists": _full_of(b"[" * 60 + b"]" * 60),
        "names": b"{%b}" % b",".join(b'"%d":0' % number for number in range(88_000)),
        "one text of quotes": b'["%b"]' % (rb"\"" * (LARGEST // 2 - 2)),
        "long numbers": _full_of(b"9" * 4200),
        "fractions": b"[%b]" % b",".join([b"1.2345678901234567890e-300"] * 19_000),
        "a name that shows nothing": b'{"name":"%b"}' % ("\u200b".encode() * (LARGEST // 3 - 10)),
        "500 items of long addresses": b"[%b]" % b",".join([_of_long_address()] * 490),
        "500 items of unknown fields": b"[%b]" % b",".join([unknown] * 500),
    }


def milliseconds(server: Server, body: bytes) -> float:
    """Send a body over a connection of its own. Returns how long its answer took."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    began_at = time.perf_counter()
    connection.request("POST", PATH, body, headers)
    connection.getresponse().read()
    took = time.perf_counter() - began_at
    connection.close()
    return took * 1000


def _customer(number: int) -> dict[str, str]:
    return {"name": f"Customer {number}", "email": f"plain-{number}@example.com"}


def _of_long_address() -> bytes:
    return b'{"name":"x","email":"%b@%b"}' % (b"n" * 2000, b"a." * 20)


def _full_of(element: bytes) -> bytes:
    return b"[%b]" % b",".join([element] * ((LARGEST - 1) // (len(element) + 1)))

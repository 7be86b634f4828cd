"""Whatever comes from outside: an answer that OpenAPI names, in the one shape, never a 5xx."""

import gzip
import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inventory_api.conftest import BATCH, LIST, new_customer

MARK = "s3cr3t"

# Reliability's table and its like, each in one field of an otherwise good request. None fits.
BAD_FIELDS: list[tuple[str, Any]] = [
    ("customer_id", f"{MARK}\0"),
    ("customer_id", f"{MARK}\ud800"),
    ("customer_id", f"{MARK}\udfff\ud800"),
    ("customer_id", f"{MARK}\nforged log line"),
    ("customer_id", f"{MARK}\x1b[31m"),
    ("customer_id", f"{MARK}\x85{MARK}"),
    ("customer_id", f"{MARK}\u2028{MARK}"),
    ("customer_id", ""),
    ("customer_id", " \t "),
    ("customer_id", "ñ" * 65),
    ("customer_id", MARK * 20_000),
    ("customer_id", None),
    ("customer_id", 7),
    ("customer_id", 2**63),
    ("customer_id", 10**400),
    ("customer_id", True),
    ("customer_id", [MARK]),
    ("customer_id", {MARK: MARK}),
    ("package_type", ""),
    ("package_type", "x" * 65),
    ("package_type", "welcome package"),
    ("package_type", "welcome/package"),
    ("package_type", "pakét"),
    ("package_type", f"{MARK}\0"),
    ("package_type", "\ud800"),
    ("package_type", None),
    ("package_type", 1),
    ("occurrence", 0),
    ("occurrence", -1),
    ("occurrence", 1_000_001),
    ("occurrence", 2**31),
    ("occurrence", 2**63),
    ("occurrence", 10**4000),
    ("occurrence", 1.5),
    ("occurrence", 1.0),
    ("occurrence", "1"),
    ("occurrence", True),
    ("occurrence", None),
    ("occurrence", [1]),
    ("customer_name", ""),
    ("customer_name", "  "),
    ("customer_name", "\u200b"),
    ("customer_id", "\u200b"),
    ("note", "\u2060"),
    ("customer_name", "x" * 201),
    ("customer_name", f"{MARK}\nforged log line"),
    ("customer_name", f"{MARK}\0"),
    ("customer_name", "\ud800"),
    ("customer_name", 7),
    ("note", "x" * 2001),
    ("note", f"{MARK}\0"),
    ("note", "\ud800"),
    ("note", {"a": MARK}),
    ("status", "shipped"),
    ("request_id", MARK),
    ("id", 1),
    ("__proto__", {}),
    ("\0", MARK),
    ("\ud800", MARK),
    ("x" * 10_000, MARK),
]


def said(value: Any) -> str:
    return ascii(value)[:40]


JSON: dict[str, Any] = {"headers": {"content-type": "application/json"}}


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=said)
async def test_a_bad_field_is_refused_and_not_repeated(
    shared_inventory: httpx.AsyncClient, field: str, value: Any
) -> None:
    wanted = {"customer_id": new_customer(), field: value}

    alone = await shared_inventory.post(LIST, content=dumps(wanted), **JSON)
    batch = await shared_inventory.post(BATCH, content=dumps([wanted]), **JSON)

    assert alone.status_code == 422
    # Where it is no JSON at all there is no item to answer for.
    assert batch.status_code == 422 or batch.json()[0]["status"] == 422
    for answer in (alone, batch):
        assert MARK not in answer.text
        assert len(answer.content) < 2000


GOOD = dumps({"customer_id": "1"})
BAD_BODIES = {
    "nothing": (b"", 422),
    "white space": (b" ", 422),
    "null": (b"null", 422),
    "a string": (b'"x"', 422),
    "a number": (b"1", 422),
    "half": (GOOD[:-5], 422),
    "two": (GOOD + GOOD, 422),
    "NaN": (b'{"customer_id": NaN}', 422),
    "Infinity": (b'{"occurrence": -Infinity}', 422),
    "1e999": (b'{"occurrence": 1e999}', 422),
    "5000 digits": (b'{"occurrence": %b}' % (b"9" * 5000), 422),
    "1000 deep": (b"[" * 1000 + b"]" * 1000, 422),
    "100000 deep": (b'{"a":' * 100_000, 422),
    "invalid UTF-8": (b'{"customer_id": "\xff"}', 422),
    "a surrogate in UTF-8": (b'{"customer_id": "\xed\xa0\x80"}', 422),
    "a raw NUL": (b'{"customer_id": "\0"}', 422),
    "UTF-16": (GOOD.decode().encode("utf-16"), 422),
    "gzip": (gzip.compress(GOOD), 422),
    "more than 1 MiB": (b'{"customer_id": "' + b"x" * 2**20 + b'"}', 413),
}


@pytest.mark.parametrize(("body", "status"), BAD_BODIES.values(), ids=BAD_BODIES)
@pytest.mark.parametrize("path", [LIST, BATCH])
async def test_a_body_that_asks_for_no_package_is_refused(
    shared_inventory: httpx.AsyncClient, path: str, body: bytes, status: int
) -> None:
    answer = await shared_inventory.post(path, content=body, **JSON)

    assert answer.status_code == status


@pytest.mark.parametrize(("path", "body"), [(LIST, b"[]"), (LIST, b"[{}]"), (BATCH, GOOD)])
async def test_one_is_no_list_and_a_list_is_not_one(
    shared_inventory: httpx.AsyncClient, path: str, body: bytes
) -> None:
    assert (await shared_inventory.post(path, content=body, **JSON)).status_code == 422


@pytest.mark.parametrize("path", [LIST, BATCH])
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "x"])
async def test_a_body_of_another_kind_is_refused(
    shared_inventory: httpx.AsyncClient, path: str, kind: str
) -> None:
    answer = await shared_inventory.post(path, content=GOOD, headers={"content-type": kind})

    assert answer.status_code == 415


BAD_PATHS = {
    "%00": 422,
    "1%00": 422,
    "a%0ab": 422,
    "%7f": 422,
    "%ed%a0%80": 404,
    "%ff%fe": 404,
    "%F0%9F%8E%89": 404,
    "1": 404,
    "-1": 404,
    str(2**63): 404,
    "x" * 36: 404,
    "x" * 37: 422,
    "';--": 404,
}


@pytest.mark.parametrize(("key", "status"), BAD_PATHS.items(), ids=said)
async def test_an_id_that_cannot_be_one_is_refused(
    shared_inventory: httpx.AsyncClient, key: str, status: int
) -> None:
    assert (await shared_inventory.get(f"{LIST}/{key}")).status_code == status


BAD_QUERIES = {
    "customer_id=": 422,
    "customer_id=%00": 422,
    "customer_id=a%0d%0ab": 422,
    "customer_id=" + "x" * 65: 422,
    "customer_id=%ed%a0%80": 200,
    "customer_id=1&customer_id=2": 422,
    "status=lost": 422,
    "status=": 422,
    "status=%00": 422,
    "status=PENDING": 422,
    "package_type=": 422,
    "package_type=a%20b": 422,
    "package_type=%00": 422,
    "created_after=": 422,
    "created_after=%00": 422,
    "created_after=yesterday": 422,
    "created_after=2026-01-05": 422,
    "created_after=2026-01-05T12:00:00": 422,
    "created_after=2026-13-05T12:00:00Z": 422,
    "created_after=-1e400": 422,
    "created_after=0001-01-01T00:00:00%2B14:00": 422,
    "created_after=9999-12-31T23:59:59-12:00": 422,
    "created_after=0001-01-01T00:00:00Z": 200,
    "created_after=9999-12-31T23:59:59.999999Z": 200,
    "limit=0": 422,
    "limit=501": 422,
    "limit=-1": 422,
    "limit=1.5": 422,
    "limit=many": 422,
    f"limit={2**63}": 422,
    "limit=" + "9" * 5000: 422,
    "cursor=%00": 422,
    "cursor=" + "x" * 201: 422,
    "unknown=1": 422,
    "&&=&=&%": 422,
}


@pytest.mark.parametrize(("query", "status"), BAD_QUERIES.items(), ids=said)
async def test_a_query_that_makes_no_sense_is_refused(
    shared_inventory: httpx.AsyncClient, query: str, status: int
) -> None:
    assert (await shared_inventory.get(f"{LIST}?{query}")).status_code == status


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=300)
    | st.sampled_from(["1", "\0", "\ud800", "x" * 65, 1, 2**31, 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["customer_id", "package_type", "occurrence", "customer_name", "note", "status"]
)
ALMOST = st.dictionaries(FIELDS, ANY_JSON, max_size=6) | ANY_JSON


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=ALMOST)
async def test_no_json_at_all_is_a_bug_of_ours(
    shared_inventory: httpx.AsyncClient, sent: Any
) -> None:
    alone = await shared_inventory.post(LIST, content=dumps(sent), **JSON)
    batch = await shared_inventory.post(BATCH, content=dumps([sent]), **JSON)

    assert alone.status_code in {201, 200, 409, 422}
    assert batch.status_code == 422 or batch.json()[0]["status"] in {201, 200, 409, 422}

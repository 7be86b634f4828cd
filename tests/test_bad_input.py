"""Bad input for every operation of every service, derived from its OpenAPI description.

Whatever is sent, the answer is one that the description names, in the one shape of an error, never
a 5xx; it says nothing of what was sent; and what the schema forbids is refused with 422. `make
sweeps` tries each value in each place, `make test` a quarter of them: in each place others.
"""

import copy
import gzip
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import httpx
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import SERVICES, copy_of_template, running
from tests.described import description, keeps_its_word
from tests.sweeps import sample
from tools.api_examples import Operation, examples_of, operations

pytestmark = pytest.mark.slow

MARK = "s3cr3t"
MOST_BYTES = 2_000
# Query parameters that say how many seconds to wait for news.
WAITS = {"wait", "timeout"}
JSON = {"content-type": "application/json"}

EVERY = [(service, one) for service in SERVICES for one in operations(description(service))]
WITH_BODY = [(service, one) for service, one in EVERY if one.body() is not None]
WITH_PATH = [(service, one) for service, one in EVERY if one.parameters("path")]
# A read of metrics or health takes no parameter that a bad value could be put into.
WITH_QUERY = [(service, one) for service, one in EVERY if one.parameters("query")]


def each(found: list[tuple[str, Operation]]) -> pytest.MarkDecorator:
    names = [f"{service}-{one.id}" for service, one in found]
    return pytest.mark.parametrize(("service", "operation"), found, ids=names)


# What must be refused is sent with one database behind it: if it gets there, the test fails.
REFUSES = "sqlite"
REFUSED_BEFORE_A_DATABASE = pytest.mark.engine(REFUSES)


# No text of ours may hold these, whatever its schema says.
NEVER_TEXTS = [
    f"{MARK}\0",
    f"{MARK}\ud800",
    f"{MARK}\udfff\ud800",
    f"{MARK}\x1b[31m",
    f"{MARK}\x7f{MARK}",
    f"{MARK}\x85{MARK}",
]
ANY_VALUES: list[Any] = [
    *NEVER_TEXTS,
    *("", " \t ", "\u200b", "\u2060", f"{MARK}\nforged log line", f"{MARK}\u2028{MARK}"),
    *("ñ" * 65, "🎉" * 201, "x" * 2_001, MARK * 20_000, "a/b", "%2e", f"{MARK}@example"),
    *(None, True, 0, 1, -1, 7, 1.5, 2**31, 2**63, -(2**63), 10**400, 1_000_000_001, "1"),
    *([], [MARK], {}, {MARK: MARK}, {"\0": MARK}, {"": MARK}, {"key": {"deep": "er"}}),
    {str(number): "x" for number in range(21)},
]
# Of what is tried in one place, every so manieth is, if not all: in each place others.
EVERY_SO_MANIETH = 4
STRANGE_FIELDS = ["nickname", "__proto__", "\0", "\ud800", "x" * 10_000, "id", "version"]


@pytest.fixture(scope="module")
def urls(engine: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Give the URL of a new, migrated database for each service."""
    return {service: copy_of_template(request, engine, service)[1] for service in SERVICES}


@pytest.fixture(scope="module")
async def clients(urls: dict[str, str]) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Give a client for each service, which checks each answer against its description."""
    clients: dict[str, httpx.AsyncClient] = {}
    async with AsyncExitStack() as started:
        for service, url in urls.items():
            chosen = import_module(f"{service}.settings").Settings(database_url=url)
            app = import_module(f"{service}.app").create_app(chosen)
            client = await started.enter_async_context(running(app, token="admin123"))
            clients[service] = keeps_its_word(client)
        yield clients


def path_of(service: str, operation: Operation, **values: str) -> str:
    """Fill an operation's path: with its examples, and 1 where a link would tell the value."""
    document = description(service)
    chosen = {
        one["name"]: str(next(iter(examples_of(document, one["schema"])), 1))
        for one in operation.parameters("path")
    }
    return operation.path.format(**{**chosen, **values})


def without_waiting(operation: Operation) -> dict[str, str]:
    """Ask an operation that waits for news not to."""
    names = {one["name"] for one in operation.parameters("query")} & WAITS
    return dict.fromkeys(names, "0")


def example_of(operation: Operation) -> Any:
    body = operation.body()
    assert body is not None
    return copy.deepcopy(next(iter(body["examples"].values()))["value"])


def validator(service: str, schema: dict[str, Any]) -> Any:
    components = {"components": description(service)["components"]}
    return jsonschema_rs.validator_for({**schema, **components}, validate_formats=True)


def fields(service: str, schema: dict[str, Any], way: tuple[Any, ...] = ()) -> Iterator[Any]:
    """List each field in a body's schema, also those of items of lists: its way and schema."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = description(service)["components"]["schemas"][name]
    if schema.get("type") == "array":
        yield from fields(service, schema["items"], (*way, 0))
    for name, said in schema.get("properties", {}).items():
        yield (*way, name), said
        yield from fields(service, said, (*way, name))


def replaced(body: Any, way: tuple[Any, ...], value: Any) -> Any:
    """Put a value into a copy of a body; None for a list that has no item in this example."""
    body = place = copy.deepcopy(body)
    for step in way[:-1]:
        try:
            place = place[step]
        except (KeyError, IndexError):
            return None
    place[way[-1]] = value
    return body


def statuses(answer: httpx.Response) -> list[int]:
    """Tell how a request was answered, or each item of a batch."""
    found = answer.json() if answer.content else None
    if answer.is_success and isinstance(found, list) and all("status" in one for one in found):
        return [one["status"] for one in found]
    return [answer.status_code]


async def send(
    client: httpx.AsyncClient, operation: Operation, path: str, body: Any
) -> httpx.Response:
    content = json.dumps(body)
    return await client.request(operation.method, path, content=content, headers=JSON)


@pytest.mark.sweep
@each(WITH_BODY)
async def test_a_field_that_does_not_fit_is_refused_and_not_repeated(
    clients: dict[str, httpx.AsyncClient], engine: str, service: str, operation: Operation
) -> None:
    schema = operation.body()["schema"]  # type: ignore[index]
    whole, path = validator(service, schema), path_of(service, operation)
    good = example_of(operation)
    for place, (way, said) in enumerate(fields(service, schema), len(operation.id)):
        holds_text = '"string"' in json.dumps(said) and "metadata" not in way
        for value in some_of(ANY_VALUES, place):
            body = replaced(good, way, value)
            if body is None:
                continue
            never = holds_text and any(value is one for one in NEVER_TEXTS)
            is_refused = never or not fits(whole, body)
            if is_refused and engine != REFUSES:
                continue
            answer = await send(clients[service], operation, path, body)
            if is_refused:
                assert 422 in statuses(answer), f"{way}: {value!r:.60}"
                assert MARK not in values_in(answer.text), f"{way}: {value!r:.60}"
                assert len(answer.content) < MOST_BYTES


def values_in(text: str) -> str:
    """Leave out where a fault is, which names a field that nobody knows within an object."""
    return re.sub(rf',\s*"{MARK}"\]', "]", text)


def some_of(values: list[Any], place: int) -> Sequence[Any]:
    return sample(values, every=EVERY_SO_MANIETH, first=place % EVERY_SO_MANIETH)


def fits(validate: Any, body: Any) -> bool:
    """Tell whether a schema allows a body; no text that is no UTF-8, which it can't be asked of."""
    try:
        return bool(validate.is_valid(json.loads(json.dumps(body))))
    except (ValueError, UnicodeEncodeError):
        return False


@REFUSED_BEFORE_A_DATABASE
@each(WITH_BODY)
async def test_a_field_that_nobody_knows_is_refused(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation
) -> None:
    good, path = example_of(operation), path_of(service, operation)
    known = {way[-1] for way, _ in fields(service, operation.body()["schema"])}  # type: ignore[index]
    for name in STRANGE_FIELDS:
        if name in known:
            continue
        way = (0, name) if isinstance(good, list) else (name,)
        answer = await send(clients[service], operation, path, replaced(good, way, MARK))

        assert 422 in statuses(answer), f"{name!r:.40}"
        assert MARK not in answer.text
        assert len(answer.content) < MOST_BYTES


@REFUSED_BEFORE_A_DATABASE
@each(WITH_BODY)
async def test_a_body_that_is_no_such_json_is_refused(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation
) -> None:
    path = path_of(service, operation)
    good = json.dumps(example_of(operation)).encode()
    other = b"{}" if good.startswith(b"[") else b"[]"
    for name, (body, status) in bad_bodies(good, other).items():
        answer = await clients[service].request(operation.method, path, content=body, headers=JSON)
        assert answer.status_code == status, name
        assert len(answer.content) < MOST_BYTES, name


def bad_bodies(good: bytes, other: bytes) -> dict[str, tuple[bytes, int]]:
    """Name what is no body of an operation, with the status that it is refused with."""
    return {
        "nothing": (b"", 422),
        "white space": (b" ", 422),
        "null": (b"null", 422),
        "a string": (b'"x"', 422),
        "a number": (b"1", 422),
        "a list for an object, or the other way round": (other, 422),
        "half": (good[:-1], 422),
        "two": (good + good, 422),
        "NaN": (b'{"a": NaN}', 422),
        "Infinity": (b'{"a": -Infinity}', 422),
        "1e999": (b'{"a": 1e999}', 422),
        "5000 digits": (b'{"a": %b}' % (b"9" * 5000), 422),
        "1000 deep": (b"[" * 1000 + b"]" * 1000, 422),
        "100000 deep": (b'{"a":' * 100_000, 422),
        "88000 entries": (b"{%b}" % b",".join(b'"%d":0' % n for n in range(88_000)), 422),
        "a name twice": (b'{"a": 1, "a": 2}', 422),
        "invalid UTF-8": (b'{"a": "\xff"}', 422),
        "a surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', 422),
        "an overlong NUL": (b'{"a": "\xc0\x80"}', 422),
        "a raw NUL": (b'{"a": "\0"}', 422),
        "UTF-16": (good.decode().encode("utf-16"), 422),
        "gzip": (gzip.compress(good), 422),
        "more than 1 MiB": (b'{"a": "' + b"x" * 2**20 + b'"}', 413),
    }


@REFUSED_BEFORE_A_DATABASE
@each(WITH_BODY)
async def test_a_body_of_another_type_is_refused(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation
) -> None:
    path, good = path_of(service, operation), json.dumps(example_of(operation))
    for kind in ("text/plain", "application/xml", "multipart/form-data", "", "x"):
        answer = await clients[service].request(
            operation.method, path, content=good, headers={"content-type": kind}
        )
        assert answer.status_code == 415, kind


BAD_PATHS = [
    *("%00", "1%00", "a%1fb", "%7f", "%ed%a0%80", "%ff%fe", "%F0%9F%8E%89", "-1", "1.0", "1e3"),
    *("%D9%A1", str(2**31), str(2**63 - 1), str(2**63), str(2**64), "9" * 36, "9" * 201),
    *("9" * 4000, "'%20OR%201=1--", "..%5c", "%20", "%7B%7D"),
]
CONTROLS = frozenset(BAD_PATHS[:4])


@pytest.mark.sweep
@each(WITH_PATH)
async def test_what_cannot_stand_in_a_path_is_refused(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation
) -> None:
    body = {} if operation.body() is None else {"json": example_of(operation)}
    for place, parameter in enumerate(operation.parameters("path"), len(operation.id)):
        for value in some_of(BAD_PATHS, place):
            path = path_of(service, operation, **{parameter["name"]: value})
            answer = await clients[service].request(
                operation.method, path, params=without_waiting(operation), **body
            )

            if value in CONTROLS or len(value) > 200:
                assert answer.status_code in {404, 422}, f"{parameter['name']}={value:.40}"
            # The problem names the path that was asked for.
            assert len(answer.content) < MOST_BYTES + len(value) or answer.is_success


BAD_QUERIES = [
    *("%00", "a%0d%0a@example.com", "x" * 321, "%ed%a0%80", "", "%20", "%1b", "%ff", "%25" * 200),
    *("%5C" * 199, "0", "501", "-1", "1.5", "25.1", "nan", "inf", "-inf", "1e999", "soon", "many"),
    *(str(2**63), "9" * 5000, "PENDING", "id;drop", "aWQ6LTE", "yesterday", "2026-01-05"),
    *("2026-01-05T12:00:00", "2026-13-05T12:00:00Z", "0001-01-01T00:00:00%2B14:00"),
    *("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999Z", "maybe", ","),
    f"2026-01-05T12:00:00.{'0' * 100}Z",
]


@pytest.mark.sweep
@each(WITH_QUERY)
async def test_what_a_query_cannot_be_is_refused(
    clients: dict[str, httpx.AsyncClient], engine: str, service: str, operation: Operation
) -> None:
    path = path_of(service, operation)
    for place, parameter in enumerate(operation.parameters("query"), len(operation.id)):
        name, validate = parameter["name"], validator(service, parameter["schema"])
        for value in some_of(BAD_QUERIES, place):
            fits = "\0" not in unquote(value) and may_be(validate, unquote(value))
            if (fits and name in WAITS) or (not fits and engine != REFUSES):
                continue
            answer = await clients[service].request(operation.method, f"{path}?{name}={value}")

            assert fits or answer.status_code in {400, 422}, f"{name}={value:.40}"
            assert len(answer.content) < MOST_BYTES or answer.is_success


def may_be(validate: Any, text: str) -> bool:
    """Tell whether a text in a query can be read as something that a schema allows."""
    read: list[Any] = [text]
    with suppress(ValueError):
        read.append(json.loads(text))
    if text in {"1", "0"}:
        read.append(text == "1")
    return any(validate.is_valid(one) for one in read)


@REFUSED_BEFORE_A_DATABASE
@each(EVERY)
async def test_a_query_that_is_not_known_or_given_twice_is_refused(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation
) -> None:
    path = path_of(service, operation)
    body = {} if operation.body() is None else {"json": example_of(operation)}
    queries = ["unknown=1", "&&=&=&%"]
    for parameter in operation.parameters("query"):
        name = parameter["name"]
        queries += [f"{name}x=1", f"{name.title()}=1", f"{name}[]=1"]
        if "array" not in json.dumps(parameter["schema"]):
            queries.append(f"{name}=1&{name}=1")
    for query in queries:
        answer = await clients[service].request(operation.method, f"{path}?{query}", **body)

        assert answer.status_code == 422, query


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=300)
    | st.sampled_from(["a@example.com", "MUG-BLUE", "\0", "\ud800", "x" * 65, 1, 2**31, 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@each(WITH_BODY)
@given(data=st.data())
async def test_no_json_at_all_is_a_bug_of_ours(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation, data: Any
) -> None:
    names = [way[-1] for way, _ in fields(service, operation.body()["schema"])]  # type: ignore[index]
    body = data.draw(st.dictionaries(st.sampled_from(names), ANY_JSON, max_size=6) | ANY_JSON)

    answer = await send(clients[service], operation, path_of(service, operation), body)

    assert answer.status_code < 500


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@each(WITH_QUERY)
@given(text=st.text(st.characters(codec="utf-8"), max_size=250))
@example(text="0")
async def test_no_text_in_a_query_is_a_bug_of_ours(
    clients: dict[str, httpx.AsyncClient], service: str, operation: Operation, text: str
) -> None:
    for parameter in operation.parameters("query"):
        query = {**without_waiting(operation), parameter["name"]: text}
        answer = await clients[service].request(
            operation.method, path_of(service, operation), params=query
        )
        # Who waits for a delivery no longer than this is told that it is not finished.
        assert answer.status_code < 500 or answer.status_code == 504

"""What the tests of all services ask of an OpenAPI description, and of answers that it promises."""

import functools
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
from fastapi import FastAPI

from service_kit.web.openapi import resolved
from tools.api_examples import (
    CSV,
    JSON,
    PROBLEM,
    Document,
    Example,
    Operation,
    examples,
    linked,
    links,
    operations,
)

KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
# What HTTP and its servers add to any answer.
_ANY_ANSWER = re.compile(
    r"content-(type|length)|date|server|allow|vary|access-control-.*"
    r"|cache-control|x-content-type-options"
)
# The one problem whose request_id is a package request's and not the request's.
_OWN_REQUEST_ID = "urn:problem:package-request-conflict"


@functools.cache
def description(service: str) -> Document:
    """Build the description of a service."""
    settings = import_module(f"{service}.settings").Settings(database_url="sqlite:///nowhere")
    app: FastAPI = import_module(f"{service}.app").create_app(settings)
    return app.openapi()


@functools.cache
def _patterns(service: str) -> list[tuple[re.Pattern[str], Operation]]:
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path)), operation)
        for operation in sorted(operations(description(service)), key=lambda one: "{" in one.path)
    ]


def operation_of(service: str, request: httpx.Request) -> Operation | None:
    """Find the operation that a request is for, under its canonical path or without /api."""
    path = request.url.path.rstrip("/")
    for candidate in (path, f"/api{path}"):
        for pattern, operation in _patterns(service):
            if operation.method == request.method.lower() and pattern.fullmatch(candidate):
                return operation
    return None


def keeps_its_word(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Check of each answer that OpenAPI names its status and headers, and of errors the shape."""
    service: str = client.app.state.name  # type: ignore[attr-defined]

    async def check(response: httpx.Response) -> None:
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
        assert len(response.headers.get_list("cache-control")) == 1
        operation = operation_of(service, response.request)
        if operation is not None:
            promised = operation.said["responses"]
            assert str(response.status_code) in promised, f"{operation.name}: its status"
            assert_headers(description(service), operation, response)
        if response.status_code >= 400 and response.request.url.path != "/health/ready":
            await response.aread()
            document = response.json()
            assert response.headers["content-type"] == PROBLEM
            assert document["status"] == response.status_code
            if document["type"] != _OWN_REQUEST_ID:
                assert document["request_id"] == response.headers["x-request-id"]

    client.event_hooks = {"response": [check]}
    return client


def assert_headers(document: Document, operation: Operation, response: httpx.Response) -> None:
    headers = operation.said["responses"][str(response.status_code)]["headers"]
    described = {name: resolved(document, header) for name, header in headers.items()}
    names = {name.lower() for name in described}
    strange = {name for name in response.headers if not _ANY_ANSWER.fullmatch(name)} - names
    assert not strange, f"{operation.name}: add `**answering({response.status_code}, …)`: {strange}"
    for name, header in described.items():
        if header.get("required"):
            assert name in response.headers, (
                f"{operation.name}: no {name} at {response.status_code}"
            )


def slugs(operation: Operation) -> set[str]:
    return set().union(*operation.slugs().values())


def faults(document: Document, schema: dict[str, Any], value: Any, place: str = "") -> list[str]:
    """Compare a value with its description as far as shapes go. Returns each difference."""
    schema = resolved(document, schema)
    if "anyOf" in schema:
        return min((faults(document, one, value, place) for one in schema["anyOf"]), key=len)
    if "enum" in schema or "const" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return [] if value in choices else [f"{place}: {value!r} is none of {choices}"]
    kind = schema.get("type", [])
    allowed = [KINDS[one] for one in ([kind] if isinstance(kind, str) else kind)]
    if allowed and not any(isinstance(value, one) for one in allowed):
        return [f"{place}: {value!r} is no {kind}"]
    if isinstance(value, list):
        items = schema.get("items", {})
        return [fault for one in value for fault in faults(document, items, one, f"{place}[]")]
    if isinstance(value, dict) and "properties" in schema:
        return list(_faults_of_members(document, schema, value, place))
    return []


def _faults_of_members(
    document: Document, schema: dict[str, Any], value: dict[str, Any], place: str
) -> Iterator[str]:
    known = schema["properties"]
    for name in schema.get("required", []):
        if name not in value:
            yield f"{place}.{name} is missing"
    for name, member in value.items():
        if name in known:
            yield from faults(document, known[name], member, f"{place}.{name}")
        else:
            yield f"{place}.{name} is not described"


class Sender:
    """Sends examples to a running service, and learns from its answers what its links tell."""

    def __init__(self, client: httpx.AsyncClient, document: Document) -> None:
        self._client = client
        self._document = document
        self.learned: dict[str, Any] = {}

    async def send_all(self) -> list[tuple[Example, httpx.Response]]:
        """Send every example of every operation, in order."""
        given = linked(self._document)
        return [
            (example, await self.send(example, given.get(operation.id, set())))
            for operation in operations(self._document)
            for example in examples(self._document, operation)
        ]

    async def send(self, example: Example, given: set[str]) -> httpx.Response:
        operation = example.operation
        values = dict(example.path_values)
        for name in (name for name, value in values.items() if value is None):
            assert name in given, f"{operation.name}: give {{{name}}} an example; no link tells it"
            assert name in self.learned, f"{operation.name}: nothing before it told {{{name}}}"
            values[name] = self.learned[name]
        request: dict[str, Any] = {}
        if operation.csv():
            request = {"content": example.body, "headers": {"content-type": CSV}}
        elif example.body is not None:
            request = {"data" if operation.form() else "json": example.body}
        answer = await self._client.request(
            operation.method, operation.path.format(**values), params=example.query, **request
        )
        self._learn(operation, answer)
        return answer

    def _learn(self, operation: Operation, answer: httpx.Response) -> None:
        for parameter, way in links(operation, str(answer.status_code)).items():
            value = answer.json()
            if way[0] == 0 and not value:
                continue  # a list of nothing
            for step in way:
                value = value[step]
            self.learned[parameter] = value


def assert_kept(document: Document, example: Example, answer: httpx.Response) -> None:
    """Check that an example is answered as the description promises."""
    operation = example.operation
    status = str(answer.status_code)
    assert status in operation.successes(), f"{operation.name}, {example.title}: {answer.text}"
    content = operation.said["responses"][status].get("content", {})
    if JSON in content:
        assert faults(document, content[JSON]["schema"], answer.json()) == [], operation.name

"""Reads from an OpenAPI description the requests that its examples are, in an order that works.

What stands in a path is an example of its own, or comes from an earlier answer by a link.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from service_kit.web.openapi import resolved

Document = dict[str, Any]

# Something must be there before it is looked up, and be looked up before it is taken away.
METHODS = ("post", "put", "get", "patch", "delete")
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CSV = "text/csv"
PROBLEM = "application/problem+json"


def examples_of(document: Document, schema: dict[str, Any]) -> list[Any]:
    """Find the examples of a schema, or of those of its choices that have some."""
    schema = resolved(document, schema)
    choices = [schema, *(resolved(document, choice) for choice in schema.get("anyOf", []))]
    return [example for choice in choices for example in choice.get("examples", [])]


@dataclass(frozen=True)
class Operation:
    """One method of one path, and what the description says about it."""

    method: str
    path: str
    said: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def id(self) -> str:
        return str(self.said["operationId"])

    @property
    def is_guarded(self) -> bool:
        return "security" in self.said

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [one for one in self.said.get("parameters", []) if one["in"] == place]

    def body(self) -> dict[str, Any] | None:
        """Return what is said about a body of JSON."""
        return self._content(JSON)

    def form(self) -> dict[str, Any] | None:
        return self._content(FORM)

    def csv(self) -> dict[str, Any] | None:
        return self._content(CSV)

    def any_body(self) -> dict[str, Any] | None:
        """Return what is said about a body of any kind."""
        return self.body() or self.form() or self.csv()

    def _content(self, kind: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.said.get("requestBody", {}).get("content", {}).get(kind)
        return found

    def successes(self) -> list[str]:
        return [status for status in self.said["responses"] if status.startswith("2")]

    def slugs(self) -> dict[str, set[str]]:
        """Name the problems by their statuses."""
        return {
            status: set(response["content"][PROBLEM]["examples"])
            for status, response in self.said["responses"].items()
            if PROBLEM in response.get("content", {})
        }


@dataclass(frozen=True)
class Example:
    """A request as the description gives it. A path's value is None where a link tells it."""

    operation: Operation
    title: str
    path_values: dict[str, Any]
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None


def operations(document: Document) -> list[Operation]:
    """List the operations so that each finds what it needs."""
    found = [
        Operation(method, path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]
    told = {
        operation_id
        for one in found
        if one.method == "post"
        for response in one.said["responses"].values()
        for operation_id in (link["operationId"] for link in response.get("links", {}).values())
    }

    def turn(one: Operation) -> float:
        # Whom no POST tells what stands in its path has to wait for what a GET does.
        waits = one.method == "post" and bool(one.parameters("path")) and one.id not in told
        return METHODS.index("get") + 0.5 if waits else METHODS.index(one.method)

    return sorted(found, key=turn)


def examples(document: Document, operation: Operation) -> Iterator[Example]:
    """Give every example: of what stands in the path, of the body, and of each query parameter."""
    title = operation.said["summary"]
    in_path = list(_in_path(document, operation))
    body = operation.any_body()
    for values in in_path:
        told = ", ".join(str(value) for value in values.values() if value is not None)
        of_path = f" ({told})" if len(in_path) > 1 else ""
        if body is None:
            yield Example(operation, title + of_path, values)
            continue
        for example in body["examples"].values():
            summary = example.get("summary", title)
            named = title if summary == title else f"{title}: {summary}"
            yield Example(operation, named + of_path, values, body=example["value"])
    for parameter in operation.parameters("query"):
        name = parameter["name"]
        for value in examples_of(document, parameter["schema"]):
            shown = str(value).lower() if isinstance(value, bool) else value
            yield Example(operation, f"{title}: {name}", in_path[0], query={name: shown})


def _in_path(document: Document, operation: Operation) -> Iterator[dict[str, Any]]:
    """Give the first example of each parameter, then the further ones of each."""
    choices = {
        parameter["name"]: examples_of(document, parameter["schema"]) or [None]
        for parameter in operation.parameters("path")
    }
    first = {name: values[0] for name, values in choices.items()}
    yield first
    for name, values in choices.items():
        yield from ({**first, name: value} for value in values[1:])


def links(operation: Operation, status: str) -> dict[str, list[str | int]]:
    """Tell which parameters an answer gives, and the way to each within its body."""
    ways: dict[str, list[str | int]] = {}
    for link in operation.said["responses"].get(status, {}).get("links", {}).values():
        for parameter, expression in link["parameters"].items():
            pointer = expression.removeprefix("$response.body#/")
            ways[parameter] = [
                int(p) if re.fullmatch("[0-9]+", p) else p for p in pointer.split("/")
            ]
    return ways


def linked(document: Document) -> dict[str, set[str]]:
    """Tell which parameters of each operation a link gives."""
    given: dict[str, set[str]] = {}
    for operation in operations(document):
        for response in operation.said["responses"].values():
            for link in response.get("links", {}).values():
                given.setdefault(link["operationId"], set()).update(link["parameters"])
    return given

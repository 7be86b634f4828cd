"""Says where an id in a path comes from: OpenAPI links from the operation that makes or lists it.

A rule instead of a declaration at each route: what stands in `/tickets/{ticket_id}` is a member of
what POST /tickets answers, or of the first row that GET /tickets lists; it has the parameter's
name, or the name that begins another's (`ticket` for `ticket_id`), or is the `id`.
"""

import re
from collections.abc import Iterator
from typing import Any

_SOURCES = (("post", "201", ""), ("get", "200", "/0"))


def add_links(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for found in re.finditer(r"\{(\w+)\}", path):
            collection = document["paths"].get(path[: found.start()].rstrip("/"), {})
            for source in _sources(document, collection, found[1]):
                for operation in operations.values():
                    _link(source, operation, found[1])


def _sources(
    document: dict[str, Any], collection: dict[str, Any], parameter: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """Find the answer that tells the parameter, and the place in it; at most one."""
    for method, status, first in _SOURCES:
        response = collection.get(method, {}).get("responses", {}).get(status)
        if response is None:
            continue
        members = _members(document, response)
        for name in (parameter, "id"):
            if name in members:
                yield response, f"$response.body#{first}/{name}"
                return


def _link(source: tuple[dict[str, Any], str], operation: dict[str, Any], parameter: str) -> None:
    response, expression = source
    links = response.setdefault("links", {})
    link = links.setdefault(
        operation["operationId"], {"operationId": operation["operationId"], "parameters": {}}
    )
    link["parameters"][parameter] = expression


def _members(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    schema = resolved(document, schema)
    if schema.get("type") == "array":
        schema = resolved(document, schema["items"])
    members: dict[str, Any] = schema.get("properties", {})
    return members


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a schema's reference."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema

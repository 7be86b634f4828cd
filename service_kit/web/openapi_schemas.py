"""Completes the schemas of a description: what FastAPI leaves out or says of a body alone."""

from collections.abc import Iterator
from typing import Any

from service_kit.web.fields import LONGEST_INSTANT

Json = dict[str, Any]


def complete_schemas(document: Json) -> None:
    """Say how long integers, instants and lists get, and that no parameter is null."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
            _limit_lists(operation)
    for found in _objects(document):
        if found.get("type") == "integer":
            found.setdefault("format", "int64")
        elif found.get("format") == "date-time":
            found.setdefault("maxLength", LONGEST_INSTANT)


def _without_null(schema: Json) -> Json:
    """Describe an optional parameter by what it may be: a query and a header know no null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{name: said for name, said in schema.items() if name != "anyOf"}}


def _limit_lists(operation: Json) -> None:
    """Say that a list has at most as many items as a page, or as the batch that was sent."""
    sizes = [
        parameter["schema"].get("maximum")
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "limit"
    ]
    sizes += [schema.get("maxItems") for schema in _schemas(operation.get("requestBody", {}))]
    for size in filter(None, sizes):
        for status, response in operation["responses"].items():
            for schema in _schemas(response) if status.startswith("2") else ():
                if schema.get("type") == "array":
                    schema["maxItems"] = size


def _schemas(body: Json) -> list[Json]:
    return [content["schema"] for content in body.get("content", {}).values()]


def _objects(place: Any) -> Iterator[Json]:
    if isinstance(place, dict):
        yield place
    for inner in place.values() if isinstance(place, dict) else place:
        if isinstance(inner, dict | list):
            yield from _objects(inner)

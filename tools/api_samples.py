"""Makes up a value that a schema of an OpenAPI description allows, from its examples first."""

from typing import Any

from service_kit.web.openapi import resolved
from tools.api_examples import Document

_PLAIN: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "null": None,
}
_INSTANT = "2026-01-05T12:00:00Z"


def sample(document: Document, schema: dict[str, Any]) -> Any:
    schema = resolved(document, schema)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if "anyOf" in schema:
        return sample(document, schema["anyOf"][0])
    return schema["const"] if "const" in schema else _of_type(document, schema)


def _of_type(document: Document, schema: dict[str, Any]) -> Any:
    kind = schema.get("type", "null")
    if kind == "array":
        return [sample(document, schema.get("items", {}))]
    if kind == "object":
        required = schema.get("required", ())
        members = schema.get("properties", {}).items()
        return {name: sample(document, member) for name, member in members if name in required}
    if schema.get("format") == "date-time":
        return _INSTANT
    return _PLAIN[kind if isinstance(kind, str) else kind[0]]

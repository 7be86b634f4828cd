"""Builds the description of an app, and adds what FastAPI can't know."""

import json
import re
from collections.abc import Iterator
from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service_kit.database import DatabaseBusy, DatabaseUnavailable
from service_kit.web.auth import NotAuthenticated, ScopeMissing
from service_kit.web.openapi import errors, headers
from service_kit.web.openapi.links import add_links, resolved
from service_kit.web.overload import Overloaded, TookTooLong
from service_kit.web.problems import (
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    UnsupportedMediaType,
)
from service_kit.web.rate_limits import TooManyRequests

_JSON = "application/json"
_FASTAPI_SAYS = "Successful Response"


def install(app: FastAPI) -> None:
    """Replace the app's OpenAPI with a complete one, made at the first request for it."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]
    app.state.description = cache(lambda: _written(complete()))


def _written(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = document.setdefault("components", {})
    components["headers"] = {one.name: one.described() for one in headers.SHARED}
    schemas = components.setdefault("schemas", {})
    schemas.update(errors.SCHEMAS)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                _complete(operation, route)
                _name_examples(document, operation)
                _fill_in_path(operation)
                _say_what_comes(document, operation)
    add_links(document)
    return document


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add the errors that the layers around a handler answer, and the headers."""
    responses = operation["responses"]
    if _JSON in responses.get("422", {}).get("content", {}):
        del responses["422"]  # FastAPI's own, in another shape
    for refusal in _around(operation, route):
        errors.add(responses, str(refusal.status.value), refusal)
    for response in responses.values():
        errors.place(response, route.path_format)
    headers.complete(operation)
    operation["responses"] = dict(sorted(responses.items()))


def _around(operation: dict[str, Any], route: APIRoute) -> Iterator[errors.Refusal]:
    if "security" in operation:
        yield from (NotAuthenticated, ScopeMissing, TooManyRequests)
        yield from (DatabaseUnavailable, DatabaseBusy, Overloaded, TookTooLong)
    if "requestBody" in operation:
        yield from (UnsupportedMediaType, BodyTooLarge)
    yield from (InvalidRequest, InternalError)


def _name_examples(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """Show a body's examples under names; those of its schema take the operation's summary."""
    content = operation.get("requestBody", {}).get("content", {}).get(_JSON)
    if content is None or "examples" in content:
        return
    summary = operation["summary"]
    name = re.sub(r"[^a-z0-9]+", "-", summary.lower()).strip("-")
    examples = resolved(document, content["schema"]).get("examples", [])
    content["examples"] = {
        name if place == 1 else f"{name}-{place}": {"summary": summary, "value": value}
        for place, value in enumerate(examples, start=1)
    }


def _fill_in_path(operation: dict[str, Any]) -> None:
    """Have /docs fill in what an operation can't do without, and nothing that would filter."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and (examples := parameter["schema"].get("examples")):
            parameter["example"] = examples[0]


def _say_what_comes(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """Describe a success by what it answers, where nobody has described it."""
    for status, response in operation["responses"].items():
        if response["description"] == _FASTAPI_SAYS:
            schema = response.get("content", {}).get(_JSON, {}).get("schema", {})
            meaning = resolved(document, schema).get("description")
            response["description"] = meaning or HTTPStatus(int(status)).phrase

"""Makes the OpenAPI description say all of it: each error an operation can answer, in its shape."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from service_kit.auth import NotAuthenticated, ScopeMissing, required_scopes
from service_kit.database import DatabaseUnavailable
from service_kit.problems import (
    MEDIA_TYPE,
    BodyTooLarge,
    InvalidRequest,
    Problem,
    UnsupportedMediaType,
)
from service_kit.rate_limits import TooManyRequests

_SCHEMA = {
    "type": "object",
    "title": "Problem",
    "description": "An error as of RFC 9457.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:problem:not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened and what to do, for a person."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "request_id": {"type": "string", "description": "Quote it when you ask for help."},
        "errors": {
            "type": "array",
            "description": "With 422: each fault's place and reason.",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Build the `responses=` argument that puts these problems into an operation."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        response = responses.setdefault(problem.status.value, {"description": ""})
        slugs = [*filter(None, [response["description"]]), f"`{problem.slug}`"]
        response["description"] = ", ".join(slugs)
        response["content"] = {MEDIA_TYPE: {"schema": _REFERENCE}}
    return responses


def install(app: FastAPI) -> None:
    """Replace the app's OpenAPI with a complete one, made at the first request for it."""

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def paths(app: FastAPI) -> Iterator[str]:
    return (context.path or "" for context in iter_route_contexts(app.routes))


def _describe(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(schema["paths"][route.path_format][method.lower()], route)
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return schema


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Add the errors that the layers around a handler answer."""
    responses = operation["responses"]
    takes_input = "requestBody" in operation or operation.get("parameters")
    responses.pop("422", None)
    possible: list[type[Problem]] = []
    if required_scopes(route) is not None:
        possible += [NotAuthenticated, ScopeMissing, TooManyRequests, DatabaseUnavailable]
    if "requestBody" in operation:
        possible.append(UnsupportedMediaType)
        _add(responses, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, BodyTooLarge.slug)
    if takes_input:
        possible.append(InvalidRequest)
    for problem in possible:
        _add(responses, problem.status, problem.slug)
    _add(responses, HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error")


def _add(responses: dict[str, Any], status: HTTPStatus, slug: str) -> None:
    response = responses.setdefault(str(status.value), {"description": f"`{slug}`"})
    response.setdefault("content", {MEDIA_TYPE: {"schema": _REFERENCE}})

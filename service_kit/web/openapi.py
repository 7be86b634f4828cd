"""Completes FastAPI's description: errors, headers, examples, and where an id comes from."""

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import BaseRoute

from service_kit.database import DatabaseBusy, DatabaseUnavailable
from service_kit.problems import (
    LONGEST_LOC,
    MAX_ERRORS,
    MEDIA_TYPE,
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    Problem,
    UnsupportedMediaType,
    phrase,
)
from service_kit.problems import document as problem_document
from service_kit.web.auth import IdentityUnavailable, NotAuthenticated, ScopeMissing
from service_kit.web.hosts import MisdirectedRequest
from service_kit.web.idempotency import IdempotencyKeyReused, StillRunning
from service_kit.web.openapi_schemas import complete_schemas
from service_kit.web.overload import UNLIMITED, Overloaded, TookTooLong
from service_kit.web.rate_limits import TooManyRequests

Json = dict[str, Any]

_JSON = "application/json"
_ID = "7c0e5f0a4b1d4c9e8f3a2b6d5e4c1f00"


def header(description: str, example: str, *, is_optional: bool = False) -> Json:
    """Describe a header that an answer has; always, unless it is optional."""
    schema = {"type": "string", "examples": [example]}
    return {"description": description, "required": not is_optional, "schema": schema}


REQUEST_ID = "X-Request-ID"
_ORIGIN = "Access-Control-Allow-Origin"
# Answers of every guarded operation have these, and those of a public one the first two.
_COMMON = {
    REQUEST_ID: header("The request's id, as sent or made here; every log line has it.", _ID),
    _ORIGIN: header(
        "With CORS: the origin of the page that asked, if its scripts may read the answer.",
        "https://shop.example.com",
        is_optional=True,
    ),
    "RateLimit": header(
        "With a rate limit: how many requests the caller has left, and for how many seconds.",
        '"caller";r=99;t=0',
        is_optional=True,
    ),
    "RateLimit-Policy": header(
        "With a rate limit: how many requests a caller may make, and within how many seconds.",
        '"caller";q=100;w=2',
        is_optional=True,
    ),
}
ETAG = {
    "ETag": header(
        "The version in this response: send it as If-Match with a change, or as If-None-Match to "
        "read it only if it has changed.",
        '"1"',
    )
}
LOCATION = {"Location": header("The path of what was created.", "/")}
# The headers that an operation with this parameter adds to successful answers.
_OF_PARAMETERS = {
    "cursor": {
        "Link": header(
            'With `rel="next"`: the address of the next page; absent on the last.',
            '</?cursor=aWQ6NTA>; rel="next"',
            is_optional=True,
        ),
        "X-Next-Cursor": header(
            "The `cursor` of the next page; absent on the last.", "aWQ6NTA", is_optional=True
        ),
    },
    "idempotency-key": {
        "Idempotent-Replayed": header(
            "`true` if this is the stored response to an earlier request with this key.",
            "true",
            is_optional=True,
        )
    },
}
_OF_PROBLEMS = {
    "Retry-After": "How many seconds to wait before trying again.",
    "WWW-Authenticate": "How to authenticate.",
}


class Fault(BaseModel):
    """One of the errors in a request."""

    loc: list[Annotated[str, Field(max_length=LONGEST_LOC)] | int]
    msg: str


class ItemProblemDocument(BaseModel):
    """Why one item of a batch was refused."""

    model_config = ConfigDict(title="ItemProblem")

    type: str = Field(examples=["urn:problem:not-found"])
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for a person.")
    errors: list[Fault] = Field(
        [],
        max_length=MAX_ERRORS,
        description="With 422: where each error is, and what is wrong.",
    )


class ProblemDocument(ItemProblemDocument):
    """An error as defined by RFC 9457. Some have additional members."""

    model_config = ConfigDict(title="Problem")

    instance: str = Field(description="The path of the request.")
    request_id: str = Field(description="Quote it when you ask for help.")


def documented(*problems: type[Problem]) -> dict[int | str, Json]:
    """Build the `responses=` argument that puts these problems into an operation."""
    responses: dict[int | str, Json] = {}
    for problem in problems:
        _add_problem(responses, problem.status.value, problem)
    return responses


def answering(status: int, *headers: Json) -> dict[int | str, Json]:
    """Build the `responses=` argument that says which headers an answer has."""
    return {status: {"headers": {name: one[name] for one in headers for name in one}}}


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Replace the app's description with a complete one, made at the first request for it.

    It lists the routes in this order.
    """

    @cache
    def complete() -> Json:
        plain = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=routes,
            webhooks=app.webhooks.routes,
        )
        return _complete(plain)

    app.openapi = complete  # type: ignore[method-assign]
    app.state.description = cache(lambda: _to_bytes(complete()))
    app.state.description_task = None


def _to_bytes(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _complete(document: Json) -> Json:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for of_fastapi in ("HTTPValidationError", "ValidationError"):
        schemas.pop(of_fastapi, None)
    for model in (ProblemDocument, ItemProblemDocument):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= {**schema.pop("$defs"), schema["title"]: schema}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _add_problems(operation, path)
            _add_headers(operation)
            _add_examples(document, operation)
            _describe_successes(document, operation)
            operation["responses"] = dict(sorted(operation["responses"].items()))
        _link_to_sources(document, path, operations)
    _share_headers(document)
    complete_schemas(document)
    return document


def _parameters(operation: Json) -> set[str]:
    return {parameter["name"].lower() for parameter in operation.get("parameters", [])}


def _add_problems(operation: Json, path: str) -> None:
    """Describe the problems that the middleware and the route may answer."""
    responses = operation["responses"]
    if _JSON in responses.get("422", {}).get("content", {}):
        del responses["422"]  # FastAPI's own, in another shape
    for problem in _around(operation, path):
        _add_problem(responses, str(problem.status.value), problem)
    for response in responses.values():
        problems = response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
        for example in problems.values():
            example["value"]["instance"] = path


def _around(operation: Json, path: str) -> Iterator[type[Problem]]:
    if path not in UNLIMITED:
        yield MisdirectedRequest
    if "security" in operation:
        yield from (NotAuthenticated, TooManyRequests)
        if any(scopes for needed in operation["security"] for scopes in needed.values()):
            yield ScopeMissing
        yield from (DatabaseUnavailable, DatabaseBusy, Overloaded, TookTooLong)
        yield IdentityUnavailable
    if "idempotency-key" in _parameters(operation):
        yield from (StillRunning, IdempotencyKeyReused)
    if "requestBody" in operation:
        yield from (UnsupportedMediaType, BodyTooLarge)
    yield from (InvalidRequest, InternalError)


def _add_problem(responses: dict[Any, Any], status: int | str, problem: type[Problem]) -> None:
    """Describe a problem by its slug, the first paragraph of its docstring, and an example."""
    response = responses.setdefault(status, {"description": "", "content": {}})
    of_problems = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
    examples = response["content"].setdefault(MEDIA_TYPE, of_problems)["examples"]
    if problem.slug in examples:
        return
    headers = response.setdefault("headers", {})
    for name in headers.keys() - problem.headers.keys():
        headers[name] = {**headers[name], "required": False}
    for name, text in problem.headers.items():
        described = header(_OF_PROBLEMS.get(name, ""), text, is_optional=bool(examples))
        headers.setdefault(name, described)
    paragraph = inspect.cleandoc(problem.__doc__ or phrase(problem.status)).partition("\n\n")[0]
    meaning = " ".join(paragraph.split())
    line = f"`{problem.slug}`: {meaning}"
    response["description"] = "\n\n".join(filter(None, [response["description"], line]))
    of_request = {"instance": "/", "request_id": _ID, **problem.example}
    value = problem_document(problem.status, problem.slug, meaning, of_request)
    examples[problem.slug] = {"summary": meaning, "value": value}


def _add_headers(operation: Json) -> None:
    """Describe the headers that follow from an operation's parameters, and the common ones."""
    common = _COMMON if "security" in operation else (REQUEST_ID, _ORIGIN)
    takes = _parameters(operation)
    for status, response in operation["responses"].items():
        described = response.setdefault("headers", {})
        for parameter, headers in _OF_PARAMETERS.items():
            if parameter in takes and status.startswith("2"):
                described |= headers
        described |= {name: _COMMON[name] for name in common}


def _add_examples(document: Json, operation: Json) -> None:
    """Name a body's examples, and give path parameters the value that /docs fills in."""
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path" and (examples := parameter["schema"].get("examples")):
            parameter["example"] = examples[0]
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


def _describe_successes(document: Json, operation: Json) -> None:
    """Describe a success by its schema, unless the route describes it."""
    for status, response in operation["responses"].items():
        if response["description"] == "Successful Response":  # FastAPI's words
            schema = response.get("content", {}).get(_JSON, {}).get("schema", {})
            meaning = resolved(document, schema).get("description")
            response["description"] = meaning or phrase(HTTPStatus(int(status)))


def _link_to_sources(document: Json, path: str, operations: Json) -> None:
    """Link to an operation from the one whose answer has the ids in its path.

    The id in `/tickets/{ticket_id}` is a member of what POST /tickets answers, and of the first row
    that GET /tickets lists: the one with the parameter's name, or else `id`.
    """
    for found in re.finditer(r"\{(\w+)\}", path):
        parameter = found[1]
        collection = document["paths"].get(path[: found.start()].rstrip("/"), {})
        sources = (
            (response, f"$response.body#{first}/{member}")
            for method, status, first in (("post", "201", ""), ("get", "200", "/0"))
            if (response := collection.get(method, {}).get("responses", {}).get(status))
            for member in (parameter, "id")
            if member in _members(document, response)
        )
        for response, place in islice(sources, 1):
            links = response.setdefault("links", {})
            for name in (operation["operationId"] for operation in operations.values()):
                link = links.setdefault(name, {"operationId": name, "parameters": {}})
                link["parameters"][parameter] = place


def _members(document: Json, response: Json) -> Json:
    schema = response.get("content", {}).get(_JSON, {}).get("schema", {})
    schema = resolved(document, schema)
    if schema.get("type") == "array":
        schema = resolved(document, schema["items"])
    members: Json = schema.get("properties", {})
    return members


def _share_headers(document: Json) -> None:
    """Describe once what most of the answers that have a header say of it."""
    places = [
        response["headers"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
    ]
    said = Counter(
        (name, json.dumps(described)) for headers in places for name, described in headers.items()
    )
    shared: Json = {}
    for (name, text), times in said.most_common():
        if times > 1:
            shared.setdefault(name, json.loads(text))
    for headers in places:
        for name, described in headers.items():
            if shared.get(name) == described:
                headers[name] = {"$ref": f"#/components/headers/{name}"}
    document["components"]["headers"] = shared


def resolved(document: Json, schema: Json) -> Json:
    """Follow a schema's reference."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema

"""Describes each error an operation can answer: its slug, what it means, and how it looks."""

import inspect
from typing import Any

from service_kit.web.openapi.headers import of_problem
from service_kit.web.problems import MEDIA_TYPE, BodyTooLarge, Problem

# What can leave as a problem.
Refusal = type[Problem] | type[BodyTooLarge]

REFERENCE = {"$ref": "#/components/schemas/Problem"}
_MEMBERS: dict[str, Any] = {
    "type": {"type": "string", "examples": ["urn:problem:not-found"]},
    "title": {"type": "string"},
    "status": {"type": "integer"},
    "detail": {"type": "string", "description": "What happened and what to do, for a person."},
}
_ERRORS: dict[str, Any] = {
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
}
SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "title": "Problem",
        "description": "An error as of RFC 9457. Some have members of their own besides.",
        "required": [*_MEMBERS, "instance", "request_id"],
        "properties": {
            **_MEMBERS,
            "instance": {"type": "string", "description": "The path that was asked for."},
            "request_id": {"type": "string", "description": "Quote it when you ask for help."},
            "errors": _ERRORS,
        },
    },
    "ItemProblem": {
        "type": "object",
        "title": "ItemProblem",
        "description": "Why one item of a batch was refused; a problem that is not a whole answer.",
        "required": list(_MEMBERS),
        "properties": {**_MEMBERS, "errors": _ERRORS},
    },
}
_REQUEST_ID = "7c0e5f0a4b1d4c9e8f3a2b6d5e4c1f00"


def documented(*refusals: Refusal) -> dict[int | str, dict[str, Any]]:
    """Build the `responses=` argument that puts these problems into an operation."""
    responses: dict[int | str, dict[str, Any]] = {}
    for refusal in refusals:
        add(responses, refusal.status.value, refusal)
    return responses


def add(responses: dict[Any, Any], status: int | str, refusal: Refusal) -> None:
    """Describe one more problem among an operation's answers."""
    response = responses.setdefault(status, {"description": "", "content": {}})
    content = response["content"].setdefault(MEDIA_TYPE, {"schema": REFERENCE, "examples": {}})
    examples: dict[str, Any] = content["examples"]
    if refusal.slug in examples:
        return
    of_others = response.setdefault("headers", {})
    for header in of_others.values():
        header["required"] = False
    for name, header in of_problem(refusal).items():
        of_others.setdefault(name, {**header, "required": not examples})
    meaning = _meaning(refusal)
    line = f"`{refusal.slug}`: {meaning}"
    response["description"] = "\n\n".join(filter(None, [response["description"], line]))
    examples[refusal.slug] = {"summary": meaning, "value": _example(refusal, meaning)}


def _meaning(refusal: Refusal) -> str:
    """Take the first paragraph that the class says about itself."""
    paragraph = inspect.cleandoc(refusal.__doc__ or refusal.status.phrase).partition("\n\n")[0]
    return " ".join(paragraph.split())


def _example(refusal: Refusal, meaning: str) -> dict[str, Any]:
    return {
        "type": f"urn:problem:{refusal.slug}",
        "title": refusal.status.phrase,
        "status": refusal.status.value,
        "detail": meaning,
        "instance": "/",
        "request_id": _REQUEST_ID,
        **refusal.example,
    }


def place(response: dict[str, Any], path: str) -> None:
    """Let the examples of an operation's errors name its own path."""
    for example in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).values():
        example["value"]["instance"] = path

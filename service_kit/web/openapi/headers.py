"""Describes the headers of answers: those that follow from an operation, and those it declares."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResponseHeader:
    """A header that an answer has; always, unless it is optional."""

    name: str
    description: str
    example: str
    is_optional: bool = False

    def described(self) -> dict[str, Any]:
        schema = {"type": "string", "examples": [self.example]}
        return {
            "description": self.description,
            "required": not self.is_optional,
            "schema": schema,
        }


REQUEST_ID = ResponseHeader(
    "X-Request-ID",
    "The request's id, as sent or made here; every log line about it has it.",
    "7c0e5f0a4b1d4c9e8f3a2b6d5e4c1f00",
)
_RATE_LIMIT = ResponseHeader(
    "RateLimit",
    "Where a rate limit is on: how many requests the caller has left, for how many seconds.",
    '"caller";r=99;t=0',
    is_optional=True,
)
_RATE_LIMIT_POLICY = ResponseHeader(
    "RateLimit-Policy",
    "Where a rate limit is on: how many requests a caller may make within how many seconds.",
    '"caller";q=100;w=2',
    is_optional=True,
)
# Those of so many answers that they stand in the description once.
SHARED = (REQUEST_ID, _RATE_LIMIT, _RATE_LIMIT_POLICY)
ETAG = ResponseHeader(
    "ETag", "The version that was answered; send it as If-Match with a change.", '"1"'
)
LOCATION = ResponseHeader("Location", "The path of what was created.", "/")
DEPRECATION = ResponseHeader(
    "Deprecation", "Since when this address is deprecated: RFC 9745.", "@1767225600"
)
_LINK = ResponseHeader(
    "Link",
    'With `rel="next"`: the address of the next page; absent on the last.',
    '</?cursor=aWQ6NTA>; rel="next"',
    is_optional=True,
)
_NEXT_CURSOR = ResponseHeader(
    "X-Next-Cursor",
    "The `cursor` of the next page; absent on the last.",
    "aWQ6NTA",
    is_optional=True,
)
_REPLAYED = ResponseHeader(
    "Idempotent-Replayed",
    "`true` where this is the first answer again, to an Idempotency-Key that was used before.",
    "true",
    is_optional=True,
)
_OF_PROBLEMS = {
    "Retry-After": "After how many seconds it is worth while to try again.",
    "WWW-Authenticate": "How to authenticate.",
}


def answering(status: int, *headers: ResponseHeader) -> dict[int | str, dict[str, Any]]:
    """Build the `responses=` argument that says which headers an answer has."""
    return {status: {"headers": {header.name: header.described() for header in headers}}}


def of_problem(refusal: Any) -> dict[str, Any]:
    """Describe the headers that a problem always has."""
    headers = getattr(refusal, "headers", None) or {}
    return {
        name: ResponseHeader(name, _OF_PROBLEMS.get(name, ""), value).described()
        for name, value in headers.items()
    }


def complete(operation: dict[str, Any]) -> None:
    """Add the headers that follow from what an operation takes, and those that all have."""
    takes = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    shared = SHARED if "security" in operation else (REQUEST_ID,)
    always: list[ResponseHeader] = []
    if "cursor" in takes:
        always += [_LINK, _NEXT_CURSOR]
    if "idempotency-key" in takes:
        always.append(_REPLAYED)
    for status, response in operation["responses"].items():
        headers = response.setdefault("headers", {})
        if status.startswith("2"):
            for header in always:
                headers.setdefault(header.name, header.described())
        for header in shared:
            headers[header.name] = {"$ref": f"#/components/headers/{header.name}"}

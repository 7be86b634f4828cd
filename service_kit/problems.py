"""One shape for every error that leaves a service: RFC 9457 problem+json."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

# Listed in one document, and for each item of a batch: enough to correct and retry.
MAX_ERRORS = 20
MAX_ERRORS_OF_ITEM = 5

# A name in `loc` may be the caller's (an unknown field), so it is truncated.
LONGEST_LOC = 100
_FIRST = ("type", "title", "status", "detail")
# By RFC 9110. Python 3.12 and older have those of the standards before it.
_NEWER_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


class Problem(HTTPException):
    """A refusal the caller can act on. Its slug is public and never changes.

    The first paragraph about a subclass stands in the API's description: what has happened, in a
    caller's words. `example` has the members that are its own, for the description's example.
    It is an HTTPException, since FastAPI hides any other error in reading a body.
    """

    status: ClassVar[HTTPStatus]
    slug: ClassVar[str]
    headers: Mapping[str, str] = {}
    example: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(self.status, detail, {**self.headers, **(headers or {})})
        self.extra = extra

    def __str__(self) -> str:
        return self.detail

    def document(self) -> dict[str, Any]:
        """Return the problem without the members of one request; for results in a batch."""
        return document(self.status, self.slug, self.detail, self.extra)


class BadRequest(Problem):
    """The request is not valid HTTP/1.1."""

    status = HTTPStatus.BAD_REQUEST
    slug = "bad-request"


class InvalidRequest(Problem):
    """A parameter or the body does not match the schema, or a query parameter is unknown."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid-request"
    example = {"errors": [{"loc": ["body", "name"], "msg": "Field required"}]}


class InternalError(Problem):
    """An error on our side. The log has the details under this request id."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    slug = "internal-error"

    def __init__(self) -> None:
        super().__init__("This is our fault. The log has the details under this request id.")


class UnsupportedMediaType(Problem):
    """The body is not of the media type that is taken here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unsupported-media-type"


class BodyTooLarge(Problem):
    """The body is over the limit of 1 MiB."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A body may have at most {limit} bytes.")


class ServiceUnavailable(Problem):
    """The service or its database is unavailable; the same request may succeed later."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "service-unavailable"
    headers = {"Retry-After": "1"}


def invalid(errors: Sequence[Any], most: int = MAX_ERRORS) -> InvalidRequest:
    """Say where and why the input was refused, never what it was: it may be somebody's data."""
    detail = "The request does not match the schema."
    if len(errors) > most:
        detail += f" {len(errors)} errors were found; the first {most} are listed."
    return InvalidRequest(
        detail,
        errors=[
            {"loc": [_safe(part) for part in error["loc"]], "msg": _reason(error)}
            for error in errors[:most]
        ],
    )


def phrase(status: HTTPStatus) -> str:
    """Return the reason phrase of RFC 9110, the same on every version of Python."""
    return _NEWER_PHRASES.get(status, status.phrase)


def document(
    status: HTTPStatus, slug: str, detail: str, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "type": f"urn:problem:{slug}",
        "title": phrase(status),
        "status": status.value,
        "detail": detail,
        **(extra or {}),
    }


def write(document: Mapping[str, Any], instance: str, request_id: str) -> bytes:
    """Write a problem as the answer to a request: in ASCII, which can encode any text."""
    of_this_request = {"instance": instance, "request_id": request_id}
    # In this order for readers; a problem's own request_id wins.
    whole = {**{name: document[name] for name in _FIRST}, **of_this_request, **document}
    return json.dumps(whole, ensure_ascii=True).encode()


def _reason(error: Any) -> str:
    """Say what is wrong; for malformed JSON in the parser's words, which do not quote it."""
    if error["type"] == "json_invalid":
        return f"{error['msg']}: {error['ctx']['error']}"
    reason: str = error["msg"]
    return reason


def _safe(part: Any) -> Any:
    return part[:LONGEST_LOC] if isinstance(part, str) else part

"""Entity tags: a caller changes the version it has read, or learns that there is a newer one."""

import re
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Response

from service_kit.problems import Problem
from service_kit.web.openapi import ETAG, answering

# Elements of a list; a weak one (W/"1", as a proxy makes that compresses) never matches: RFC 9110,
# section 13.1.1.
_TAG = re.compile(r'(?:^|,)\s*"([1-9][0-9]{0,17})"\s*(?=,|$)')
# For reading, weak tags match as well: section 13.1.2.
_ANY_TAG = re.compile(r'(?:^|,)\s*(?:W/)?"([1-9][0-9]{0,17})"\s*(?=,|$)')

T = TypeVar("T")


class PreconditionFailed(Problem):
    """It has changed since you read it: If-Match does not have its current ETag."""

    status = HTTPStatus.PRECONDITION_FAILED
    slug = "precondition-failed"


def etag(version: int) -> str:
    """Write a version as an entity tag of RFC 9110, section 8.8.3."""
    return f'"{version}"'


def set_etag(response: Response, version: int) -> None:
    response.headers["ETag"] = etag(version)


async def _versions(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=500,
            description="Change it only if it still has this ETag; otherwise 412.",
        ),
    ] = None,
) -> frozenset[int] | None:
    if if_match is None or if_match.strip() == "*":
        return None
    # A tag that is not one of ours matches nothing, which is what the standard asks for.
    return frozenset(int(tag) for tag in _TAG.findall(if_match))


# The versions that the caller wants to change, or None for any.
IfMatch = Annotated[frozenset[int] | None, Depends(_versions)]


def check_version(allowed: frozenset[int] | None, version: int) -> None:
    """Raise PreconditionFailed unless this version is one that the caller has named."""
    if allowed is not None and version not in allowed:
        raise PreconditionFailed("It was changed since you read it. Read it again, then decide.")


async def _known_versions(
    if_none_match: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            max_length=500,
            description="The ETag of what you have; if it is still current, 304 without a body.",
        ),
    ] = None,
) -> frozenset[int] | None:
    if if_none_match is not None and if_none_match.strip() == "*":
        return None
    return frozenset(int(tag) for tag in _ANY_TAG.findall(if_none_match or ""))


# The versions that the caller of a GET has, or None for any.
IfNoneMatch = Annotated[frozenset[int] | None, Depends(_known_versions)]

# The `responses=` of such a GET.
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    **answering(200, ETAG),
    304: {
        "description": "Not modified: If-None-Match has its current ETag. No body.",
        **answering(304, ETAG)[304],
    },
}


def unless_known(
    known_versions: frozenset[int] | None, response: Response, version: int, found: T
) -> T | Response:
    """Return what was found and set its ETag, or return 304 if the caller has this version."""
    if known_versions is None or version in known_versions:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag(version)})
    set_etag(response, version)
    return found

"""The far sides' lists, page by page. A list is read in its own order, which is of no meaning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from integration_service.links.failures import TooLarge, Transient
from integration_service.links.link import Answer, Link
from service_kit.web.fields import Instant, Line

PAGE = 500
# Whatever it means to its service, it can be kept and be sent back.
CURSOR = re.compile(r"[\x21-\x7e]{1,200}")

T = TypeVar("T", bound=BaseModel)
# The CRM's other id of a customer.
Number = Annotated[int, Field(gt=0, lt=2**63, strict=True)]
Uid = Annotated[Line, Field(min_length=1, max_length=64)]


class Customer(BaseModel):
    """A customer as the CRM lists it: what is needed to owe it a package."""

    uid: Uid
    id: Number | None = None
    name: str
    email: str
    created_at: Instant
    updated_at: Instant

    @property
    def first_name_known(self) -> str | None:
        """The name that its creation told, where it is sure to be this one.

        Inventory may have a request under the first name, and refuses to take another for it.
        """
        return self.name[:200] if self.name and self.updated_at == self.created_at else None

    @property
    def is_erased(self) -> bool:
        return not self.name and not self.email


class PackageRequest(BaseModel):
    """A package request as Inventory lists it."""

    request_id: str
    customer_id: Uid
    status: str


@dataclass(frozen=True, slots=True)
class Newest:
    """How far the CRM is: its feed's place, and when its newest customer was made, if there is one.

    Of those who are committed by then, all stand before that place.
    """

    feed_cursor: str
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    items: Sequence[T]
    next_cursor: str | None
    # On the first page of customers: the feed's place before its first row was read.
    feed_cursor: str | None


async def read_page(
    link: Link,
    path: str,
    model: TypeAdapter[list[T]],
    cursor: str | None,
    *,
    limit: int = PAGE,
    **params: Any,
) -> ListPage[T]:
    """Read one page. Raises CallFailed, for an answer that is no such page too."""
    answer = await _call(link, path, {**params, **({"cursor": cursor} if cursor else {})}, limit)
    try:
        items = model.validate_python(answer.body)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise Transient(f"its list is malformed at {fault['loc']}") from None
    next_cursor = cursor_in(answer, "x-next-cursor")
    if next_cursor is not None and (next_cursor == cursor or not items):
        raise Transient("its list does not go on")
    return ListPage(items, next_cursor, cursor_in(answer, "x-feed-cursor"))


def cursor_in(answer: Answer, header: str) -> str | None:
    """Read a cursor from a header. Raises Transient for one that is none."""
    cursor: str | None = answer.headers.get(header)
    if cursor is not None and not CURSOR.fullmatch(cursor):
        raise Transient(f"its {header} is malformed", status=answer.status)
    return cursor


async def _call(link: Link, path: str, params: dict[str, Any], limit: int) -> Answer:
    while True:
        try:
            return await link.call("GET", path, params={**params, "limit": limit})
        except TooLarge:
            if limit == 1:
                raise
            limit //= 2

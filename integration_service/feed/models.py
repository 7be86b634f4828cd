"""What the CRM says, once it is checked, and what follows from it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.feed.postal import read_address
from integration_service.ledger.models import PollerState
from integration_service.targets.http import CURSOR, Uid
from integration_service.targets.target import Destination
from service_kit.web.fields import Instant

LARGEST_PAGE = 500
Position = Annotated[int, Field(ge=0, lt=2**63)]
# The CRM's other id of a customer.
Number = Annotated[int, Field(gt=0, lt=2**63, strict=True)]


class Customer(BaseModel):
    """A customer as the CRM lists it: what is needed to owe it a package."""

    uid: Uid
    id: Number | None = None
    name: str
    email: str
    created_at: Instant
    updated_at: Instant
    address: Any = None

    @property
    def first_name_known(self) -> str | None:
        """The name in its creation event, if it is certain to be this one.

        Inventory may have a request under the first name, and refuses to take another for it.
        """
        return self.name[:200] if self.name and self.updated_at == self.created_at else None

    @property
    def arrival(self) -> Arrival:
        """What it is to the ledger, where the list and no event has reported it."""
        return Arrival(self.uid, self.first_name_known, 0)

    @property
    def destination(self) -> Destination | None:
        """Where its packages go; None where nothing says that it ever had an address."""
        ship_to = read_address(self.address)
        if ship_to is None and self.updated_at == self.created_at:
            return None
        return Destination(self.uid, ship_to, self.updated_at)

    @property
    def is_erased(self) -> bool:
        return not self.name and not self.email


@dataclass(frozen=True, slots=True)
class Newest:
    """How far the CRM is: its feed's place, and when its newest customer was made, if there is one.

    Of those who are committed by then, all stand before that place.
    """

    feed_cursor: str | None
    created_at: datetime | None


class FeedBroken(Exception):
    """The cursor is no longer valid. `state` says why: diverged or expired.

    Of an expired one `oldest_cursor` may say where the events begin that are left.
    """

    def __init__(self, state: str, detail: str, oldest_cursor: str | None = None) -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail
        self.oldest_cursor = oldest_cursor


class FeedPage(BaseModel):
    """Events that follow a cursor, and the positions that they cover."""

    model_config = ConfigDict(strict=True)

    events: list[Any] = Field(max_length=LARGEST_PAGE)
    from_position: int = Field(ge=1, lt=2**63)
    through_position: Position
    head_position: Position
    next_cursor: str = Field(pattern=f"^{CURSOR.pattern}$")
    has_more: bool


def as_received(event: Any) -> str:
    """Write down an event that can't be read, as far as a database can keep it."""
    return json.dumps(event, ensure_ascii=True).replace("\\u0000", "\\ufffd")


@dataclass(frozen=True, slots=True)
class Walked:
    """A page of customers, and where the walk continues; nowhere after the last."""

    read: int
    arrivals: Sequence[Arrival]
    erased: Sequence[ErasedCustomer]
    # Where the feed stood before the first page was read, which comes with the first page.
    feed_cursor: str | None
    next_page: str | None
    # Where the packages go of those who were there before as well.
    destinations: Sequence[Destination] = ()


def is_from_before(feed: PollerState, created_at: datetime) -> bool:
    """Whether a customer is owed nothing by its date, being older than a first start with `now`.

    Only if there is no `start_cursor`, which is more exact.
    """
    return (
        feed.start_cursor is None
        and feed.newest_at_start is not None
        and created_at <= feed.newest_at_start
    )

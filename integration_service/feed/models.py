"""What the CRM says, once it is checked, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from integration_service.deliveries.models import Arrival, ErasedCustomer
from integration_service.ledger.models import PollerState
from integration_service.targets.http import Uid
from service_kit.web.fields import Instant

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

    @property
    def first_name_known(self) -> str | None:
        """The name that its creation told, where it is sure to be this one.

        Inventory may have a request under the first name, and refuses to take another for it.
        """
        return self.name[:200] if self.name and self.updated_at == self.created_at else None

    @property
    def is_erased(self) -> bool:
        return not self.name and not self.email


@dataclass(frozen=True, slots=True)
class Newest:
    """How far the CRM is: its feed's place, and when its newest customer was made, if there is one.

    Of those who are committed by then, all stand before that place.
    """

    feed_cursor: str
    created_at: datetime | None


class FeedBroken(Exception):
    """The feed can't be gone on with from here. `state` is what to call that."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events that follow `after`, and what they cover."""

    after: str | None
    events: Sequence[Any]
    through_position: int
    head_position: int
    next_cursor: str
    has_more: bool


@dataclass(frozen=True, slots=True)
class Walked:
    """A page of customers, and where the walk goes on; nowhere after the last."""

    read: int
    arrivals: Sequence[Arrival]
    erased: Sequence[ErasedCustomer]
    # Where the feed stood before the first page was read, which the first page tells.
    feed_cursor: str | None
    next_page: str | None


def is_from_before(feed: PollerState, created_at: datetime) -> bool:
    """Tell by its date a customer who is owed nothing, being older than a first start with `now`.

    Only where there is no `start_cursor`, which tells it better.
    """
    return (
        feed.start_cursor is None
        and feed.newest_at_start is not None
        and created_at <= feed.newest_at_start
    )

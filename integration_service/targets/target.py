"""What a delivery may go to. Another one is a file here, a line in the registry, its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import CallFailed


class Destination(NamedTuple):
    """Where a customer's packages go, and since when; nowhere any more where it is None."""

    customer_uid: str
    ship_to: dict[str, Any] | None
    as_of: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """One effect at a target. The same subject and occurrence always want the same."""

    subject: str
    occurrence: int
    name: str | None
    # What the route says to send.
    send: Mapping[str, str]
    traceparent: str | None = None
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """The effect is there, under this id of the target's."""

    status: int
    request_id: str


# What became of one: made, or why not. A failure is returned, since it spoils no other.
Result = Made | CallFailed


class Target(Protocol):
    """A remote service with its circuit. Every call of it may be repeated."""

    circuit: Circuit

    async def deliver(self, requests: Sequence[DeliveryRequest], *, once: bool) -> list[Result]:
        """Bring about each effect. Raises CallFailed when there is no result for each."""

    async def erase(self, customer_ids: Sequence[str], *, dry_run: bool = False) -> set[str]:
        """Undo what was delivered for these customers, and forget them. Raises CallFailed.

        Returns those for whom this changed something, or in a dry run would change something.
        """

    async def readdress(self, destinations: Sequence[Destination]) -> list[str]:
        """Give packages that are not packed yet their customers' new addresses. Raises CallFailed.

        Returns the customers whose address is refused.
        """

    async def close(self) -> None: ...

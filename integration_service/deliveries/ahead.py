"""A batch of new customers that is sent while their page is still to be noted."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from integration_service.deliveries import claims
from integration_service.deliveries.models import Arrival, Claimed, Settlement
from integration_service.ledger.lease import Lease
from integration_service.routes.definitions import WELCOME


@dataclass(frozen=True, slots=True)
class Noted:
    """What has been noted of a batch: its deliveries, and whether what came of them is too."""

    deliveries: Sequence[Claimed]
    is_settled: bool


class Ahead:
    """What the one who sends a batch and the one who notes its page tell each other."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self.batch = [_unnoted(arrival) for arrival in arrivals]
        # What came of each customer's, once all are delivered. Else it takes the usual way.
        self.settlements: Mapping[str, Settlement] = {}
        self.answered = asyncio.Event()
        self.noted: asyncio.Future[Noted] = asyncio.get_running_loop().create_future()

    @property
    def uids(self) -> list[str]:
        return [one.subject for one in self.batch]

    async def wait(self, seconds: float) -> None:
        """Wait for the answer, but not for long: nothing else is read meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.answered.wait()
        except TimeoutError:
            pass

    def tell(self, noted: Noted) -> bool:
        """Tell the sender what is noted. Returns False where it has ended before."""
        if self.noted.done():
            return False
        self.noted.set_result(noted)
        return True

    def drop(self) -> None:
        """Tell the sender that the page is not noted, or the one who notes it that it ends."""
        self.noted.cancel()


def settle(
    db: Connection, lease: Lease, new: Sequence[Arrival], settlements: Mapping[str, Settlement]
) -> Noted:
    """Settle what was noted as claimed, in the same transaction, where its fate is known."""
    owed = [arrival.subject for arrival in new if arrival.state == "pending"]
    deliveries = claims.claimed(db, lease, WELCOME.name, owed)
    if settlements and deliveries:
        known = [replace(settlements[one.subject], delivery_id=one.id) for one in deliveries]
        claims.save_settlements(db, lease, WELCOME.name, known)
    return Noted(deliveries, is_settled=bool(settlements))


def _unnoted(arrival: Arrival) -> Claimed:
    return Claimed(
        id=0,
        route=WELCOME.name,
        subject=arrival.subject,
        occurrence=1,
        customer_name=arrival.customer_name,
        sequence=arrival.sequence,
        traceparent=arrival.traceparent,
        attempt_count=0,
        first_failed_at=None,
        tried_seconds_before=0.0,
    )

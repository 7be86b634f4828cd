"""When to try again, and when to stop: what one attempt means for one delivery."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from integration_service.ledger.records import Settlement
from integration_service.ledger.store import DeliveryRow
from integration_service.links.circuit import Circuit
from integration_service.links.failures import CallFailed, Refused, Transient
from integration_service.links.inventory import CustomerErased, Made, Rejected, Result

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
# Of a link that answers: while it is down no delivery grows older.
GIVE_UP_AFTER = timedelta(hours=72)
INTERNAL_ERROR = 500
# From here on two to the power of it is over the longest wait anyway.
_ENOUGH_DOUBLINGS = 16


def wait_seconds(failed_before: int, retry_after: float = 0.0) -> float:
    """Choose the wait after a failure: full jitter under a doubling ceiling, above Retry-After.

    Jitter, so that what failed together does not come back together.
    """
    doublings = min(failed_before, _ENOUGH_DOUBLINGS)
    ceiling = min(FIRST_WAIT_SECONDS * 2**doublings, LONGEST_WAIT_SECONDS)
    floor = retry_after * random.uniform(1.0, 1.1)  # noqa: S311
    return max(random.uniform(0, ceiling), floor)  # noqa: S311


def after_result(
    delivery: DeliveryRow, result: Result, circuit: Circuit, at: datetime, duration_ms: float
) -> Settlement:
    """Say what Inventory's word on one delivery means for it."""
    if isinstance(result, Made):
        return Settlement(
            delivery.id,
            "delivered",
            at,
            None,
            result.status,
            duration_ms,
            made_id=result.request_id,
        )
    if isinstance(result, CustomerErased):
        return Settlement(delivery.id, "undone", at, None, result.status, duration_ms)
    if isinstance(result, Rejected):
        refusal = Refused(result.error, status=result.status, problem=result.problem)
        return after_failure(delivery, refusal, circuit, at, duration_ms)
    unclear = Transient(result.error, status=result.status)
    return after_failure(delivery, unclear, circuit, at, duration_ms)


def is_of_one_delivery(batch: Sequence[DeliveryRow], failure: CallFailed, circuit: Circuit) -> bool:
    """Tell a delivery that Inventory fails over from an Inventory that fails.

    Others have succeeded since this one failed first; so its failures say nothing of the link.
    """
    [first, *others] = batch
    succeeded_at = circuit.last_success_at
    return (
        not others
        and failure.status == INTERNAL_ERROR
        and first.first_failed_at is not None
        and succeeded_at is not None
        and succeeded_at > first.first_failed_at
    )


def after_failure(
    delivery: DeliveryRow, failure: CallFailed, circuit: Circuit, at: datetime, duration_ms: float
) -> Settlement:
    """Say what a failed call means for one delivery: another try at a later time, or the end."""
    since = delivery.first_failed_at or at
    down_before = delivery.down_seconds_before if delivery.first_failed_at else circuit.down_at(at)
    told: dict[str, Any] = {
        "class_of_error": failure.error_class,
        "text_of_error": failure.error,
        "document": failure.problem,
        "failing_since": since,
        "down_before": down_before,
    }
    age = at - since - timedelta(seconds=circuit.down_at(at) - down_before)
    if isinstance(failure, Refused) or age >= GIVE_UP_AFTER:
        return Settlement(delivery.id, "dead", at, None, failure.status, duration_ms, **told)
    wait = timedelta(seconds=wait_seconds(delivery.attempt_count, failure.retry_after))
    return Settlement(delivery.id, "retrying", at, at + wait, failure.status, duration_ms, **told)

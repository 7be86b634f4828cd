"""When to try again, and when to stop: what one attempt means for one delivery."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from integration_service.ledger.claims import Claimed
from integration_service.ledger.records import Settlement
from integration_service.links.circuit import Circuit
from integration_service.links.failures import CallFailed, CustomerErased, Refused, Transient, Unfit
from integration_service.links.inventory import Made, Result

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
# Only the time in which it is tried counts: a process polls, the circuit is closed, no pause.
GIVE_UP_SECONDS = 72 * 3600.0
# However long it was tried: what has failed twice is not hopeless.
LEAST_ATTEMPTS = 10
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
    delivery: Claimed, result: Result, circuit: Circuit, at: datetime, duration_ms: float
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
    return after_failure(delivery, result, circuit, at, duration_ms)


def is_of_one_delivery(batch: Sequence[Claimed], failure: CallFailed, circuit: Circuit) -> bool:
    """Tell a delivery that Inventory fails over from an Inventory that fails.

    Others have succeeded since this one failed first; so its failures say nothing of the link.
    """
    [first, *others] = batch
    succeeded_at = circuit.succeeded_seconds
    return (
        not others
        and (failure.status == INTERNAL_ERROR or isinstance(failure, Unfit))
        and first.first_failed_at is not None
        and succeeded_at is not None
        and succeeded_at >= first.tried_seconds_before
    )


def after_failure(
    delivery: Claimed, failure: CallFailed, circuit: Circuit, at: datetime, duration_ms: float
) -> Settlement:
    """Say what a failure means for one delivery: another try at a later time, or the end."""
    tried = circuit.tried()
    is_first = delivery.first_failed_at is None
    tried_before = tried if is_first else delivery.tried_seconds_before
    is_refused = isinstance(failure, Refused)
    told: dict[str, Any] = {
        # All else that spoils one delivery alone is put off, and may pass.
        "class_of_error": (Refused if is_refused else Transient).error_class,
        "text_of_error": failure.error,
        "document": failure.problem,
        "failing_since": at if is_first else delivery.first_failed_at,
        "tried_before": tried_before,
    }
    is_hopeless = (
        tried - tried_before >= GIVE_UP_SECONDS and delivery.attempt_count + 1 >= LEAST_ATTEMPTS
    )
    if is_refused or is_hopeless:
        return Settlement(delivery.id, "dead", at, None, failure.status, duration_ms, **told)
    wait = timedelta(seconds=wait_seconds(delivery.attempt_count, failure.retry_after))
    return Settlement(delivery.id, "retrying", at, at + wait, failure.status, duration_ms, **told)

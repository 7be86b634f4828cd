"""What each outcome leads to: the one table, for a whole call and for one item of a batch alike.

| outcome         | the delivery                      | the circuit of its target              |
|-----------------|-----------------------------------|----------------------------------------|
| Made            | delivered                         | closes                                 |
| RefusedAsErased | undone                            | closes                                 |
| Refused         | dead at once                      | closes                                 |
| Transient       | retrying; dead after 72 h of that | a call's is a failure, opens at five   |
| TooLarge        | as Transient                      | as Transient                           |
| Unfit           | of a batch: the batch is halved   |                                        |
|                 | of one alone: as Transient        | as Transient                           |
| NotAccepted     | as Transient                      | as Unfit of one alone                  |
| Misconfigured   | given back, no attempt is counted | opens at once                          |
| Gone            | as Misconfigured                  | as Misconfigured                       |

Of a call that fails while the circuit is open, a probe, no attempt is counted either. A call that
made anything is configured well: what looks otherwise in it is about that one item, and Transient.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any

from integration_service.deliveries.models import Claimed, Settlement
from integration_service.targets.circuit import Circuit
from integration_service.targets.failures import (
    INTERNAL_ERROR,
    CallFailed,
    Misconfigured,
    NotAccepted,
    Refused,
    RefusedAsErased,
    Transient,
    Unfit,
)
from integration_service.targets.target import Made, Result

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
# Only the time in which it is tried counts: a process polls, the circuit is closed, no pause.
GIVE_UP_SECONDS = 72 * 3600.0
# However long it was tried: what has failed twice is not hopeless.
LEAST_ATTEMPTS = 10
# From here on two to the power of it is over the longest wait anyway.
_ENOUGH_DOUBLINGS = 16


class AfterCall(Enum):
    """What to do with a batch whose call has failed as a whole."""

    HALVE = auto()
    # One delivery fails, and its target does not.
    RETRY_IT_ALONE = auto()
    # It says nothing about these deliveries.
    GIVE_BACK = auto()
    RETRY = auto()


def after_call(batch: Sequence[Claimed], failure: CallFailed, circuit: Circuit) -> AfterCall:
    if isinstance(failure, Unfit) and len(batch) > 1:
        return AfterCall.HALVE
    if _is_of_one_delivery(batch, failure, circuit):
        return AfterCall.RETRY_IT_ALONE
    if circuit.is_open or isinstance(failure, Misconfigured):
        return AfterCall.GIVE_BACK
    return AfterCall.RETRY


def _is_of_one_delivery(batch: Sequence[Claimed], failure: CallFailed, circuit: Circuit) -> bool:
    """Whether others have succeeded since this one failed first: then the target is well."""
    [first, *others] = batch
    succeeded_at = circuit.succeeded_seconds
    return (
        not others
        and (failure.status == INTERNAL_ERROR or isinstance(failure, Unfit | NotAccepted))
        and first.first_failed_at is not None
        and succeeded_at is not None
        and succeeded_at >= first.tried_seconds_before
    )


def raise_if_misconfigured(results: Sequence[Result]) -> Sequence[Result]:
    """Raise Misconfigured where an item is and nothing was made: it is about the whole call.

    Beside anything made such an item is only Transient. Returns the results.
    """
    wrong = [result for result in results if isinstance(result, Misconfigured)]
    if not wrong:
        return results
    if not any(isinstance(result, Made) for result in results):
        raise wrong[0]
    return [
        Transient(one.error, status=one.status, problem=one.problem)
        if isinstance(one, Misconfigured)
        else one
        for one in results
    ]


def decide(
    delivery: Claimed, result: Result, circuit: Circuit, at: datetime, duration_ms: float
) -> Settlement:
    """Say what one attempt means for one delivery: the end, or another try at a later time."""
    became = partial(Settlement, delivery.id, at=at, status=result.status, duration_ms=duration_ms)
    if isinstance(result, Made):
        return became("delivered", request_id=result.request_id, delivered_at=at)
    if isinstance(result, RefusedAsErased):
        return became("undone")
    tried = circuit.tried()
    is_first = delivery.first_failed_at is None
    tried_before = tried if is_first else delivery.tried_seconds_before
    is_refused = isinstance(result, Refused)
    failure: dict[str, Any] = {
        "error_class": (Refused if is_refused else Transient).error_class,
        "error": result.error,
        "problem": result.problem,
        "first_failed_at": at if is_first else delivery.first_failed_at,
        "tried_seconds_before": tried_before,
    }
    is_hopeless = (
        tried - tried_before >= GIVE_UP_SECONDS and delivery.attempt_count + 1 >= LEAST_ATTEMPTS
    )
    if is_refused or is_hopeless:
        return became("dead", **failure)
    wait = timedelta(seconds=wait_seconds(delivery.attempt_count, result.retry_after))
    return became("retrying", next_attempt_at=at + wait, **failure)


def wait_seconds(failed_before: int, retry_after: float = 0.0) -> float:
    """Choose the wait after a failure: full jitter under a doubling ceiling, above Retry-After.

    Jitter, so that what failed together does not come back together.
    """
    doublings = min(failed_before, _ENOUGH_DOUBLINGS)
    ceiling = min(FIRST_WAIT_SECONDS * 2**doublings, LONGEST_WAIT_SECONDS)
    floor = retry_after * random.uniform(1.0, 1.1)  # noqa: S311
    return max(random.uniform(0, ceiling), floor)  # noqa: S311

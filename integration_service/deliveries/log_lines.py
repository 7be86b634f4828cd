"""The log lines that operators, and their scripts, look for."""

import logging
from collections import Counter
from collections.abc import Sequence

from integration_service.deliveries.models import Arrival, Settlement

logger = logging.getLogger("integration_service")


def log_found(arrival: Arrival) -> None:
    if arrival.error:
        logger.error("%s It is kept as dead: %s", arrival.error, arrival.subject)
    elif arrival.skip_reason == "erased":
        logger.info("No package for the erased customer with ID: %s", arrival.subject)
    else:
        logger.info("Found new customer: %s (ID: %s)", arrival.customer_name, arrival.subject)
    if arrival.skip_reason == "unwanted":
        logger.info("No package is wanted for customer ID: %s", arrival.subject)


def log_settled(outcomes: Sequence[tuple[str, Settlement]]) -> None:
    for uid, one in outcomes:
        if one.state == "delivered":
            logger.info("Successfully created package request for customer ID: %s", uid)
        elif one.state == "undone":
            logger.info("Inventory makes no package for the erased customer with ID: %s", uid)
        elif one.state == "dead":
            logger.error(
                "The package request for customer ID: %s is dead until someone retries it: %s.",
                uid,
                _sentence(one),
            )
    if waiting := [(uid, one) for uid, one in outcomes if one.state == "retrying"]:
        uid, one = waiting[0]
        logger.warning(
            "%d package requests wait for another try: %s. The first is for customer ID: %s",
            len(waiting),
            _sentence(one),
            uid,
        )


def log_reported(route: str, outcomes: Sequence[tuple[str, Settlement]]) -> None:
    """Log what came of webhooks; those that were delivered, which may be very many, in one line."""
    states = Counter(one.state for _, one in outcomes)
    if number := states["delivered"]:
        logger.info("Reported %d events by the route %s.", number, route)
    for event_id, one in outcomes:
        if one.state == "dead":
            logger.error(
                "The event %s of the route %s is dead until someone retries it: %s.",
                event_id,
                route,
                _sentence(one),
            )
    if waiting := [(event_id, one) for event_id, one in outcomes if one.state == "retrying"]:
        event_id, one = waiting[0]
        logger.warning(
            "%d events of the route %s wait for another try: %s. The first is %s",
            len(waiting),
            route,
            _sentence(one),
            event_id,
        )


def _sentence(one: Settlement) -> str:
    return (one.error or "").rstrip(".")

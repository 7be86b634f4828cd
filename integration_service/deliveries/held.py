"""Why a delivery that is owed is not sent now."""

from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, literal, literal_column, null

from integration_service.deliveries.models import HOLDING, deliveries
from integration_service.ledger.models import poller, routes
from integration_service.routes.definitions import WEBHOOK_CIRCUIT
from integration_service.targets.store import circuits_table

_earlier = deliveries.alias("earlier")
# Whether something of the same subject is to be sent before, or waits, dead, for a person.
HAS_EARLIER = exists().where(
    _earlier.c.route == deliveries.c.route,
    _earlier.c.event_subject == deliveries.c.event_subject,
    _earlier.c.sequence < deliveries.c.sequence,
    # Written out, for the engines to see that the index of these answers it.
    _earlier.c.state.in_([literal_column(f"'{state}'") for state in HOLDING]),
    _earlier.c.event_subject.is_not(None),
)
_OF_ROUTE = routes.c.name == deliveries.c.route
_IS_OWED = deliveries.c.state.in_(("pending", "retrying"))
_IS_PAUSED = exists().where(poller.c.paused_at.is_not(None)) | exists().where(
    _OF_ROUTE, routes.c.paused_at.is_not(None)
)
_TARGET = case(
    (routes.c.target == "webhook", literal(WEBHOOK_CIRCUIT).concat(routes.c.name)),
    else_=routes.c.target,
)
_IS_BROKEN = exists().where(
    _OF_ROUTE, circuits_table.c.target == _TARGET, circuits_table.c.opened_at.is_not(None)
)
_WAITS_ITS_TURN = and_(exists().where(_OF_ROUTE, routes.c.ordering == "subject"), HAS_EARLIER)
# paused: an operator, or its receiver, wants nothing sent. circuit: its target does not answer.
# order: an earlier event of the same subject is unfinished, or dead.
held_because: ColumnElement[Any] = case(
    (~_IS_OWED, null()),
    (_IS_PAUSED, "paused"),
    (_IS_BROKEN, "circuit"),
    (_WAITS_ITS_TURN, "order"),
    else_=null(),
)

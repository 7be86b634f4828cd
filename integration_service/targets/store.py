"""What is remembered of the remote services: which can't be called, and since when."""

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Connection, Float, Integer, String, Table, Text, select, update

from integration_service.ledger.lease import Lease, fence
from integration_service.ledger.models import metadata
from integration_service.targets.circuit import Circuit, CircuitRow
from integration_service.targets.failures import CallFailed, Untrusted
from service_kit.database import Database
from service_kit.database.on_conflict import insert_missing
from service_kit.database.rows import find_all
from service_kit.database.types import UtcDateTime

logger = logging.getLogger("integration_service")

# One row a remote service: its circuit, and for how long its deliveries were tried.
circuits_table = Table(
    "links",
    metadata,
    Column("target", String(60), primary_key=True),
    Column("opened_at", UtcDateTime),
    Column("next_probe_at", UtcDateTime),
    Column("probe_seconds", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    # For how long a process was polling with its circuit closed and nothing paused, in all. The 72
    # hours after which a delivery is given up are counted by it, from the delivery's
    # tried_seconds_before: outages, pauses and time without a poller don't count.
    Column("tried_seconds", Float, nullable=False),
    # What tried_seconds were at its last success.
    Column("succeeded_seconds", Float),
    Column("error_class", String(20)),
    Column("error", Text),
)


def circuits(db: Connection) -> dict[str, CircuitRow]:
    """Return what is stored about each remote service, by its name."""
    stored = select(circuits_table).order_by(circuits_table.c.target)
    return {row.target: row for row in find_all(CircuitRow, db, stored)}


def add_missing(db: Connection, names: Sequence[str]) -> None:
    """Store that of these remote services nothing is known yet, where nothing is stored."""
    unknown = {"probe_seconds": 0.0, "failures": 0, "tried_seconds": 0.0}
    db.execute(insert_missing(circuits_table), [{"target": name, **unknown} for name in names])


def save(db: Connection, lease: Lease, circuit: Circuit) -> None:
    fence(db, lease)
    mine = circuits_table.c.target == circuit.target
    db.execute(update(circuits_table).where(mine).values(**circuit.columns()))


async def note_failure(
    database: Database, lease: Lease, circuit: Circuit, failure: CallFailed, now: datetime
) -> None:
    """Count a failure, and store the circuit."""
    count_failure(circuit, failure, now)
    await database.write(save, lease, circuit)


def count_failure(circuit: Circuit, failure: CallFailed, now: datetime) -> None:
    """Count a failure, and log it where it is of another kind than the last."""
    if circuit.failed(now, failure):
        _log(circuit, failure)


def _log(circuit: Circuit, failure: CallFailed) -> None:
    """Say that it can't be used, and what to do where only a person can help."""
    name, said = circuit.label, failure.error.rstrip(".")
    if failure.error_class == "transient":
        logger.warning("%s can't be reached: %s. Nothing is lost; it goes on trying.", name, said)
        return
    _, _, route = circuit.target.partition(":")
    cure = _cure_of_route(route, failure) if route else _cure_of_service(name.upper(), failure)
    if isinstance(failure, Untrusted):
        cure += " CA_FILE names authorities to trust besides the public ones."
    logger.error("%s can't be used: %s. %s Nothing is lost; it goes on trying.", name, said, cure)


def _cure_of_service(name: str, failure: CallFailed) -> str:
    if failure.status in {401, 403}:
        return f"Set {name}_API_TOKEN to a valid token of its role integration."
    also = " What answers there may be a proxy, or another service." if failure.status else ""
    return f"Check {name}_API_URL.{also}"


def _cure_of_route(route: str, failure: CallFailed) -> str:
    if failure.status in {401, 403}:
        return f"Check that its receiver knows the secret of the route {route}."
    return f"Check the URL of the route {route}."

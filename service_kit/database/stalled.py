"""Transactions of processes that stopped in the middle of a statement, whose locks keep others.

None of PostgreSQL's limits before version 17 ends one: the server waits for the next message of a
statement that the driver sends in two, so the session is not idle, and a statement's own limit
is put off until the client speaks again.
"""

import logging

from sqlalchemy import Connection, text

from service_kit.database.errors import origin

logger = logging.getLogger("service_kit")

SECONDS = 10.0
# Only sessions like this one: others, such as a COPY by hand, may well wait for their client.
_END = text("""
SELECT count(pg_terminate_backend(other.pid))
FROM pg_stat_activity AS other
JOIN pg_stat_activity AS own ON own.pid = pg_backend_pid()
    AND (own.datid, own.usesysid, own.application_name)
        = (other.datid, other.usesysid, other.application_name)
WHERE other.backend_xid IS NOT NULL AND other.state = 'active' AND other.wait_event = 'ClientRead'
    AND other.state_change < clock_timestamp() - make_interval(secs => :seconds)
""")


def keeps_others(error: BaseException) -> bool:
    """Tell whether a statement was given up because someone else kept a lock for too long."""
    return getattr(origin(error), "sqlstate", None) == "55P03"


def end_stalled(db: Connection) -> None:
    """End what another process of this service has begun and can't go on with."""
    if ended := db.execute(_END, {"seconds": SECONDS}).scalar_one():
        logger.warning("Ended transactions of processes that have stopped responding: %d.", ended)

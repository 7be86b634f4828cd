"""What the integration keeps for some time, and what deletes it after that.

A delivery itself is kept for ever: it is why nothing is sent twice. It says how often it was tried,
and a table of its own how many attempts there were in all, so both outlive the attempts.
"""

from integration_service.deliveries.models import attempts
from integration_service.ledger.models import audit
from service_kit.database.pruning import OldRows
from service_kit.process.retention import SNAPSHOTS, rows_kept

_ATTEMPTS = OldRows(attempts, attempts.c.at)

KEPT = (
    audit.kept,
    rows_kept("attempts", _ATTEMPTS, lambda settings: settings.retention_attempts_days),
    SNAPSHOTS,
)

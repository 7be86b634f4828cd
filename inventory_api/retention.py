"""What Inventory keeps for some time, and what deletes it after that."""

from inventory_api.tables import audit, stored_answers
from service_kit.process.retention import SNAPSHOTS

KEPT = (audit.kept, stored_answers.kept, SNAPSHOTS)

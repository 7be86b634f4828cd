"""All tables of the integration: importing this makes the metadata whole."""

from integration_service.deliveries import models as deliveries
from integration_service.ledger.models import metadata
from integration_service.reconcile import models as reconcile
from integration_service.targets import store as targets

__all__ = ["deliveries", "metadata", "reconcile", "targets"]

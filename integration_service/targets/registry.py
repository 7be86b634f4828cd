"""The targets that deliveries go to, by the names that routes have for them."""

from collections.abc import Callable
from typing import NamedTuple

from integration_service.settings import Settings
from integration_service.targets.inventory import Inventory


class Targets(NamedTuple):
    inventory: Inventory


def open_targets(settings: Settings, monotonic: Callable[[], float]) -> Targets:
    return Targets(inventory=Inventory(settings, monotonic))

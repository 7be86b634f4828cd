"""Targets that deliveries go to. Another one is a file in targets/, a line here, its settings."""

from collections.abc import Callable
from typing import NamedTuple

from integration_service.settings import Settings
from integration_service.targets.inventory import Inventory


class Targets(NamedTuple):
    inventory: Inventory


def open_targets(settings: Settings, monotonic: Callable[[], float]) -> Targets:
    return Targets(inventory=Inventory(settings, monotonic))

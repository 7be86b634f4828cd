"""The routes: which event leads to which effect, and what undoes it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

# All that the feed tells, in the order in which the feed is asked for it.
EVENT_TYPES = (
    "customer.created",
    "customer.updated",
    "customer.erased",
    "ticket.created",
    "ticket.updated",
    "ticket.status_changed",
    "ticket.note_added",
    "ticket.deleted",
)
WILDCARDS = ("customer.*", "ticket.*")
# What the one route to Inventory reads, what undoes it, and its name: the ledger of every version
# has kept the deliveries of Inventory under it.
INVENTORY_ON = ("customer.created",)
INVENTORY_UNLESS = {"data.welcome": False}
ERASED = "customer.erased"
UNDO_ON = (ERASED,)
CHANGED = "customer.updated"
INVENTORY_NAME = "welcome-package"
# Begins the name of the circuit of a webhook; its route's name follows.
WEBHOOK_CIRCUIT = "webhook:"

Scalar = str | int | float | bool
Order = Literal["none", "subject"]
# Where a new route begins in the feed; a number is the position that it begins behind.
StartFrom = Literal["beginning", "now"] | int


@dataclass(frozen=True)
class Present:
    """Whether a field has a value. One that is null or left out has none."""

    present: bool


# One value, any of several, or whether there is one.
Condition = Scalar | tuple[Scalar, ...] | Present


@dataclass(frozen=True, kw_only=True)
class Route(ABC):
    """Events of some types lead to exactly one effect at a target."""

    # The remote service that brings the effect about.
    target: ClassVar[str]

    # Its identity, for ever: every delivery is stored under it.
    name: str
    # Types of events, or wildcards.
    on: tuple[str, ...]
    # By the path of a field: only events with all of these are wanted, and none with any of those.
    when: Mapping[str, Condition] = field(default_factory=dict)
    unless: Mapping[str, Condition] = field(default_factory=dict)
    start_from: StartFrom = "beginning"

    @property
    @abstractmethod
    def send(self) -> Mapping[str, str]:
        """What is sent besides what the event says."""

    @property
    @abstractmethod
    def undo_on(self) -> tuple[str, ...]:
        """Types of the events that undo the effect."""

    @cached_property
    def event_types(self) -> tuple[str, ...]:
        """The types that the feed is asked for."""
        return tuple(
            one for one in EVENT_TYPES if one in self.on or f"{one.partition('.')[0]}.*" in self.on
        )

    def is_unwanted(self, event: Mapping[str, Any]) -> bool:
        """Say whether an event of a right type leads to nothing all the same.

        An erasure never does: who has heard of a customer must hear that it is to be forgotten, and
        that event has none of the fields by which the customer was chosen.
        """
        if event.get("type") in UNDO_ON:
            return False
        return any(_meets(event, *one) for one in self.unless.items()) or not all(
            _meets(event, *one) for one in self.when.items()
        )


@dataclass(frozen=True, kw_only=True)
class InventoryRoute(Route):
    """Inventory makes one package for each new customer, and cancels it once that is erased."""

    target = "inventory"

    package_type: str

    @property
    def send(self) -> Mapping[str, str]:
        return {"package_type": self.package_type}

    @property
    def undo_on(self) -> tuple[str, ...]:
        return UNDO_ON

    @property
    def event_types(self) -> tuple[str, ...]:
        # A new address reaches what is not packed yet.
        return (*INVENTORY_ON, CHANGED, *UNDO_ON)


@dataclass(frozen=True, kw_only=True)
class WebhookRoute(Route):
    """A receiver hears each event. Nothing undoes that; it hears of an erasure as an event."""

    target = "webhook"

    url: str
    # The names of the secrets it signs with: several while one takes the place of another.
    secrets: tuple[str, ...]
    order: Order = "none"

    @property
    def send(self) -> Mapping[str, str]:
        return {}

    @property
    def undo_on(self) -> tuple[str, ...]:
        return ()


def _meets(event: Mapping[str, Any], path: str, condition: Condition) -> bool:
    value = _value_at(event, path)
    match condition:
        case Present(present):
            return (value is not None) is present
        case tuple():
            return any(_is(value, one) for one in condition)
    return _is(value, condition)


def _value_at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _is(value: Any, wanted: Scalar) -> bool:
    # For Python 0 == False; a whole number may be written 1 or 1.0.
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


WELCOME = InventoryRoute(
    name=INVENTORY_NAME,
    on=INVENTORY_ON,
    unless=INVENTORY_UNLESS,
    package_type="welcome_package",
)
# The routes of whoever sets no file.
DEFAULT: tuple[Route, ...] = (WELCOME,)

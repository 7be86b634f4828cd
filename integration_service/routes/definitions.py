"""The routes: which event leads to which effect, and what undoes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Route:
    """Events of some types lead to exactly one effect for each subject."""

    # Its identity, for ever: every delivery is stored under it.
    name: str
    on: tuple[str, ...]
    # The remote service that brings the effect about.
    target: str
    send: Mapping[str, str]
    # Events with these values, by the path of a field, lead to nothing.
    unless: Mapping[str, Any] = field(default_factory=dict)
    undo_on: tuple[str, ...] = ()

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types that the feed is asked for."""
        return (*self.on, *self.undo_on)

    def is_unwanted(self, event: Mapping[str, Any]) -> bool:
        return any(_is(_value_at(event, path), value) for path, value in self.unless.items())


def _value_at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _is(value: Any, wanted: Any) -> bool:
    return type(value) is type(wanted) and value == wanted  # for Python 0 == False


WELCOME = Route(
    name="welcome-package",
    on=("customer.created",),
    target="inventory",
    unless={"data.welcome": False},
    send={"package_type": "welcome_package"},
    undo_on=("customer.erased",),
)
ROUTES = {route.name: route for route in (WELCOME,)}

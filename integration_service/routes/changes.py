"""What has changed since the last file, and what may not change under a route's name."""

from collections.abc import Iterable
from typing import NamedTuple

from integration_service.routes.definitions import InventoryRoute, Route, WebhookRoute


class Identity(NamedTuple):
    """A route as the ledger remembers it."""

    name: str
    target: str
    order: str
    package_type: str | None


class Forbidden(NamedTuple):
    """One of these that has changed though its name has not."""

    name: str
    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return (
            f"route {self.name}: {self.key} can't change from {self.before} to {self.after}, since "
            "its deliveries are stored under this name; give the new route another name"
        )


class Changes(NamedTuple):
    new: tuple[str, ...]
    gone: tuple[str, ...]
    forbidden: tuple[Forbidden, ...]


def identity_of(route: Route) -> Identity:
    order = route.order if isinstance(route, WebhookRoute) else "none"
    package_type = route.package_type if isinstance(route, InventoryRoute) else None
    return Identity(route.name, route.target, order, package_type)


def changes(before: Iterable[Identity], after: Iterable[Identity]) -> Changes:
    """Compare the routes that a ledger remembers with those that a file has now."""
    old, new = {one.name: one for one in before}, {one.name: one for one in after}
    return Changes(
        new=tuple(sorted(new.keys() - old.keys())),
        gone=tuple(sorted(old.keys() - new.keys())),
        forbidden=tuple(
            Forbidden(name, key, getattr(old[name], key), getattr(new[name], key))
            for name in sorted(old.keys() & new.keys())
            for key in ("target", "order", "package_type")
            if getattr(old[name], key) != getattr(new[name], key)
        ),
    )

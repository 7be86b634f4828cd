"""The file of routes: read whole, with every mistake at once. Nothing in it is ever run."""

import hashlib
import ipaddress
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integration_service.routes.definitions import InventoryRoute, Route, WebhookRoute
from integration_service.routes.fields import label, read_route
from integration_service.routes.mistakes import (
    Mistake,
    Place,
    RoutesFileError,
    meant,
)
from integration_service.routes.toml_lines import line_of_error, lines_of

MOST_ROUTES = 50
# Ends of names that only a private network resolves.
_PRIVATE_NAMES = (".localhost", ".local", ".internal", ".home.arpa")

_DEFAULT = """\
# What events of the CRM lead to. docs/routes.md tells what else can be here.

[[route]]
name = "welcome-package"
on = ["customer.created"]
unless = { "data.welcome" = false }     # imported with --no-welcome
target = "inventory"
send = { package_type = "welcome_package" }
undo_on = ["customer.erased"]
"""


def default_text() -> str:
    """Return the built-in route as a file, to begin one's own with."""
    return _DEFAULT


@dataclass(frozen=True)
class RoutesFile:
    """A file without a mistake."""

    routes: tuple[Route, ...]
    places: tuple[Place, ...]

    def mistake(self, route: Route, key: str, text: str) -> Mistake:
        """Tell what is wrong with a key only once the routes are there."""
        return self.places[self.routes.index(route)].at(key).mistake(text)

    def insecure(self) -> list[Mistake]:
        """Name the routes whose events anybody on the way can read."""
        text = "http:// to a public host: anybody on the way can read the events; use https://"
        return [
            self.mistake(route, "url", text)
            for route in self.routes
            if isinstance(route, WebhookRoute) and _is_readable_on_the_way(route.url)
        ]


def read_routes(path: Path, targets: Collection[str]) -> RoutesFile:
    """Read a file of routes to these targets. Raises RoutesFileError with every mistake."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise RoutesFileError([_unreadable(path, error.strerror or "unknown reason")]) from None
    except UnicodeDecodeError:
        raise RoutesFileError([_unreadable(path, "it is no text in UTF-8")]) from None
    return parse_routes(text, targets, file=str(path))


def parse_routes(text: str, targets: Collection[str], *, file: str = "routes.toml") -> RoutesFile:
    """Read the text of a file of routes. Raises RoutesFileError with every mistake."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error).partition(" (at ")[0]
        mistake = Mistake(file, line_of_error(text, str(error)), "", f"no valid TOML: {message}")
        raise RoutesFileError([mistake]) from None
    place = Place(file, lines_of(text))
    tables = _tables(document, place)
    places = tuple(
        replace(place, path=("route", number), where=label(table, number))
        for number, table in enumerate(tables)
    )
    found = [read_route(*one, targets) for one in zip(tables, places, strict=True)]
    _refuse_doubles(tables, places)
    if place.mistakes:
        raise RoutesFileError(sorted(place.mistakes, key=lambda mistake: mistake.line))
    return RoutesFile(tuple(route for route in found if route is not None), places)


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def hash_of(routes: Sequence[Route]) -> str:
    """Return the SHA-256 of what the routes say, whatever the order and the comments."""
    documents = [
        asdict(route) | {"target": route.target, "on": sorted(route.on)}
        for route in sorted(routes, key=lambda route: route.name)
    ]
    return hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest()


def _unreadable(path: Path, reason: str) -> Mistake:
    return Mistake(str(path), 0, "", f"can't be read: {reason}")


def _tables(document: dict[str, Any], place: Place) -> list[dict[str, Any]]:
    """Return each `[[route]]`, and report what else there is, or that there is none."""
    for key in document.keys() - {"route"}:
        place.at(key).report(f"a file of routes holds only [[route]].{meant(key, ['route'])}")
    found = document.get("route")
    if isinstance(found, dict):
        place.at("route").report("write [[route]], in two pairs of brackets: there can be several")
    elif found is not None and not (isinstance(found, list) and all(map(_is_table, found))):
        place.at("route").report("must be written as [[route]], with its keys in the lines below")
    elif not found and len(document) == (found is not None):
        place.report(
            "there is no route. `python -m integration_service routes default` prints a file to "
            "begin with"
        )
    elif found and len(found) > MOST_ROUTES:
        place.at("route").at(MOST_ROUTES).report(f"a file holds at most {MOST_ROUTES} routes")
    else:
        return found or []
    return []


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _refuse_doubles(tables: Sequence[Mapping[str, Any]], places: Sequence[Place]) -> None:
    """Report each name that an earlier route has, and each route to Inventory but the first."""
    for number, (table, place) in enumerate(zip(tables, places, strict=True)):
        earlier = tables[:number]
        name, target = table.get("name"), table.get("target")
        if name is not None and name in [one.get("name") for one in earlier]:
            place.at("name").report("another route has this name")
        if target == InventoryRoute.target and target in [one.get("target") for one in earlier]:
            place.at("target").report("in this release at most one route leads to inventory")


def _is_readable_on_the_way(url: str) -> bool:
    """Say whether a call goes over networks of others in clear text, as far as its name tells."""
    if url.startswith("https:"):
        return False
    host = host_of(url)
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_NAMES)

"""What each key of a route may hold.

A wrong value is reported, and something of its type returned: with a mistake anywhere, no route of
the file is used.
"""

import ipaddress
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from integration_service.routes.definitions import (
    EVENT_TYPES,
    INVENTORY_NAME,
    INVENTORY_ON,
    INVENTORY_UNLESS,
    UNDO_ON,
    WILDCARDS,
    Condition,
    InventoryRoute,
    Order,
    Present,
    Route,
    Scalar,
    StartFrom,
    WebhookRoute,
)
from integration_service.routes.mistakes import Place, listed, meant, quoted, shown_key

SHARED_KEYS = ("name", "on", "when", "unless", "target", "start_from")
KEYS = {"inventory": ("send", "undo_on"), "webhook": ("url", "secret", "order")}
MOST_SECRETS = 5
LONGEST_URL = 2000
LAST_POSITION = 2**63 - 1

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_PACKAGE_TYPE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # as Inventory has it
_FIELD = re.compile(r"data(\.[^.\s]+)+|type|subject|source")
_ATTRIBUTES = ("data", "type", "subject", "source")
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_URL = re.compile(
    r"https?://(?P<host>[A-Za-z0-9._-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(:(?P<port>[0-9]{1,5}))?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)

Table = Mapping[str, Any]


def read_route(table: Table, place: Place, targets: Collection[str]) -> Route | None:
    """Read one `[[route]]`. Returns None where not even its target is known."""
    target = _choice(table.get("target"), targets, place.at("target"))
    _refuse_unknown_keys(table, place, target)
    shared: dict[str, Any] = {
        "name": _name(table.get("name"), place.at("name")),
        "when": _conditions(table.get("when", {}), place.at("when")),
        "unless": _conditions(table.get("unless", {}), place.at("unless")),
        "start_from": _start_from(table.get("start_from", "beginning"), place.at("start_from")),
    }
    if target == "inventory":
        return _inventory_route(table, place, shared)
    shared["on"] = _event_types(table.get("on"), place.at("on"))
    if target == "webhook":
        return _webhook_route(table, place, shared)
    return None


def _inventory_route(table: Table, place: Place, shared: dict[str, Any]) -> InventoryRoute:
    _exactly(table.get("on"), INVENTORY_ON, place.at("on"))
    _exactly(table.get("undo_on", list(UNDO_ON)), UNDO_ON, place.at("undo_on"))
    if shared["name"] not in {INVENTORY_NAME, ""}:
        place.at("name").report(
            f"must be {quoted(INVENTORY_NAME)}: in this release there is one route to inventory, "
            "and the ledger has its deliveries under that name"
        )
    _refuse_other_conditions(shared, place)
    package_type = _package_type(table.get("send"), place.at("send"))
    return InventoryRoute(on=INVENTORY_ON, package_type=package_type, **shared)


def _refuse_other_conditions(shared: dict[str, Any], place: Place) -> None:
    """Leave the CRM to say who wants a package: it is asked for these customers as well.

    After a break in the feed, and whenever both sides are compared, customers are read from the
    CRM's list, which knows no conditions.
    """
    if shared["when"]:
        place.at("when").report("a route to inventory has no conditions of its own; remove it")
    if shared["unless"] != INVENTORY_UNLESS:
        place.at("unless").report('a route to inventory needs { "data.welcome" = false }')
    if isinstance(shared["start_from"], int):
        place.at("start_from").report('must be "beginning" or "now" for a route to inventory')


def _webhook_route(table: Table, place: Place, shared: dict[str, Any]) -> WebhookRoute:
    if shared["name"] == INVENTORY_NAME:
        place.at("name").report("is the name of the route to inventory; choose another")
    return WebhookRoute(
        url=_url(table.get("url"), place.at("url")),
        secrets=_secrets(table.get("secret"), place.at("secret")),
        order=_order(table.get("order", "none"), place.at("order")),
        **shared,
    )


def _refuse_unknown_keys(table: Table, place: Place, target: str) -> None:
    allowed = (*SHARED_KEYS, *(KEYS[target] if target else sum(KEYS.values(), ())))
    for key in table:
        others = [name for name, keys in KEYS.items() if key in keys]
        if key in allowed:
            continue
        if others:
            text = f"only a route to the target {others[0]} has this key"
        else:
            text = f"is no key of a route.{meant(key, allowed)} Allowed: {listed(allowed)}"
        place.at(key).report(text)


def _choice(given: Any, allowed: Collection[str], place: Place) -> str:
    if isinstance(given, str) and given in allowed:
        return given
    hint = meant(given, allowed) if isinstance(given, str) else ""
    missing = "is missing; it " if given is None else ""
    place.report(f"{missing}must be one of: {', '.join(map(quoted, allowed))}.{hint}")
    return ""


def _name(given: Any, place: Place) -> str:
    if isinstance(given, str) and _NAME.fullmatch(given):
        return given
    missing = "is missing; it " if given is None else ""
    place.report(f'{missing}must have 1 to 40 of a to z, 0 to 9 and -, as in "web-shop"')
    return ""


def _event_types(given: Any, place: Place) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        missing = "is missing; it " if given is None else ""
        place.report(f'{missing}must be a list of event types, as in ["customer.created"]')
        return ()
    allowed = (*EVENT_TYPES, *WILDCARDS)
    for number, one in enumerate(given):
        here = place.at(number)
        if not isinstance(one, str):
            here.report("an event type is a text in quotes")
        elif one not in allowed:
            here.report(
                f"there is no event type {quoted(one)}.{meant(one, allowed)} "
                f"Allowed: {', '.join(allowed)}"
            )
        elif one in given[:number]:
            here.report(f"{one} is there twice")
    return tuple(one for one in given if isinstance(one, str))


def _exactly(given: Any, wanted: tuple[str, ...], place: Place) -> None:
    if given != list(wanted):
        missing = "is missing; it " if given is None else ""
        text = ", ".join(map(quoted, wanted))
        place.report(f"{missing}must be [{text}]: a route to inventory can have nothing else")


def _conditions(given: Any, place: Place) -> dict[str, Condition]:
    if not isinstance(given, dict):
        place.report('must be a table, as in { "data.company" = "Example" }')
        return {}
    return {path: _condition(path, value, place.at(path)) for path, value in given.items()}


def _condition(path: str, given: Any, place: Place) -> Condition:
    if not _FIELD.fullmatch(path):
        first = path.partition(".")[0]
        hint = "" if first in _ATTRIBUTES else meant(first, _ATTRIBUTES)
        place.report(
            'must be the path of a field in quotes, as in "data.company"; '
            f"or type, subject, source.{hint}"
        )
    elif isinstance(given, dict):
        if given.keys() == {"present"} and isinstance(given["present"], bool):
            return Present(given["present"])
        place.report("must be { present = true } or { present = false }, if it is a table")
    elif isinstance(given, list):
        if given and all(map(_is_scalar, given)):
            return tuple(given)
        place.report("must list one or more texts, numbers, true or false: any of them will do")
    elif not _is_scalar(given):
        place.report("must be a text, a number, true or false; write a date or a time in quotes")
    else:
        value: Scalar = given
        return value
    return ""


def _is_scalar(given: Any) -> bool:
    return isinstance(given, str | int) or (isinstance(given, float) and math.isfinite(given))


def _start_from(given: Any, place: Place) -> StartFrom:
    match given:
        case "beginning":
            return "beginning"
        case "now":
            return "now"
        case int() if not isinstance(given, bool) and 0 <= given <= LAST_POSITION:
            return given
    hint = meant(given, ("beginning", "now")) if isinstance(given, str) else ""
    place.report(f'must be "beginning", "now", or a position of the feed, 0 or more.{hint}')
    return "beginning"


def _package_type(send: Any, place: Place) -> str:
    if not isinstance(send, dict):
        missing = "is missing; it " if send is None else ""
        place.report(f'{missing}must be a table, as in {{ package_type = "welcome_package" }}')
        return ""
    for key in send.keys() - {"package_type"}:
        place.at(key).report(f"only package_type can be sent.{meant(key, ['package_type'])}")
    given = send.get("package_type")
    if isinstance(given, str) and _PACKAGE_TYPE.fullmatch(given):
        return given
    missing = "is missing; it " if given is None else ""
    place.at("package_type").report(
        f"{missing}must have 1 to 64 letters, digits, or . _ -, as Inventory takes it"
    )
    return ""


def _order(given: Any, place: Place) -> Order:
    return "subject" if _choice(given, ("none", "subject"), place) == "subject" else "none"


def _url(given: Any, place: Place) -> str:
    """Read an address. It is never shown: there may be a secret in it."""
    if isinstance(given, str) and not (fault := _fault_of_url(given)):
        return given
    if given is None:
        place.report('is missing; it must be an address, as in "https://shop.example.com/hooks"')
    elif not isinstance(given, str):
        place.report("must be an address in quotes")
    else:
        place.report(fault)
    return ""


def _fault_of_url(url: str) -> str:
    authority = re.match(r"https?://([^/?#]*)", url)
    if authority is None:
        return "must begin with https:// or http://"
    if "@" in authority[1]:
        return "must hold no user and password; the receiver knows us by the signature"
    if "#" in url:
        return "must have no part behind a #, which is never sent"
    if len(url) > LONGEST_URL:
        return f"must have at most {LONGEST_URL} characters"
    found = _URL.fullmatch(url)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:  # noqa: PLR2004 (ports)
        return 'must be an address in ASCII, as in "https://shop.example.com:8443/hooks"'
    return "" if found["ipv6"] is None or _is_ipv6(found["ipv6"]) else "must have a valid host"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _secrets(given: Any, place: Place) -> tuple[str, ...]:
    """Read the names of secrets. What is no name is never shown: it may be the secret."""
    names = given if isinstance(given, list) else [given]
    if given is None:
        place.report("is missing; it must be the name of a secret, as in " + quoted("SHOP_SECRET"))
    elif not 1 <= len(names) <= MOST_SECRETS:
        place.report(f"must list 1 to {MOST_SECRETS} names")
    elif not all(isinstance(name, str) and _SECRET.fullmatch(name) for name in names):
        place.report(
            "must be the name of a setting or of a file in /run/secrets, of A to Z, 0 to 9 and _, "
            'as in "SHOP_SECRET"; the secret itself is never in this file'
        )
    elif len(set(names)) < len(names):
        place.report("names a secret twice")
    else:
        return tuple(names)
    return ()


def label(table: Table, number: int) -> str:
    """Name a route in messages, by its place where its name is no name."""
    name = table.get("name")
    is_name = isinstance(name, str) and _NAME.fullmatch(name)
    return f"route {shown_key(str(name))}" if is_name else f"route {number + 1}"

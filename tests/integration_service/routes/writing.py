"""Routes as hypothesis makes them, and files that say so in one of the ways that TOML has."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from integration_service.routes.definitions import (
    EVENT_TYPES,
    WELCOME,
    WILDCARDS,
    InventoryRoute,
    Present,
    Route,
    WebhookRoute,
)

TARGETS = ("inventory", "webhook")
WEBHOOK = """\
[[route]]
name = "web-shop"
on = ["customer.*", "ticket.status_changed"]
target = "webhook"
url = "https://shop.example.com/hooks/crm"
secret = "WEB_SHOP_SECRET"
"""

_names = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_scalars = _texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(-1e9, 1e9)
_conditions = st.dictionaries(
    st.from_regex(r"data(\.[a-z#\[\]=\"'{},]{1,6}){1,2}|type|subject|source", fullmatch=True),
    _scalars
    | st.lists(_scalars, min_size=1, max_size=3).map(tuple)
    | st.builds(Present, st.booleans()),
    max_size=3,
)
_starts = st.sampled_from(["beginning", "now"]) | st.integers(0, 2**63 - 1)
_shared: dict[str, st.SearchStrategy[Any]] = {
    "when": _conditions,
    "unless": _conditions,
    "start_from": _starts,
}
_inventory_routes = st.builds(
    InventoryRoute,
    name=st.just(WELCOME.name),
    on=st.just(WELCOME.on),
    package_type=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    unless=st.just(WELCOME.unless),
    start_from=st.sampled_from(["beginning", "now"]),
)
_webhook_routes = st.builds(
    WebhookRoute,
    name=_names.filter(lambda name: name != WELCOME.name),
    on=st.lists(st.sampled_from(EVENT_TYPES + WILDCARDS), min_size=1, unique=True).map(tuple),
    url=st.from_regex(
        r"https?://([a-z0-9.-]{1,9}|\[::1\])(:[1-9][0-9]{0,3})?/[a-z%/-]{0,9}", fullmatch=True
    ),
    secrets=st.lists(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), min_size=1, max_size=5, unique=True
    ).map(tuple),
    order=st.sampled_from(["none", "subject"]),
    **_shared,
)
some_routes: st.SearchStrategy[list[Route]] = st.lists(
    _inventory_routes | _webhook_routes,
    min_size=1,
    max_size=4,
    unique_by=lambda route: route.name,
)

Write = Callable[[Mapping[str, Any]], str]


def text_of(routes: list[Route], write: Write) -> str:
    return "".join(write(document_of(route)) for route in routes)


def document_of(route: Route) -> dict[str, Any]:
    """Return the keys and values of a route's table."""
    shown = {
        "name": route.name,
        "on": list(route.on),
        "when": dict(route.when),
        "unless": dict(route.unless),
        "target": route.target,
        "start_from": route.start_from,
    }
    if isinstance(route, WebhookRoute):
        return shown | {"url": route.url, "secret": list(route.secrets), "order": route.order}
    return shown | {"send": dict(route.send), "undo_on": list(route.undo_on)}


def inline(table: Mapping[str, Any]) -> str:
    """Write a route with each value in one line."""
    return "[[route]]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def spread(table: Mapping[str, Any]) -> str:
    """Write a route with comments, dotted keys, and lists over several lines."""
    text = "\n# [[route]]\n[[ route ]] # = [\n"
    for key, value in table.items():
        if isinstance(value, dict):
            text += "".join(
                f"{key} . {_text(name)} = {_value(one)} # {{\n" for name, one in value.items()
            )
        elif isinstance(value, list):
            text += (
                f"'{key}' = [ # ]\n" + "".join(f"  {_value(one)}, # ,\n" for one in value) + "]\n"
            )
        elif isinstance(value, str):
            text += f'"{key}" = """\\\n   {_text(value)[1:-1]}"""\r\n'
        else:
            text += f"{key} = {_value(value)}\n"
    return text


def in_tables(table: Mapping[str, Any]) -> str:
    """Write a route with its tables below headers of their own."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    text = inline(plain)
    for key, value in table.items():
        if isinstance(value, dict):
            text += f"[route.{key}]\n" + "".join(
                f"{_text(name)} = {_value(one)}\n" for name, one in value.items()
            )
    return text


def _value(value: Any) -> str:
    match value:
        case Present(present):
            return f"{{ present = {_value(present)} }}"
        case dict():
            pairs = (f"{_text(name)} = {_value(one)}" for name, one in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case str():
            return _text(value)
        case bool():
            return str(value).lower()
    return repr(value)


def _text(text: str) -> str:
    # JSON's, but for DEL, which TOML wants escaped, and for pairs of surrogates, which it has not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

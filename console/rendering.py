"""Templates, and how instants, numbers and commands are written in them."""

import hashlib
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from console.platform import Answer, Down, Refused, Sent
from service_kit.process import clock

HERE = Path(__file__).parent
STATIC = HERE / "static"
SERVED = {".css", ".js"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# What Inventory says to programs at the end of a refusal, and nobody asks who reads a page.
_FOR_CALLERS = " request_id is that request's."

# How a state is shown: its tint and its word.
SIGNS = {
    "pending": ("busy", "pending"),
    "retrying": ("wait", "retrying"),
    "delivered": ("good", "delivered"),
    "skipped": ("rest", "skipped"),
    "dead": ("bad", "dead"),
    "undone": ("rest", "undone"),
    "backordered": ("wait", "waiting for stock"),
    "packed": ("busy", "packed"),
    "shipped": ("good", "shipped"),
    "cancelled": ("rest", "cancelled"),
    "returned": ("rest", "returned"),
    "open": ("busy", "open"),
    "in_progress": ("busy", "in progress"),
    "on_hold": ("rest", "on hold"),
    "resolved": ("good", "resolved"),
    "closed": ("rest", "closed"),
    "low": ("rest", "low"),
    "normal": ("rest", "normal"),
    "high": ("wait", "high"),
    "urgent": ("bad", "urgent"),
    "running": ("busy", "running"),
    "finished": ("good", "finished"),
    "failed": ("bad", "failed"),
    "interrupted": ("wait", "interrupted"),
    "gap": ("bad", "events are gone"),
}


def instant(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def ago(value: str | datetime, now: datetime | None = None) -> str:
    """Say how long ago an instant was, or how far off it is: `3 min ago`, `in 2 h`, `5 Jan`."""
    at, now = instant(value), now or clock.now()
    seconds = (now - at).total_seconds()
    size = abs(seconds)
    if size < _MINUTE:
        return "just now" if seconds >= 0 else "in a moment"
    if size < _HOUR:
        text = f"{int(size // _MINUTE)} min"
    elif size < _DAY:
        text = f"{int(size // _HOUR)} h"
    elif size < 7 * _DAY:
        days = int(size // _DAY)
        text = "1 day" if days == 1 else f"{days} days"
    else:
        year = "" if at.year == now.year else f" {at.year}"
        return f"{at.day} {at:%b}{year}"
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def time_of(value: str | datetime | None, form: str = "ago") -> Markup:
    """Write an instant for a reader, with the whole of it, in UTC, on hover.

    `form` is ago, or one that console.js writes again in the reader's zone: clock (`18:46:36`),
    full (`28 Nov 2026, 18:46`) or exact (`28 Nov, 18:46:36`).
    """
    if value is None:
        return Markup("-")
    at = instant(value)
    shown = {
        "ago": ago(at),
        "clock": f"{at:%H:%M:%S}",
        "full": f"{at.day} {at:%b %Y, %H:%M}",
        "exact": f"{at.day} {at:%b, %H:%M:%S}",
    }[form]
    mark = Markup("") if form == "ago" else Markup(' data-form="{}"').format(form)
    return Markup('<time datetime="{}" title="{} UTC"{}>{}</time>').format(
        clock.rfc3339(at), f"{at:%Y-%m-%d %H:%M:%S}", mark, shown
    )


def postal(address: Mapping[str, Any] | None) -> str:
    """Write a postal address in one line."""
    if address is None:
        return ""
    city = " ".join(filter(None, (address["postal_code"], address["city"])))
    return ", ".join(filter(None, (*address["lines"], city, address["region"], address["country"])))


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def span(seconds: float | None) -> str:
    """Write a length of time as a clock does: `0:42` hours and minutes, or days."""
    if seconds is None:
        return "-"
    left = timedelta(seconds=abs(seconds))
    if left.days:
        return "1 day" if left.days == 1 else f"{left.days} days"
    minutes = left.seconds // _MINUTE
    return f"{minutes // 60}:{minutes % 60:02}"


def cause(error: str | None, service: str = "Inventory") -> str:
    """Write why a delivery failed as a sentence of its own: the API says what `it` did."""
    text = (error or "It was refused.").removesuffix(_FOR_CALLERS)
    return f"{service}{text[2:]}" if text.startswith("it ") else text[:1].upper() + text[1:]


def sign(state: str) -> Markup:
    """Write a state as a dot, a word and a tint."""
    tint, word = SIGNS.get(state, ("rest", state.replace("_", " ")))
    return Markup('<span class="sign {}">{}</span>').format(tint, word)


def command(sent: Sent, addresses: Mapping[str, str]) -> str:
    """Write a call as a command for a shell. The token stands in $TOKEN."""
    parts = ["curl"]
    if sent.method != "GET":
        parts += ["-X", sent.method]
    parts.append('-H "Authorization: Bearer $TOKEN"')
    if sent.body is not None:
        parts += ["-H 'Content-Type: application/json'", "-d", shlex.quote(sent.body)]
    if sent.file is not None:
        parts += ["-H 'Content-Type: text/csv'", f"--data-binary @{shlex.quote(sent.file)}"]
    parts.append(shlex.quote(addresses[sent.service] + sent.address))
    return " ".join(parts)


def isolated(value: Any) -> Markup:
    """Write somebody's text so that its direction changes nothing around it."""
    return Markup("<bdi>{}</bdi>").format("" if value is None else value)


@cache
def versions() -> dict[str, str]:
    """Return the static files, each with what its address changes with."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in STATIC.iterdir()
        if path.suffix in SERVED
    }


def version_of(name: str) -> str:
    return versions()[name]


def with_query(path: str, **query: Any) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        time=time_of,
        ago=ago,
        number=number,
        span=span,
        sign=sign,
        cause=cause,
        postal=postal,
        bdi=isolated,
        segment=_segment,
    )
    environment.tests.update(
        answered=lambda value: isinstance(value, Answer),
        refused=lambda value: isinstance(value, Refused),
        down=lambda value: isinstance(value, Down),
    )
    environment.globals.update(version_of=version_of, with_query=with_query, escape=escape)
    return environment


def _segment(value: Any) -> str:
    return quote(str(value), safe="")

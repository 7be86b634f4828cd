"""Checks that events still keep what the last release has promised to those who read them.

    python -m tools.check_events            prints each breach; exits 1 for any
    python -m tools.check_events --release  stores the present schemas as this version's

Readers pass over fields and types that they do not know, so those may be added. Whatever a release
says of a field that it has must stay true: a reader may have a column of just that length, or one
case for each of those values. Nor may a schema get narrower: the feed still has the past events,
which no longer change.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from crm_api.published.schemas import events_schema
from service_kit import VERSION

Json = dict[str, Any]

RELEASES = Path(__file__).parents[1] / "tests" / "contracts" / "events"
# They restrict nothing.
_REMARKS = {"$schema", "$id", "$defs", "title", "description", "examples", "default", "deprecated"}
_MOST = {"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"}
_LEAST = {"minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"}
_EXACT = {"format", "pattern", "multipleOf", "uniqueItems"}
_SHAPE = {"type", "const", "enum", "properties", "required", "additionalProperties", "items"}
_KNOWN = _REMARKS | _MOST | _LEAST | _EXACT | _SHAPE
_WORDS = {
    "null": "null",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "an object",
    None: "anything",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.check_events")
    about = "store the present schemas as those of this version"
    parser.add_argument("--release", action="store_true", help=about)
    is_release = parser.parse_args(arguments).release
    released, present = last_release(), events_schema()
    found = breaches(json.loads(released.read_text()), present)
    for breach in found:
        print(f"{breach} (as of {released.stem})")
    # A new major version may break readers; what is printed is for its changelog.
    if found and _major(VERSION) == _major(released.stem):
        print('It would break a reader of events: see "Change an event" in CONTRIBUTING.md.')
        return 1
    if is_release:
        (RELEASES / f"{VERSION}.json").write_text(json.dumps(present, indent=2) + "\n")
    return 0


def _major(version: str) -> str:
    return version.partition(".")[0]


def last_release(folder: Path = RELEASES) -> Path:
    """Find the schemas of the newest version: 0.10.0 is newer than 0.9.0."""
    return max(folder.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])


def breaches(released: Json, present: Json) -> list[str]:
    """Compare two documents of all events. Returns what does not hold any more, in words."""
    before, now = released["$defs"], present["$defs"]
    found = {f"{name}: there is no such event any more" for name in before.keys() - now.keys()}
    for name in before.keys() & now.keys():
        for promised, sent, words in (
            (before[name], now[name], _TO_READERS),
            (now[name], before[name], _BY_PAST_EVENTS),
        ):
            compared = _Comparison(promised.get("$defs", {}), sent.get("$defs", {}), words)
            found |= {f"{name}: {breach}" for breach in compared.of(promised, sent)}
    return sorted(found)


class _Words(NamedTuple):
    """How a breach is told: what may come and what was promised, in this order."""

    may_be: str
    has: str
    left_out: str
    gone: str | None


_TO_READERS = _Words(
    "may now be {}, and was {}", "has {}, and had {}", "may now be left out", "is gone"
)
# They lack the fields that are new, which is no breach.
_BY_PAST_EVENTS = _Words(
    "may be {} in past events, and is now {}",
    "had {} in past events, and has {}",
    "is required now, and past events may lack it",
    None,
)


@dataclass(frozen=True)
class _Comparison:
    """Compares what is sent with what is promised, each with the parts that it refers to."""

    parts_promised: Json
    parts_sent: Json
    words: _Words

    def of(self, promised: Json, sent: Json, place: str = "") -> Iterator[str]:
        """Yield each way in which what is sent may be none of what is promised."""
        choices = list(_choices(promised, self.parts_promised))
        for choice in _choices(sent, self.parts_sent):
            alike = [one for one in choices if _is_kind_of(choice, one)]
            if not alike:
                kinds = " or ".join(map(_kind, choices))
                yield self._may_be(place, _kind(choice), kinds)
                continue
            differences = [list(self._of_choice(one, choice, place)) for one in alike]
            yield from min(differences, key=len)

    def _of_choice(self, promised: Json, sent: Json, place: str) -> Iterator[str]:
        for keyword in sorted((promised.keys() | sent.keys()) - _KNOWN):
            yield f"{_named(place)} has `{keyword}`, which can't be compared"
        yield from self._of_values(promised, sent, place)
        yield from self._of_limits(promised, sent, place)
        yield from self._of_members(promised, sent, place)
        yield from self._of_others(promised, sent, place)
        if "items" in promised:
            yield from self.of(promised["items"], sent.get("items", {}), f"{place}[]")

    def _of_values(self, promised: Json, sent: Json, place: str) -> Iterator[str]:
        allowed, are = _values(promised), _values(sent)
        if allowed is None:
            return
        if are is None:
            yield self._may_be(place, "any value", f"one of {_listed(allowed)}")
        elif added := [value for value in are if value not in allowed]:
            yield self._may_be(place, _listed(added), f"one of {_listed(allowed)}")

    def _of_limits(self, promised: Json, sent: Json, place: str) -> Iterator[str]:
        for keyword in sorted(promised.keys() & (_MOST | _LEAST | _EXACT)):
            limit, found = promised[keyword], sent.get(keyword)
            if found == limit:
                continue
            is_beyond = keyword in _EXACT or found is None
            if is_beyond or (found > limit) == (keyword in _MOST):
                shown = f"no {keyword}" if found is None else f"the {keyword} {found}"
                yield f"{_named(place)} {self.words.has.format(shown, limit)}"

    def _of_members(self, promised: Json, sent: Json, place: str) -> Iterator[str]:
        members = sent.get("properties", {})
        for name, schema in promised.get("properties", {}).items():
            inner = _within(place, name)
            if name not in members and self.words.gone:
                yield f"{inner} {self.words.gone}"
            elif name in promised.get("required", ()) and name not in sent.get("required", ()):
                yield f"{inner} {self.words.left_out}"
            if name in members:
                yield from self.of(schema, members[name], inner)

    def _of_others(self, promised: Json, sent: Json, place: str) -> Iterator[str]:
        """Compare the members without a name, where it is promised what they are."""
        schema = promised.get("additionalProperties", True)
        if schema is True:
            return
        members = sent.get("properties", {})
        unnamed = sorted(members.keys() - promised.get("properties", {}).keys())
        others = {name: members[name] for name in unnamed}
        if (rest := sent.get("additionalProperties", True)) is not False:
            others["*"] = {} if rest is True else rest
        for name, found in others.items():
            inner = _within(place, name)
            if schema is False:
                yield self._may_be(inner, "there", "not allowed")
            else:
                yield from self.of(schema, found, inner)

    def _may_be(self, place: str, found: str, promised: str) -> str:
        return f"{_named(place)} {self.words.may_be.format(found, promised)}"


def _choices(schema: Json, parts: Json) -> Iterator[Json]:
    """List what a value may be, each without `anyOf`, references and lists of types."""
    if "$ref" in schema:
        part = parts[schema["$ref"].removeprefix("#/$defs/")]
        schema = part | {name: said for name, said in schema.items() if name != "$ref"}
        yield from _choices(schema, parts)
    elif "anyOf" in schema:
        around = {name: said for name, said in schema.items() if name != "anyOf"}
        for choice in schema["anyOf"]:
            yield from _choices(around | choice, parts)
    elif isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield {**schema, "type": kind}
    else:
        yield schema


def _is_kind_of(sent: Json, promised: Json) -> bool:
    kind, allowed = sent.get("type"), promised.get("type")
    return allowed in {None, kind} or (kind, allowed) == ("integer", "number")


def _values(schema: Json) -> list[Any] | None:
    """Return the values that are allowed, or None where they are not listed."""
    listed: list[Any] | None = [schema["const"]] if "const" in schema else schema.get("enum")
    return listed


def _within(place: str, name: str) -> str:
    return f"{place}.{name}".removeprefix(".")


def _named(place: str) -> str:
    return place or "the event"


def _listed(values: list[Any]) -> str:
    return ", ".join(json.dumps(value) for value in values)


def _kind(schema: Json) -> str:
    return _WORDS[schema.get("type")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

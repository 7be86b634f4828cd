"""Refuses unknown and doubled query parameters: a mistyped filter would match everybody."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from inspect import isfunction
from typing import Any, get_origin, get_type_hints
from urllib.parse import parse_qsl

from fastapi import params
from starlette.types import Scope

from service_kit.problems import MAX_ERRORS, invalid

# Only names up to this length, which all of ours have, get a suggestion.
_LONGEST_NAME = 40


def query_parameters(call: Callable[..., Any]) -> dict[str, bool]:
    """List the query parameters of a handler and its dependencies; true for those that may repeat.

    Each must say `Query` in its annotation; one that does not is refused as unknown.
    """
    found: dict[str, bool] = {}
    for name, hint in get_type_hints(call, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, params.Query):
                found[extra.alias or name] = get_origin(hint.__origin__) is list
            elif isinstance(extra, params.Depends) and isfunction(extra.dependency):
                found |= query_parameters(extra.dependency)
    return found


def read_query(scope: Scope, allowed: Mapping[str, bool]) -> dict[str, str]:
    """Return the parameters that were sent.

    Raises InvalidRequest for unknown parameters, and for those given twice that may not repeat.
    """
    if not scope["query_string"]:
        return {}
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    found = dict(pairs)
    if len(found) < len(pairs) or not found.keys() <= allowed.keys():
        errors = list(_errors(Counter(name for name, _ in pairs), allowed))
        if errors:
            raise invalid(errors)
    return found


def _errors(sent: Mapping[str, int], allowed: Mapping[str, bool]) -> Iterator[dict[str, Any]]:
    listed = 0
    for name, times in sent.items():
        if name in allowed and (times == 1 or allowed[name]):
            continue
        reason = "Must be given once"
        if name not in allowed:
            # No suggestion for those that are not listed.
            reason = "Unknown parameter" + (_meant(name, allowed) if listed < MAX_ERRORS else "")
        listed += 1
        yield {"type": "query", "loc": ["query", name], "msg": reason}


def _meant(name: str, allowed: Mapping[str, bool]) -> str:
    near = get_close_matches(name, allowed, n=1) if len(name) <= _LONGEST_NAME else []
    return f"; did you mean {near[0]}?" if near else ""

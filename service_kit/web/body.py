"""A request's budget: bounds on its body, and a stricter reading of its JSON than Python's own."""

import json
from math import isinf
from typing import Any

import pydantic_core
from fastapi import Request
from starlette.types import Message, Receive, Scope

from service_kit.web.problems import BodyTooLarge, UnsupportedMediaType

MAX_BODY_BYTES = 1024 * 1024
MAX_VALUES = 20_000  # a batch of 500 whole customers has fewer
MAX_DEPTH = 64
MAX_ENTRIES = 100  # of one object; no schema names as many

_TOO_MANY = f"it has more than {MAX_VALUES} values"


def check_body_headers(request: Request) -> None:
    """Refuse by its headers a body that is too large or is not JSON."""
    headers = request.headers
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > MAX_BODY_BYTES):  # noqa: PLR2004
        raise BodyTooLarge(MAX_BODY_BYTES)
    if length in {"", "0"} and "transfer-encoding" not in headers:
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise UnsupportedMediaType("Send the body as application/json.")


class _Counted:
    """Receives no more than a body may have."""

    __slots__ = ("_receive", "_received")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY_BYTES:
            raise BodyTooLarge(MAX_BODY_BYTES)
        return message


class StrictRequest(Request):
    """Counts a body as it comes, and reads it as the JSON of RFC 8259.

    No NaN or Infinity, no other encoding than UTF-8, no name twice in one object, of which two
    readers may take different ones, and no more than the budget allows.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, _Counted(receive))

    async def json(self) -> Any:
        body = await self.body()
        try:
            return _read(body)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


def _read(body: bytes) -> Any:
    """Read JSON once. Raises ValueError for what is none, or is over the budget."""
    outside = _outside_texts(body)
    # Before they are made: each is an object, and half a million take a third of a second. What is
    # empty counts twice.
    values = 1 + outside.count(b",") + outside.count(b"[") + outside.count(b"{")
    if values > MAX_VALUES:
        raise ValueError(_TOO_MANY)
    value = pydantic_core.from_json(body, allow_inf_nan=False)
    if _count_names(value) != outside.count(b":"):
        raise ValueError("an object has the same name twice")
    return value


def _outside_texts(body: bytes) -> bytes:
    """Leave of JSON what stands outside its texts: brackets, commas, colons and numbers."""
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') > 4 * MAX_VALUES:  # a value has a name and a text at most
        raise ValueError(_TOO_MANY)
    return b"".join(unescaped.split(b'"')[::2])


def _count_names(value: Any) -> int:
    """Count the names in all objects, level by level. Raises ValueError for what is too much."""
    names = depth = 0
    level = [value]
    while level:
        within: list[Any] = []
        has_depth = False
        for one in level:
            if isinstance(one, dict):
                if len(one) > MAX_ENTRIES:
                    raise ValueError(f"an object has more than {MAX_ENTRIES} entries")
                names += len(one)
                within += one.values()
                has_depth = True
            elif isinstance(one, list):
                within += one
                has_depth = True
            elif isinstance(one, float) and isinf(one):
                raise ValueError("a number is too large")
        depth += has_depth
        level = within
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}")
    return names

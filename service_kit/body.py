"""Bounds on a request's body, and a stricter reading of its JSON than Python's own."""

import json
import re
from typing import Any

import pydantic_core
from fastapi import Request
from starlette.types import Message, Receive, Scope

from service_kit.problems import BodyTooLarge, UnsupportedMediaType

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 32

# What a number has that is too large for a float, which reading makes infinite: a long exponent, or
# very many digits.
_MAY_BE_INFINITE = re.compile(rb"[eE]\+?[0-9]{2}|[0-9]{300}")


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

    No NaN or Infinity, no other encoding than UTF-8, a bound on nesting, and no name twice in one
    object, of which two readers may take different ones.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, _Counted(receive))

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = pydantic_core.from_json(body, allow_inf_nan=False)
            if _MAY_BE_INFINITE.search(body):
                json.dumps(value, allow_nan=False)
            if body.count(b":") > 1:
                _EACH_NAME_ONCE.decode(body.decode())
            if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
                _check_depth(value)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
        return value


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("an object has the same name twice")


_EACH_NAME_ONCE = json.JSONDecoder(object_pairs_hook=_refuse_repetition)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH}")

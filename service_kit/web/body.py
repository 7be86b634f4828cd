"""A request's body: a budget for it, a stricter reading of JSON, and the items of a batch."""

import asyncio
import json
from collections.abc import Sequence
from itertools import chain
from math import isinf
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError, WithJsonSchema
from starlette.types import Message, Receive, Scope

from service_kit.problems import (
    MAX_ERRORS_OF_ITEM,
    BodyTooLarge,
    Problem,
    UnsupportedMediaType,
    invalid,
)

MAX_BODY_BYTES = 1024 * 1024
MAX_VALUES = 20_000  # a batch of 500 whole customers has fewer
MAX_DEPTH = 64
MAX_ENTRIES = 100  # of one object; no schema has as many
MAX_DIGITS = 100  # of an integer; reading one takes the square of them
_TOO_DEEP = f"it is nested deeper than {MAX_DEPTH}"

LARGEST_BATCH = 500
ITEMS_AT_ONCE = 10
# service_kit.web.openapi describes it under this name.
ItemProblem = Annotated[
    dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/ItemProblem"})
]
Model = TypeVar("Model", bound=BaseModel)


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


def allow_slow_body(request: Request) -> None:
    """Let a body take longer than the deadline, as long as it comes; process/protocol.py looks."""
    request.scope["slow_body"] = True


def _limit_body(scope: Scope, receive: Receive) -> Receive:
    """Receive a body of at most the allowed size, and count it among its caller's."""
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        if length := len(message.get("body", b"")):
            received += length
            if received > MAX_BODY_BYTES:
                raise BodyTooLarge(MAX_BODY_BYTES)
            scope["slot"].keep(length)
            scope["app"].state.limits.count_body(scope, received)
        return message

    return receive_counted


class StrictRequest(Request):
    """Limits the size of a body while it is received, and parses it as the JSON of RFC 8259.

    No NaN or Infinity, no other encoding than UTF-8, no name twice in one object, of which two
    readers may take different ones, and no more than the budget allows.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, _limit_body(scope, receive))

    async def json(self) -> Any:
        body = await self.body()
        try:
            return _read(body)
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


def _read(body: bytes) -> Any:
    """Parse JSON. Raises ValueError if it is invalid or over the budget."""
    nested = body.count(b"[") + body.count(b"{")
    if nested + body.count(b",") >= MAX_VALUES:
        _check_count(body)
    try:
        value = _DECODER.decode(body.decode())
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if nested > MAX_DEPTH:
        _check_depth(value)
    if rb"\u" in body:
        json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate
    return value


def _check_count(body: bytes) -> None:
    """Count values before they are made: half a million take a third of a second.

    What stands in texts does not count. What is empty counts twice.
    """
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # A value has a name and a text at most.
    if unescaped.count(b'"') <= 4 * MAX_VALUES:
        outside = b"".join(unescaped.split(b'"')[::2])
        if outside.count(b",") + outside.count(b"[") + outside.count(b"{") < MAX_VALUES:
            return
    raise ValueError(f"it has more than {MAX_VALUES} values")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = list(chain.from_iterable(inner))
    raise ValueError(_TOO_DEEP)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_ENTRIES:
        raise ValueError(f"an object has more than {MAX_ENTRIES} entries")
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has the same name twice")
    return made


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("a number is too large")
    return number


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant
)


async def read_items(model: type[Model], items: Sequence[Any]) -> list[Model | Problem]:
    """Validate each item of a batch for itself; one that does not fit becomes a problem.

    Others have their turn after a few of them: the worst 500 take 0.7 s.
    """
    read: list[Model | Problem] = []
    for begin in range(0, len(items), ITEMS_AT_ONCE):
        if begin:
            await asyncio.sleep(0)
        read += [_read_item(model, item) for item in items[begin : begin + ITEMS_AT_ONCE]]
    return read


def _read_item(model: type[Model], item: Any) -> Model | Problem:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return invalid(errors, MAX_ERRORS_OF_ITEM)


def merge(read: Sequence[Any], done: Sequence[Any]) -> list[Any]:
    """Merge the results of the valid items with the problems of the others, in order."""
    results = iter(done)
    return [item if isinstance(item, Problem) else next(results) for item in read]

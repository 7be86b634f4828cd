"""Forms as browsers send them without a script."""

from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qsl

from starlette.requests import Request

# A ticket's description of 20,000 characters, each of them encoded as twelve.
LARGEST = 512 * 1024
MOST_FIELDS = 1000
_READ = "console.form"


class TooLarge(Exception):
    """A form is larger than any of the console's."""


class Form:
    """The fields of a form; one that is not there is an empty text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields.get(name, [""])[-1]

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def items(self) -> list[tuple[str, str]]:
        """List every field and value, as they came."""
        return [(name, value) for name, values in self._fields.items() for value in values]


async def read_form(request: Request) -> Form:
    """Read a form, once for each request. Raises TooLarge; what is no form has no fields.

    Its bytes count among those that the parent app holds for all its callers.
    """
    if (known := request.scope.get(_READ)) is not None:
        return cast("Form", known)
    body = b""
    slot = request.scope.get("slot")
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise TooLarge
        if slot is not None:
            slot.keep(len(piece))
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        pairs = []
    for name, value in pairs:
        # Browsers send line breaks as CR LF.
        fields.setdefault(name, []).append(value.replace("\r\n", "\n"))
    form = request.scope[_READ] = Form(fields)
    return form

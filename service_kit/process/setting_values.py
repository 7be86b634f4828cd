"""How the texts of settings are read: lists, and addresses of other services."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

_ADDRESS = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~%/-]*)?"
)


def parts(value: Any) -> Any:
    """Split a text at its commas."""
    if not isinstance(value, str):
        return value
    return [part for part in map(str.strip, value.split(",")) if part]


def _http_address(value: str) -> str:
    found = _ADDRESS.fullmatch(value)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:  # noqa: PLR2004 (ports)
        raise ValueError("it must be an http:// or https:// address, as in http://localhost:8000")
    return value


# As it is given: to an OpenID issuer a slash at the end makes a difference.
Address = Annotated[str, AfterValidator(_http_address)]
# What paths are appended to.
BaseAddress = Annotated[Address, AfterValidator(lambda value: value.rstrip("/"))]

"""How the texts of settings are read: lists, names of hosts, addresses of other services."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_ADDRESS = re.compile(
    r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[A-Za-z0-9._~%/-]*)?"
)

_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")


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


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for place, name in enumerate(names, start=1):
        if not _HOST.fullmatch(name.lower()):
            raise ValueError(
                f"entry {place} must be a name such as example.com, *.example.com or [::1], "
                "without a port"
            )
    return tuple(map(str.lower, names))


HostNames = Annotated[tuple[str, ...], BeforeValidator(parts), AfterValidator(_host_names)]
# As it is given: to an OpenID issuer a slash at the end makes a difference.
Address = Annotated[str, AfterValidator(_http_address)]
# What paths are appended to.
BaseAddress = Annotated[Address, AfterValidator(lambda value: value.rstrip("/"))]

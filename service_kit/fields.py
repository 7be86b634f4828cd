"""Values that are safe to keep, to print and to send on; one type, so that no field forgets."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

# Control characters (NUL breaks PostgreSQL, line breaks forge log lines) and lone surrogates,
# which no encoding can write.
_FORBIDDEN_IN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORBIDDEN_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:")


def _one_line(value: str) -> str:
    if _FORBIDDEN_IN_LINE.search(value):
        raise ValueError("must not hold control characters or line breaks")
    return value


def _many_lines(value: str) -> str:
    if _FORBIDDEN_IN_TEXT.search(value):
        raise ValueError("must not hold control characters")
    return value


def _is_rfc_3339(value: object) -> object:
    """Refuse what pydantic takes besides: a number, as seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _INSTANT.match(value)):
        raise ValueError("must be an instant as of RFC 3339, such as 2026-01-05T12:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 of UTC") from None


Line = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_one_line)]
Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_many_lines)]
Instant = Annotated[AwareDatetime, BeforeValidator(_is_rfc_3339), AfterValidator(_in_utc)]

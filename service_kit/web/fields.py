"""Types of values that are safe to store, to print and to send on."""

import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, StringConstraints

# Control characters (NUL breaks PostgreSQL, line breaks forge log lines) and lone surrogates,
# which no encoding can write.
_FORBIDDEN_IN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORBIDDEN_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Characters that show nothing: controls, formats (a zero-width space), spaces, marks for a letter
# that is not there, and fillers, which count as letters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"})
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0\U0001d159")
# Reserved for more such characters, and to be shown as nothing: Unicode's Default_Ignorable.
_RESERVED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
# Scripts that one text mixes: Chinese, Japanese and Korean each with Han characters.
_EAST_ASIAN = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"}
)
LONGEST = 20_000  # No text may have more characters, so that no more need be looked at.
# With nanoseconds and an offset: 2026-01-05T12:00:00.123456789+00:00.
LONGEST_INSTANT = 35
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:")


def _one_line(value: str) -> str:
    if _FORBIDDEN_IN_LINE.search(value):
        raise ValueError("must not hold control characters or line breaks")
    return _visible(value)


def _many_lines(value: str) -> str:
    if _FORBIDDEN_IN_TEXT.search(value):
        raise ValueError("must not hold control characters")
    return _visible(value)


def _visible(value: str) -> str:
    """Refuse a text of invisible characters only: it reads as empty."""
    if not value or any(map(_is_visible, value[:LONGEST])):
        return value
    raise ValueError("must hold a visible character")


def _is_visible(character: str) -> bool:
    return (
        unicodedata.category(character) not in _INVISIBLE
        and character not in _FILLERS
        and not _RESERVED.match(character)
    )


def _distinct(value: str) -> str:
    """Refuse a name that can look like another: letters of two scripts, invisible characters.

    Composed, so that an accented letter is written in one way only.
    """
    if len(value) > LONGEST:
        raise ValueError(f"must have at most {LONGEST} characters")
    value = unicodedata.normalize("NFC", value)
    if any(unicodedata.category(one) == "Cf" for one in value):
        raise ValueError("must not hold invisible characters")
    if len({_script_of(one) for one in value if unicodedata.category(one).startswith("L")}) > 1:
        raise ValueError("must have letters of one script only")
    return value


def _script_of(letter: str) -> str:
    """Return the script by which Unicode names a letter: CYRILLIC SMALL LETTER A."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if first in _EAST_ASIAN else first


def _is_rfc_3339(value: object) -> object:
    """Refuse what pydantic also accepts: seconds since 1970, and fractions of any length."""
    if isinstance(value, datetime) or (
        isinstance(value, str) and len(value) <= LONGEST_INSTANT and _INSTANT.match(value)
    ):
        return value
    raise ValueError("must be an instant as of RFC 3339, such as 2026-01-05T12:00:00Z")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 of UTC") from None


Line = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_one_line)]
# What stands in addresses and on labels. It has no function, whose schema would lack the pattern.
Code = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9._-]+$")]
# A name by which people tell who has done something.
DistinctName = Annotated[Line, AfterValidator(_distinct)]
Text = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_many_lines)]
Instant = Annotated[AwareDatetime, BeforeValidator(_is_rfc_3339), AfterValidator(_in_utc)]

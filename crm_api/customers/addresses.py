"""E-mail addresses, with a fast path for plain ones."""

import functools
import re
from typing import Annotated

from pydantic import EmailStr, ValidatorFunctionWrapHandler, WrapValidator

# Most addresses are like this. email-validator, which knows all others, takes longer for one
# than SQLite takes to store it; a test checks that it accepts these unchanged.
_PLAIN = re.compile(
    r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}", re.ASCII
)
_LONGEST_PLAIN = 63
LONGEST = 320


def is_plain(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_PLAIN
        and _PLAIN.fullmatch(value) is not None
        and not value.endswith(_special())
    )


@functools.cache
def _special() -> tuple[str, ...]:
    # Loaded when first needed: a start needs none of it.
    from email_validator import SPECIAL_USE_DOMAIN_NAMES

    return tuple(f"{before}{name}" for name in SPECIAL_USE_DOMAIN_NAMES for before in "@.")


def _check_unless_plain(value: object, check: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, str) and len(value) > LONGEST:
        raise ValueError(f"must have at most {LONGEST} characters")  # not read at great length
    return value if is_plain(value) else check(value)


Address = Annotated[EmailStr, WrapValidator(_check_unless_plain)]

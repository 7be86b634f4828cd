"""E-mail addresses, of which the plain ones are taken as they are."""

import functools
import re
from typing import Annotated

from pydantic import EmailStr, ValidatorFunctionWrapHandler, WrapValidator

# Most addresses are like this. email-validator, which has the rules for all others, takes longer
# for one than SQLite takes to write it down; what it would say of these a test makes sure of.
_PLAIN = re.compile(
    r"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}", re.ASCII
)
_LONGEST_PLAIN = 63


def is_plain(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= _LONGEST_PLAIN
        and _PLAIN.fullmatch(value) is not None
        and not value.endswith(_special())
    )


@functools.cache
def _special() -> tuple[str, ...]:
    # Not loaded before its time: a start needs none of it.
    from email_validator import SPECIAL_USE_DOMAIN_NAMES

    return tuple(f"{before}{name}" for name in SPECIAL_USE_DOMAIN_NAMES for before in "@.")


def _checked(value: object, check: ValidatorFunctionWrapHandler) -> object:
    return value if is_plain(value) else check(value)


Address = Annotated[EmailStr, WrapValidator(_checked)]

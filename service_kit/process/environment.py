"""What can be said of an environment without loading anything."""

import os
from collections.abc import Collection
from difflib import get_close_matches

# One letter that is missing, wrong or one too many, or two that have changed places; shorter names
# have too many neighbours that are right as they are.
SIMILARITY = 0.86
SHORTEST = 5


class Refused(ValueError):
    """What was asked for can't be done as it stands; the text says why, a line for each reason."""


def near_misses(names: Collection[str], given: Collection[str] = os.environ) -> list[str]:
    """Say of each variable that is spelt almost like one of these which was probably meant."""
    known = {name.upper() for name in names}
    return [
        f"{variable} has no effect. Did you mean {name}?"
        for variable in given
        if variable.upper() not in known
        for name in get_close_matches(variable.upper(), known, n=1, cutoff=SIMILARITY)
        if abs(len(name) - len(variable)) <= 1 and len(name) >= SHORTEST
    ]

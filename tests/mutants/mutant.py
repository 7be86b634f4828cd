"""What a planted bug is, and how it is planted."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["condition", "boundary", "order", "scope", "dropped"]
KINDS: frozenset[str] = frozenset(get_args(Kind))


@dataclass(frozen=True)
class Mutant:
    """One bug: a text that stands once in a file, what stands there instead, and who notices.

    `kind` is a wrong condition, a boundary that is off by one, two things in the wrong order, a
    scope that is too wide or too narrow, or something dropped: an await, a commit, a close.
    `tests` are arguments for pytest, relative to the repository; at least one of them must fail.
    """

    name: str
    kind: Kind
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        """The package that the file stands in, as in `crm_api/customers`."""
        return self.file.rpartition("/")[0]

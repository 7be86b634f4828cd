"""What a planted bug is, and how it is planted."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["condition", "boundary", "order", "scope", "dropped"]
KINDS: frozenset[str] = frozenset(get_args(Kind))


# Too small for a bug of each kind, so counted with what uses it: the secrets that routes name.
_PART_OF = {
    "integration_service": "integration_service/routes",
}


@dataclass(frozen=True)
class Mutant:
    """One bug: a text that stands once in a file, what stands there instead, and who notices.

    `kind` is a wrong condition, a boundary that is off by one, two things in the wrong order, a
    scope that is too wide or too narrow, or something dropped: an await, a commit, a close.
    `tests` are files or node ids, relative to the repository; at least one test must fail, on
    SQLite or, with `engine="both"`, on either engine.
    """

    name: str
    kind: Kind
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    engine: Literal["sqlite", "both"] = "sqlite"

    @property
    def package(self) -> str:
        """The package that the file is in, as in `crm_api/customers`, or a larger neighbour."""
        folder = self.file.rpartition("/")[0]
        return _PART_OF.get(folder, folder)

"""What a planted bug is, and how it is planted."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["condition", "boundary", "order", "scope", "dropped"]
KINDS: frozenset[str] = frozenset(get_args(Kind))


# Too small for a slip of each kind: what the feed is read by, and what writes feed and audit.
_PART_OF = {
    "integration_service/routes": "integration_service/feed",
    "crm_api": "crm_api/audit",
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
    def room(self) -> str:
        """The package that the file stands in, as in `crm_api/customers`, or a larger neighbour."""
        package = self.file.rpartition("/")[0]
        return _PART_OF.get(package, package)

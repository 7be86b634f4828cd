"""What is wrong in a file of routes, and where: all of it at once, each with the way out."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from integration_service.routes.toml_lines import Path, line_of
from service_kit.process.environment import Refused

_BARE = re.compile(r"[A-Za-z0-9_-]{1,60}")
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Mistake:
    file: str
    line: int  # 0: the file as a whole
    where: str
    text: str

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(filter(None, (file, self.where, self.text)))


class RoutesFileError(Refused):
    """A file of routes can't be used; the text has a line for each mistake."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True)
class Place:
    """A key of the file. What is reported here, or at a place made of this one, is collected."""

    file: str
    lines: Mapping[Path, int]
    path: Path = ()
    where: str = ""
    mistakes: list[Mistake] = field(default_factory=list)

    def at(self, key: str | int) -> "Place":
        """Return the place of a key, or of an element, which goes by its list's name."""
        where = self.where
        if isinstance(key, str):
            where = f"{where}: {shown_key(key)}" if where else shown_key(key)
        return replace(self, path=(*self.path, key), where=where)

    def mistake(self, text: str) -> Mistake:
        return Mistake(self.file, line_of(self.lines, self.path), self.where, text)

    def report(self, text: str) -> None:
        self.mistakes.append(self.mistake(text))


def shown_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """Show what the file holds: in one line, whatever is in it."""
    return json.dumps(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def meant(given: str, allowed: Collection[str]) -> str:
    """Ask whether a neighbour was meant, where there is one."""
    near = get_close_matches(given[:_LONGEST_SHOWN], allowed, n=1)
    return f" Did you mean {shown_key(near[0])}?" if near else ""


def listed(names: Collection[str]) -> str:
    return ", ".join(map(shown_key, names))

"""Finds the line of each key in a TOML document, since `tomllib` gives values alone.

The document must be valid, that is, one that `tomllib` has read.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Names of keys, and numbers of elements counted from 0: ("route", 0, "on", 1).
Path = tuple[str | int, ...]

# Triple quotes before single ones. A multi-line string may end with quotes of its own before the
# three that close it.
_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<newline>\n)
  | (?P<space>[ \t\r]+)
  | (?P<string>
        \"{3} (?:\\.|[^\\])*? \"{3,5}
      | '{3} .*? '{3,5}
      | "(?:\\.|[^"\\])*"
      | '[^']*'
    )
  | (?P<bare>[A-Za-z0-9_-]+)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LINE_OF_ERROR = re.compile(r"\(at line (\d+), column \d+\)$")


class _Token(NamedTuple):
    text: str
    line: int


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """Return the line of a key; for one that is not there, that of what it belongs into."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def line_of_error(text: str, message: str) -> int:
    """Return the line that a message of `tomllib` names; by default the last one with text."""
    if found := _LINE_OF_ERROR.search(message):
        return int(found[1])
    return max(1, text.rstrip().count("\n") + 1)


def lines_of(text: str) -> dict[Path, int]:
    """Return the line of each key, each table and each element of an array."""
    lines: dict[Path, int] = {}
    tables: dict[Path, int] = {}  # how many there are so far of each array of tables
    table: Path = ()
    for statement in _statements(text):
        if statement[0].text == "[":
            is_array = statement[1].text == "["
            names = _names(statement[1 + is_array : -1 - is_array])
            table = _table(tables, names, is_array=is_array)
            for end in range(1, len(table) + 1):
                lines.setdefault(table[:end], statement[0].line)
        else:
            _Reader(statement, lines).pair(table)
    return lines


def _table(tables: dict[Path, int], names: Sequence[str], *, is_array: bool) -> Path:
    """Return the path of the table that a header begins: a name means the last of its tables."""
    path: Path = ()
    for place, name in enumerate(names, start=1):
        path = (*path, name)
        if is_array and place == len(names):
            tables[path] = tables.get(path, 0) + 1
        if path in tables:
            path = (*path, tables[path] - 1)
    return path


def _statements(text: str) -> Iterator[list[_Token]]:
    """Split a document into headers and pairs of key and value, without space and comments."""
    statement: list[_Token] = []
    line, depth = 1, 0
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "newline" and not depth and statement:
            yield statement
            statement = []
        elif found.lastgroup in {"string", "bare", "mark"}:
            statement.append(_Token(found[0], line))
            depth += (found[0] in "[{") - (found[0] in "]}")
        line += found[0].count("\n")
    if statement:
        yield statement


def _names(tokens: Sequence[_Token]) -> list[str]:
    """Read a dotted key."""
    return [_name(token.text) for token in tokens if token.text != "."]


def _name(key: str) -> str:
    if key[0] not in "\"'":
        return key
    name: str = tomllib.loads(f"name = {key}")["name"]
    return name


class _Reader:
    """Walks through one statement and writes down the line of each key in it."""

    def __init__(self, tokens: Sequence[_Token], lines: dict[Path, int]) -> None:
        self._tokens = tokens
        self._lines = lines
        self._next = 0

    def pair(self, table: Path) -> None:
        """Read `key = value`."""
        begin, line = self._next, self._tokens[self._next].line
        while self._text != "=":
            self._next += 1
        path = table
        for name in _names(self._tokens[begin : self._next]):
            path = (*path, name)
            self._lines.setdefault(path, line)
        self._next += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._text == "[":
            self._members(path, "]")
        elif self._text == "{":
            self._members(path, "}")
        else:  # a string, or what numbers and dates are made of
            while self._text not in {",", "]", "}", ""}:
                self._next += 1

    def _members(self, path: Path, end: str) -> None:
        self._next += 1
        place = 0
        while self._text != end:
            if self._text == ",":
                self._next += 1
            elif end == "}":
                self.pair(path)
            else:
                self._lines[*path, place] = self._tokens[self._next].line
                self._value((*path, place))
                place += 1
        self._next += 1

    @property
    def _text(self) -> str:
        """The token that is next; nothing at the end."""
        return self._tokens[self._next].text if self._next < len(self._tokens) else ""

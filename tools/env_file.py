"""Reads `.env`: one variable a line, NAME=value. No shell reads it, so nothing in it is run.

Empty lines and lines that start with `#` are skipped. Of a value in single or double quotes the
quotes are taken off; a value without them has no spaces. No message repeats a value, since it may
be a secret.
"""

import re
from pathlib import Path

_LINE = re.compile(r"(?:export )?\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)")


class Malformed(ValueError):
    """A line is not NAME=value; the text names the file and the line."""


def read(path: Path) -> dict[str, str]:
    """Return the variables of a file; none where there is no file. Raises Malformed."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise Malformed(f"{path} can't be read, or is not UTF-8 text.") from None
    found = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            name, value = _parse(line.strip())
        except ValueError as reason:
            raise Malformed(f"{path}, line {number}: {reason}") from None
        if name in found:
            raise Malformed(f"{path}, line {number}: {name} is set for the second time.")
        found[name] = value
    return found


def _parse(line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("it must be NAME=value, without spaces around the equals sign.")
    name, value = found[1], found[2]
    if value[:1] in {'"', "'"}:
        quote = value[0]
        if len(value) == 1 or value[-1] != quote or quote in value[1:-1]:
            raise ValueError(f"the quotes around the value of {name} must be one pair.")
        return name, value[1:-1]
    if re.search(r"\s", value):
        raise ValueError(
            f"the value of {name} has a space. Put it in quotes if the space is meant; "
            "a comment needs a line of its own."
        )
    return name, value

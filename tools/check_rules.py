"""Checks the rules of CONTRIBUTING.md that no linter knows. Prints each breach; exits 1 for any."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("console", "crm_api", "inventory_api", "integration_service", "service_kit")
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
# Names that say nothing about what is inside.
VAGUE = {"utils", "helpers", "common", "misc", "manager", "base", "core"}
# One place decides where a transaction ends, so that everybody can say where it does.
COMMITS = re.compile(r"\.commit\(")
MAY_COMMIT = "service_kit/database/"


def main() -> int:
    breaches = [breach for path in sources() for breach in breaches_in(path)]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def breaches_in(path: Path) -> Iterator[str]:
    name, text = path.relative_to(ROOT).as_posix(), path.read_text()
    if path.stem in VAGUE:
        yield f"{name}: a name that says nothing"
    if (lines := text.count("\n")) > LONGEST_FILE:
        yield f"{name}: {lines} lines; {LONGEST_FILE} is the most"
    if COMMITS.search(text) and not name.startswith(MAY_COMMIT):
        yield f"{name}: commits; only {MAY_COMMIT} does"
    if "/migrations/" in name:
        return  # as long as the tables they make
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{name}:{node.lineno}: {node.name} has {lines} lines, not {LONGEST_FUNCTION}"


if __name__ == "__main__":
    sys.exit(main())

"""The pages of docs/, whose commands tests run as they are printed."""

import re

from tests.conftest import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def section(page: str, heading: str) -> str:
    """Return what stands under a heading of the first level, with that heading."""
    sections = re.split(r"^(?=# )", page, flags=re.MULTILINE)
    [found] = [one for one in sections if one.startswith(f"# {heading}\n")]
    return found


def without(page: str, *headings: str) -> str:
    """Leave out what stands under some headings."""
    for heading in headings:
        page = page.replace(section(page, heading), "")
    return page


def commands_in(page: str) -> list[str]:
    return [line for block in _BLOCK.findall(page) for line in block.splitlines()]

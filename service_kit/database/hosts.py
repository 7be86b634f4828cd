"""The hosts in a URL of PostgreSQL: one, or several that are tried in turn."""

import re
from typing import NamedTuple


class SplitUrl(NamedTuple):
    """A URL, cut so that nothing of it is lost."""

    before: str
    hosts: tuple[str, ...]
    after: str

    def with_hosts(self, *hosts: str) -> str:
        return self.before + ",".join(hosts) + self.after


def split(url: str) -> SplitUrl:
    """Split a URL at its hosts, each with its port; what is no URL has none."""
    found = re.fullmatch(r"([\w+]+://(?:[^/?#]*@)?)([^/?#]*)(.*)", url, re.DOTALL)
    return (
        SplitUrl(found[1], tuple(found[2].split(",")), found[3]) if found else SplitUrl(url, (), "")
    )

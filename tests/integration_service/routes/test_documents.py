"""What docs/routes.md says of the file."""

import re

from integration_service.routes.definitions import EVENT_TYPES, WELCOME, WILDCARDS
from integration_service.routes.fields import KEYS, SHARED_KEYS
from integration_service.routes.file import parse_routes
from tests.conftest import ROOT
from tests.integration_service.routes.writing import TARGETS

PAGE = (ROOT / "docs" / "routes.md").read_text()


def test_each_file_on_the_page_has_no_mistakes() -> None:
    files = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)

    found = [parse_routes(file, TARGETS).routes for file in files]

    assert found[0][0] == WELCOME


def test_the_page_names_each_key_and_each_event() -> None:
    for name in (*SHARED_KEYS, *KEYS["inventory"], *KEYS["webhook"], *EVENT_TYPES, *WILDCARDS):
        assert f"`{name}`" in PAGE, name

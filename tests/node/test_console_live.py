"""The console's pages show news by themselves: by a stream, by a clock where there is none."""

from collections.abc import Callable

import pytest

from tests.node.conftest import answer_of
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")


@pytest.mark.timeout(180)
def test_pages_are_told_of_news_over_cuts(
    stack: Stack, node: Callable[[str], list[str]], browser: str
) -> None:
    stack.crm.constants["console.pages.live:CHECK_SECONDS"] = 0.5
    stack.crm.restart(SEED_DEMO_DATA="true")

    command = [*node("live.mjs"), browser, stack.crm.url]
    seen = answer_of(command, 160)

    assert seen["complaints"] == []
    assert seen["lastEventId"], "the browser says where it was"
    assert seen["askedWhileHidden"] == 0
    assert seen["isSamePage"]
    assert seen["keepsFocus"] == 1
    assert seen["typed"] == "It is on its w"
    assert "The carrier has called." in seen["told"]
    assert "It was to come on Monday." not in seen["told"], "only what is new is read"
    assert stack.bugs() == []

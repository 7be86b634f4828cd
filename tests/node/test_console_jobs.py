"""The console's jobs: in few clicks, with the keyboard alone, and so without a script."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.node.conftest import answer_of
from tests.node.test_console import begin
from tests.system.stack import Stack

pytestmark = pytest.mark.engine("sqlite")

# From the overview. A press of the mouse's button is a click, also one that puts the cursor into a
# field; typing and Enter are none.
MOST_CLICKS = {"why": 2, "answer": 3, "pack": 3, "retry": 3, "token": 3}
# Where the focus is after each step: at the page's beginning after a link, after a change on what
# says what came of it.
FOCUS = {
    "why": ["page: Nora Night · crmsys"],
    "answer": ["page: #", "status: Sent. The ticket is pending."],
    "pack": ["page: Packing · crmsys", "button: Pack chosen", "status: "],
    "retry": [
        "page: Deliveries · crmsys",
        "page: Retry deliveries · crmsys",
        "status: Sent again: 1.",
    ],
    "token": ["page: Tokens · crmsys", "status: The token of shop-"],
}


@pytest.mark.timeout(300)
def test_each_job_is_done_in_few_clicks_and_without_a_mouse(
    stack: Stack, node: Callable[[str], list[str]], browser: str
) -> None:
    begin(stack)
    addresses = {
        "crm": stack.crm.url,
        "inventory": stack.inventory.url,
        "integration": stack.integration.url,
    }

    command = [*node("jobs.mjs"), browser, json.dumps(addresses)]
    seen = answer_of(command, 280)

    assert (seen["complaints"], seen["elsewhere"]) == ([], [])
    # The first stop leads past the bar and the menu.
    assert seen["firstStops"].keys() == {"keyboard", "plain"}
    assert list(seen["firstStops"].values()) == [["To the page", "button", 1]] * 2
    assert seen["jobs"].keys() == {"mouse", "keyboard", "plain"}
    attempts = []
    for hand, done in seen["jobs"].items():
        assert done.keys() == MOST_CLICKS.keys()
        for job, did in done.items():
            cost = f"{did['clicks']} clicks" if hand == "mouse" else f"{did['stops']} stops"
            print(f"{job}: {hand}, {cost}, {did['seconds']:.2f} s")  # noqa: T201
            check(job, did["steps"])
            assert did["clicks"] <= (MOST_CLICKS[job] if hand == "mouse" else 0)
        assert all(done[job]["clicks"] for job in done) == (hand == "mouse"), "they are counted"
        for part in ("requested before with another customer_name", "for N. Night"):
            assert part in done["why"]["found"]
        assert done["answer"]["found"] == [["It is next door."], "pending"]
        assert done["pack"]["found"] == []
        attempts.append(done["retry"]["found"])
        assert done["token"]["found"] is True
    assert attempts == sorted(set(attempts)), "each order had it tried again"
    assert stack.bugs() == []


def check(job: str, steps: list[dict[str, Any]]) -> None:
    """Find each page named by one heading, and the focus where a person expects it."""
    for step in steps:
        assert len(step["headings"]) == 1, step
        assert step["title"].endswith(" · crmsys"), step
    focus = [step["focus"] for step in steps]
    assert len(focus) == len(FOCUS[job]), focus
    for found, begins in zip(focus, FOCUS[job], strict=True):
        assert found.startswith(begins), focus

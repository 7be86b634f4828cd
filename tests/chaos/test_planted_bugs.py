"""A campaign that finds nothing has proved nothing unless it would have found something.

Each bug is planted in a copy of the code, and a short campaign over that copy finds it. Four more
are of a kind that a random kill meets too seldom; tests/system finds these, in `make test`: three
by crash points and one by a simulated loss of power.

`make chaos SELFTEST=1`
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, Score
from tests.chaos.conftest import kept_on_failure
from tests.chaos.plan import Plan
from tests.chaos.planted import BUGS, Bug
from tests.conftest import NewDatabase
from tests.system.planting import copy_of_the_code
from tests.system.processes import Nursery

SECONDS = 12.0
QUIET_SECONDS = 15.0
# More often than in a campaign that is to last, and above all the service that has the bug.
BETWEEN_KILLS = (0.5, 1.2)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("bug", "engine"), [pytest.param(bug, bug.engine, id=bug.name) for bug in BUGS]
)
def test_a_planted_bug_is_found(
    bug: Bug, empty_database: NewDatabase, seed: int, tmp_path: Path, tell: Callable[[Score], None]
) -> None:
    plan = Plan(seed, SECONDS, bug.pollers, QUIET_SECONDS, BETWEEN_KILLS, bug.service)
    with (
        kept_on_failure(plan, "planted") as folder,
        Nursery(copy_of_the_code(tmp_path / "code", bug.changes)) as nursery,
    ):
        score = Campaign(folder, nursery, empty_database, plan).run()
        tell(score)

        assert score.findings.kinds() & bug.breaks, f"it found only: {score.findings.summary()}"

"""Everything breaks, again and again, under load. Nobody is lost, nobody is served twice.

`make chaos DURATION=120` (seconds of faults, over both engines) `SEED=…`
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, Score
from tests.chaos.conftest import kept_on_failure
from tests.chaos.judge import Findings
from tests.chaos.plan import Plan
from tests.chaos.planted import NO_CONSTRAINT
from tests.conftest import NewDatabase
from tests.system.planting import copy_of_the_code
from tests.system.processes import Nursery

# Any number of replicas on PostgreSQL; on SQLite one process.
POLLERS = {"postgresql": 2, "sqlite": 1}
# For each kind of trouble to come about.
LONG_ENOUGH = 30.0


@pytest.fixture(scope="session")
def unconstrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Starts an Inventory as most are: each POST makes one package."""
    with Nursery(copy_of_the_code(tmp_path_factory.mktemp("code") / "code", NO_CONSTRAINT)) as one:
        yield one


@pytest.mark.timeout(0)  # it may be run for hours; every wait in it has its own bound
@pytest.mark.parametrize("engine", ["postgresql", "sqlite"])
def test_every_customer_has_one_package_whatever_breaks(
    engine: str,
    empty_database: NewDatabase,
    nursery: Nursery,
    unconstrained: Nursery,
    kinds: frozenset[str],
    clocks: Path,
    request: pytest.FixtureRequest,
    seed: int,
    seconds: float,
    tell: Callable[[Score], None],
) -> None:
    plan = Plan(seed, seconds / len(POLLERS), pollers=POLLERS[engine], kinds=kinds)
    postgres = request.getfixturevalue("postgres_server") if engine == "postgresql" else None
    with kept_on_failure(plan, engine) as folder:
        score = Campaign(
            folder, nursery, empty_database, plan, unconstrained, postgres, clocks
        ).run()
        tell(score)

        assert score.findings == Findings(), score.findings.summary()
        assert score.reconciles, (folder / "reconcile.log").read_text()
        # Of nothing would nothing come.
        assert score.customers > plan.seconds
        assert score.heard > score.customers
        assert "kills" not in kinds or score.kills.total() > plan.seconds / 4
        assert "links" not in kinds or score.faults.total() > plan.seconds
        if plan.seconds >= LONG_ENOUGH:
            assert score.kinds() == kinds

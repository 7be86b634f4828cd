"""The power fails, and nothing is taken back of what anyone was told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, NewDatabase
from tests.system import power_loss
from tests.system.crash_points import NoCompiler, build
from tests.system.planting import Change, copy_of_the_code
from tests.system.power_loss import Power
from tests.system.processes import Nursery
from tests.system.stack import Stack, Verdict

# PostgreSQL refuses to start our services where it would forget; see test_database_postgres.py.
pytestmark = pytest.mark.engine("sqlite")

ROUNDS = 2
# What many choose for its speed.
FORGETFUL = [
    Change(
        "service_kit/database/sqlite/connect.py",
        '"PRAGMA synchronous = FULL"',
        '"PRAGMA synchronous = NORMAL"',
    ),
    Change("service_kit/database/sqlite/connect.py", "level < 2:", "level < 1:"),
]


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    try:
        return build(tmp_path, power_loss.SOURCE)
    except NoCompiler as reason:
        pytest.skip(str(reason))


@pytest.fixture
def code(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    changes = getattr(request, "param", None)
    return copy_of_the_code(tmp_path / "code", changes) if changes else ROOT


@pytest.fixture
def powered(
    code: Path, shim: Path, new_database: NewDatabase, tmp_path: Path
) -> Iterator[tuple[Stack, Power]]:
    with Nursery(code, shim) as nursery, Stack(tmp_path, nursery, new_database) as stack:
        yield stack, Power(stack.servers, tmp_path / "kept")


@pytest.mark.long
def test_a_loss_of_power_takes_nothing_back(powered: tuple[Stack, Power]) -> None:
    """Of one service at a time, then of all at once; with work under way, and at rest."""
    stack, power = powered
    stack.start()
    for hit in [[server] for server in stack.servers] + [stack.servers] * ROUNDS:
        stack.add_customers(2)
        power.cut(*hit)
        stack.revive()
        stack.wait_until_ready()
        stack.wait_until_quiet()
        assert stack.verdict() == Verdict()

    power.cut(*stack.servers)
    stack.revive()
    stack.wait_until_ready()
    stack.wait_until_quiet()
    stack.check()


@pytest.mark.long
@pytest.mark.parametrize("code", [FORGETFUL], indirect=True, ids=["synchronous = NORMAL"])
def test_a_database_that_forgets_is_found(powered: tuple[Stack, Power]) -> None:
    stack, power = powered
    stack.start()
    stack.add_customers(2)
    power.cut(stack.crm)
    stack.revive()
    stack.wait_until_ready()

    assert stack.verdict().lost, "the simulated loss of power loses nothing"

"""Whatever happens in whatever order, every promise is kept once the faults have ended."""

import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.conftest import ROOT
from tests.simulation.network import FAULTS
from tests.simulation.run import play, run, shrink
from tests.simulation.steps import KINDS, NEWEST, Step, draw_history, draw_step
from tests.simulation.world import SERVERS, Setup

SEED = 1
# So many short runs here, thousands of all lengths in CI: `make simulate`. In parts, for several
# processes to share.
EXAMPLES, PARTS = 200, 8
SHORT = 7

Images = dict[str, bytes]
SOON = {
    "long_poll_seconds": 0,
    "polling_interval_seconds": 5,
    "reconcile_interval_seconds": 10,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept(part: int, images: Images) -> None:
    short = (seed for seed in itertools.count(SEED) if len(draw_history(seed)) <= SHORT)
    for seed in itertools.islice(short, part, EXAMPLES, PARTS):
        outcome = run(seed, images)
        if outcome.findings:
            shown = f"{shrink(outcome, images)}\n\nmake simulate SEED={seed} EXAMPLES=1"
            pytest.fail(shown, pytrace=False)


def test_the_same_seed_gives_the_same_run_to_the_letter(images: Images) -> None:
    once, again = run(9, images), run(9, images)

    assert len(once.log) > 50
    assert once.log == again.log


def test_nor_does_a_run_depend_on_the_process(images: Images) -> None:
    """Python draws the order of sets of texts anew for each process."""
    here = run(9, images).log
    there = subprocess.run(
        [sys.executable, "-c", _PRINT_LOG],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert there.stdout.strip() == hashlib.sha256("\n".join(here).encode()).hexdigest()


_PRINT_LOG = """
import hashlib, pathlib, tempfile
from tests.simulation.run import run
from tests.simulation.world import new_images
log = run(9, new_images(pathlib.Path(tempfile.mkdtemp()))).log
print(hashlib.sha256("\\n".join(log).encode()).hexdigest())
"""


def test_different_seeds_have_different_histories() -> None:
    histories = {tuple(map(str, draw_history(seed))) for seed in range(100)}

    assert len(histories) == 100


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_each_fault_happens_on_both_links(fault: str, images: Images) -> None:
    networks = [Step("network", (service, fault, 1), 0) for service in SERVERS]
    history = [*networks, Step("register", (2,), 40)]

    assert play(Setup(1, settings=SOON), history, images).seen[fault] == len(SERVERS)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_each_step_has_something_to_do(name: str, images: Images) -> None:
    chance = random.Random(name)
    taken = [draw_step(name, chance) for _ in range(3)]
    history = [Step("register", (3,), 20), Step("erase", (NEWEST,), 3), *taken]

    outcome = play(Setup(1, pollers=2, settings=SOON, webhooks=True), history, images)

    assert outcome.seen[name] > 0


def test_who_was_added_before_the_start_and_told_so_after_it_may_have_no_package(
    images: Images,
) -> None:
    """The CRM dies between its commit and its answer, and then polling starts from `now`."""
    setup = Setup(1, start_from="now", customers_before=1, settings=SOON)
    added_before = 0
    for statements in range(5, 15):
        crash = Step("crash", ("crm", statements, 0.1), 0)
        outcome = play(setup, [crash, Step("register", (1,), 1), Step("register", (1,), 0)], images)
        assert outcome.findings == []
        added_before += "POST inventory/package-requests/batch" not in "\n".join(outcome.log)

    assert 0 < added_before < 10


def test_a_crash_comes_between_any_two_statements(images: Images) -> None:
    def dies_at(statements: int) -> Sequence[str]:
        crash = Step("crash", ("poller 1", statements, 1.0), 0)
        log = play(Setup(1, settings=SOON), [crash, Step("register", (2,), 20)], images).log
        [killed] = [n for n, line in enumerate(log) if line.endswith("poller 1 is killed")][:1]
        return log[:killed]

    deaths = [dies_at(statements) for statements in range(15)]

    assert len({tuple(one) for one in deaths}) > 10

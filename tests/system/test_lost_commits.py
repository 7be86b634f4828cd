"""PostgreSQL commits, and the connection breaks before the service hears of it: nobody knows.

Neither the service nor its caller can tell such a commit from one that failed, so all three must
come to the same end either way.
"""

from collections.abc import Iterator

import pytest

from tests.system.crash_points import When
from tests.system.database_proxy import DatabaseProxy, proxied
from tests.system.proxy import Dropped
from tests.system.stack import ANSWER_SECONDS, APART, TOGETHER, Stack

pytestmark = pytest.mark.engine("postgresql")

# How many commits a new customer takes. The integration notes what it has sent together with what
# came of it, where the answer is there in time.
COMMITS = [
    ("crm_api", TOGETHER, 1),
    ("inventory_api", TOGETHER, 1),
    ("integration_service", TOGETHER, 1),
    ("integration_service", APART, 2),
]


@pytest.fixture
def database(postgres_server: str) -> Iterator[DatabaseProxy]:
    with proxied(postgres_server) as proxy:
        yield proxy


class Loss:
    """Loses the answer to the n-th commit."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self, when: When) -> None:
        self.left -= when == "after"
        if when == "after" and self.left == 0:
            raise Dropped


@pytest.mark.parametrize(("service", "seconds", "commits"), COMMITS)
def test_a_commit_whose_answer_is_lost_loses_nobody(
    database: DatabaseProxy, stack: Stack, service: str, seconds: float, commits: int
) -> None:
    stack.integration.constants[ANSWER_SECONDS] = seconds
    server = stack.server(service)
    server.environment["DATABASE_URL"] = database.url(server.database_url)
    # Nobody dies, so nobody has to wait for a lease; its renewals are no part of this.
    stack.integration.environment["LEASE_SECONDS"] = "300"
    stack.start()
    stack.add_customers(1)
    stack.wait_until_quiet()

    losses = [Loss(n) for n in range(1, commits + 1)]
    for loss in losses:
        database.watch = loss
        stack.add_customers(1)
        stack.wait_until_quiet()
        stack.check()

    assert [loss.left <= 0 for loss in losses] == [True] * commits

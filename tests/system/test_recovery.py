"""A CRM whose database was replaced under the same address: all is made up for by itself."""

import signal
import sqlite3
from contextlib import closing

import pytest

from tests.conftest import run_sql
from tests.sweeps import ENGINES, sample
from tests.system.processes import until
from tests.system.stack import Stack

ANOTHER = "UPDATE feed_head SET epoch = 'abababababababab'"


def become_another(stack: Stack) -> None:
    """Make the CRM's feed that of another database, as a restored or copied one has it."""
    if stack.crm.uses_sqlite:
        path = stack.crm.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(ANOTHER)
    else:
        run_sql(stack.crm.database_url, ANOTHER)


@pytest.mark.sweep
@pytest.mark.engine(*sample(ENGINES, every=2))
def test_a_replaced_crm_is_read_anew_and_nobody_gets_a_second_package(stack: Stack) -> None:
    stack.start()
    stack.add_customers(3)
    stack.wait_until_quiet()
    stack.integration.end(signal.SIGKILL)
    stack.add_customers(2)
    stack.crm.end(signal.SIGTERM)
    become_another(stack)
    stack.crm.restart()

    stack.integration.restart()

    recovered = "SELECT 1 FROM poller WHERE recoveries = 1"
    until(lambda: stack.integration.rows(recovered), "it recovers")
    stack.add_customers(1)
    stack.wait_until_quiet()
    stack.check()
    assert "The CRM's feed is diverged" in stack.integration.logged()
    assert "Recovered: 5 customers read, 2 of them new" in stack.integration.logged()
    [(attempts,)] = stack.integration.rows("SELECT count(*) FROM attempts")
    assert attempts == 6
